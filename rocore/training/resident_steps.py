"""The steps of an epoch on an accelerator, of one training or a pack: recorded once, then replayed.

All batches of an epoch are laid out at once, on the device, and a step finds its own by a count that it keeps there
itself. So the host says nothing but "again" until the epoch ends: a joint step is some hundred small kernels, each
shorter than its launch by the host.

Shapes: S steps, K members, B_l labeled and B_u unlabeled rows of each, R = B_l + B_u, Q queries of each.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

import numpy as np
import torch
from torch import Tensor

from rocore.encoder.dropout import DropoutKeys
from rocore.encoder.ragged import QUERY_STEP, RaggedBatch, ResidentTokens, room_for
from rocore.errors import DeviceError
from rocore.training.objective import LossMeans
from rocore.training.order import PairedBatch, derive_seed
from rocore.training.pack_losses import JointStep, PackLosses, PretrainStep
from rocore.training.stack import LowPrecisionCopy, share_gradients, stack_models
from rocore.training.steps import JointPlan, Plan, PretrainPlan, batches, token_rows
from rocore.training.streams import on_stream, recording_stream

if TYPE_CHECKING:
    from rocore.training.trainer import Trainer

RECORDING = Lock()
"""Held while a step is recorded, and while another thread copies weights from a device; one thread of a process
trains."""
WARM_UP_STEPS = 2
"""Steps run one by one before one is recorded: they make what a recording can't, such as Adam's moments."""


def run_resident_steps(trainers: Sequence["Trainer"], plans: Sequence[Plan]) -> list[dict[str, float]]:
    """Run the steps of the next epoch of every trainer, and return their mean losses by name."""
    device = trainers[0].task.device
    with (
        torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    ):  # streams belong to the current one
        steps = trainers[0].resident_steps
        if steps is None or not steps.fits(trainers, plans):
            del steps
            for trainer in trainers:
                let_go(trainer)
            steps = ResidentSteps(trainers, plans)
            for trainer in trainers:
                trainer.resident_steps = steps
        try:
            return steps.run(trainers, plans)
        except BaseException:
            let_go(trainers[0])
            raise


def let_go(trainer: "Trainer") -> None:
    """Free the recording that a trainer is a member of: without it, it is nobody's."""
    steps = trainer.resident_steps
    for member in steps.members() if steps else ():
        member.resident_steps = None


class ResidentSteps:
    """The stacked model of a pack and, once an epoch has begun, a recorded step of it."""

    def __init__(self, trainers: Sequence["Trainer"], plans: Sequence[Plan]) -> None:
        """Stack the members' weights: theirs are views from now on."""
        self._members = [ref(trainer) for trainer in trainers]  # which hold this one
        self._models = [trainer.model for trainer in trainers]
        self._model = stack_models(self._models)
        self._device = trainers[0].task.device
        bf16 = self._model.precision == "bf16"
        self._copy = LowPrecisionCopy(self._model) if bf16 else None
        self._losses = PackLosses(trainers, plans, self._copy.model if self._copy else self._model)
        self._means = LossMeans()
        self._places: list[int] = []
        self._index: _Index | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def fits(self, trainers: Sequence["Trainer"], plans: Sequence[Plan]) -> bool:
        """Whether these trainings are the ones recorded, and their tensors are where they were."""
        return self.members() == list(trainers) and self._places == _places(trainers, plans)

    def members(self) -> list["Trainer"]:
        """Return the members that are still there."""
        return [trainer for member in self._members if (trainer := member()) is not None]

    def run(self, trainers: Sequence["Trainer"], plans: Sequence[Plan]) -> list[dict[str, float]]:
        """Run an epoch of the members and return the mean losses of each by name."""
        optimizers = [trainer.optimizer for trainer in trainers]
        paired = list(zip(*(batches(t.config, t.task, t.epoch) for t in trainers), strict=True))
        size = len(paired[0][0].labeled)
        full = [step for step in paired if len(step[0].labeled) == size]
        self._losses.begin(plans)
        self._means.restart()
        self._take_over(_Index.of(trainers, plans, full, before=self._index))
        self._run_full(len(full), optimizers)
        if len(full) < len(paired):  # the last batch, of fewer labeled rows
            rest = _Index.of(trainers, plans, paired[len(full) :], first_step=len(full))
            self._train(rest.next(), optimizers)
        self._places = _places(trainers, plans)
        found = self._means.read(len(paired))
        return found if len(found) == len(trainers) else [{} for _ in trainers]

    def _take_over(self, index: "_Index") -> None:
        """Copy the epoch's index to where the recorded step reads it; one of other shapes makes a new recording."""
        if self._index is None or not self._index.take_over(index):
            self._index, self._graph = index, None

    def _run_full(self, num_steps: int, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        index = cast("_Index", self._index)
        if self._device.type != "cuda":
            for _ in range(num_steps):
                self._train(index.next(), optimizers)
            return
        if self._graph is None:
            stream = recording_stream(self._device)
            warm_up = min(WARM_UP_STEPS, num_steps)
            with on_stream(stream):  # as the recording is: gradients remember the stream of their first step
                for _ in range(warm_up):
                    self._train(index.next(), optimizers)
            num_steps -= warm_up
            self._graph = self._recorded(stream, lambda: self._train(index.next(), optimizers))
        for _ in range(num_steps):
            self._graph.replay()

    def _recorded(self, stream: torch.cuda.Stream, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Record what a step launches, without running it.

        Raises:
            DeviceError: If that fails: what PyTorch had begun can't be undone, and the process records nothing more.
        """
        graph = torch.cuda.CUDAGraph()
        # The stream is entered here, too: an error at the recording's end would leave it the current one.
        recording = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
        try:
            with RECORDING, torch.cuda.stream(stream), recording:
                step()
        except Exception as error:
            raise DeviceError(
                f"a step must be recorded on {self._device}, but {_first(error)}; go on in another process"
            ) from error
        return graph

    def _train(self, step: PretrainStep | JointStep, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        if self._copy:
            self._copy.refresh()
            self._copy.model.zero_grad(set_to_none=True)
        loss = self._losses(step, self._means).sum()
        self._model.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        if self._copy:
            self._copy.hand_over_gradients()
        share_gradients(self._model, self._models)
        for optimizer in optimizers:
            optimizer.step()


@dataclass
class _Index:
    """Where the steps of an epoch find what they are given.

    Attributes:
        step: (1,) steps done.
        first_step: Of the epoch's, of those before the first one here; for dropout.
        seeds: (K,) of the epoch's dropout.
        labels: (S, K, B_l).
        labeled: (S, K, B_l) positions, in pre-training.
        unlabeled: (S, K, B_u) positions, in pre-training.
        plans: Of the members; their h, in pre-training.
        pseudo_labels: (S, K, B_u), in the joint phase.
        tokens: S of them, in the joint phase.
    """

    step: Tensor
    first_step: int
    seeds: Tensor
    labels: Tensor
    labeled: Tensor
    unlabeled: Tensor
    plans: Sequence[Plan]
    pseudo_labels: Tensor | None = None
    tokens: RaggedBatch | None = None

    @classmethod
    def of(
        cls,
        trainers: Sequence["Trainer"],
        plans: Sequence[Plan],
        paired: Sequence[Sequence[PairedBatch]],
        *,
        first_step: int = 0,
        before: "_Index | None" = None,
    ) -> "_Index":
        """Lay out steps of equal size, with the room for queries of the epoch `before`, if that does."""
        device = trainers[0].task.device

        def moved(arrays: Sequence[Any]) -> Tensor:
            return torch.from_numpy(np.stack(arrays)).to(device)

        labeled = moved([[b.labeled for b in step] for step in paired])
        unlabeled = moved([[b.unlabeled for b in step] for step in paired])
        index = cls(
            step=torch.zeros(1, dtype=torch.long, device=device),
            first_step=first_step,
            seeds=torch.tensor(
                [derive_seed(t.config.seed, "dropout", t.epoch) for t in trainers], device=device
            ),
            labels=torch.stack([p.labels[labeled[:, k]] for k, p in enumerate(plans)], 1),
            labeled=labeled,
            unlabeled=unlabeled,
            plans=plans,
        )
        if isinstance(plans[0], JointPlan):
            joint = cast("Sequence[JointPlan]", plans)
            index.pseudo_labels = torch.stack(
                [p.pseudo_labels[unlabeled[:, k]] for k, p in enumerate(joint)], 1
            )
            rows = moved([[token_rows(t.task, b) for t, b in zip(trainers, s, strict=True)] for s in paired])
            resident = cast("ResidentTokens", trainers[0].task.bank.resident)
            most = int(resident.total_queries(rows).max())
            room = before.tokens.queries_per_member if before is not None and before.tokens is not None else 0
            # With some to spare, so that few other epochs need more.
            index.tokens = resident.batch(rows, room if most <= room else room_for(most + QUERY_STEP))
        return index

    def take_over(self, other: "_Index") -> bool:
        """Copy another epoch's index in place of this one's; False, and nothing done, where the shapes differ."""
        own, new = self._tensors(), other._tensors()
        if [tensor.shape for tensor in own] != [tensor.shape for tensor in new]:
            return False
        for tensor, value in zip(own, new, strict=True):
            tensor.copy_(value)
        self.plans = other.plans
        return True

    def _tensors(self) -> list[Tensor]:
        held = [self.step, self.seeds, self.labels, self.labeled, self.unlabeled]
        held += [] if self.pseudo_labels is None else [self.pseudo_labels]
        return held + ([] if self.tokens is None else self.tokens.index())

    def next(self) -> PretrainStep | JointStep:
        """Return what the next step is given, and count it."""
        step = self.step.clone()
        self.step += 1
        labels = self.labels.index_select(0, step).squeeze(0)
        if self.tokens is None or self.pseudo_labels is None:
            plans = cast("Sequence[PretrainPlan]", self.plans)
            labeled, unlabeled = (x.index_select(0, step).squeeze(0) for x in (self.labeled, self.unlabeled))
            rows = [
                torch.cat([p.labeled.index_select(0, labeled[k]), p.unlabeled.index_select(0, unlabeled[k])])
                for k, p in enumerate(plans)
            ]
            return PretrainStep(torch.stack(rows), labels)
        return JointStep(
            tokens=self.tokens.at(step),
            labels=labels,
            pseudo_labels=self.pseudo_labels.index_select(0, step).squeeze(0),
            noise=DropoutKeys(self.seeds, step + self.first_step),
        )


def _places(trainers: Sequence["Trainer"], plans: Sequence[Plan]) -> list[int]:
    """Return the addresses of what a recorded step reads and writes beside its own tensors."""
    tensors: list[Tensor] = []
    for trainer in trainers:
        tensors += trainer.model.parameters()
        for moments in trainer.optimizer.state.values():
            tensors += [value for value in moments.values() if isinstance(value, Tensor)]
    for plan in plans:
        if isinstance(plan, PretrainPlan):
            tensors += [plan.labeled, plan.unlabeled]
    return [isinstance(plans[0], JointPlan), *(tensor.data_ptr() for tensor in tensors)]


def _first(error: BaseException) -> str:
    """Return what went wrong before anything else did."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
