"""Several trainings as one batched computation: members of a pack share shapes and nothing else.

The weights of all members are stacked, so that every product is one batched product; attention and pooling have none,
and run over the sentences of all members. Each member keeps its own data order, dropout noise, loss weights, optimizer
and checkpoints. Between epochs members are ordinary trainers: they may come and go, be saved, or run alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from rocore.data.instance import Rows
from rocore.training.objective import LossMeans
from rocore.training.pack_losses import JointStep, PackLosses, PretrainStep
from rocore.training.resident_steps import run_resident_steps
from rocore.training.stack import share_gradients, stack_models, unstack
from rocore.training.steps import JointPlan, Plan, PretrainPlan, batches, dropout_masks, token_rows
from rocore.training.trainer import EpochReport, Trainer

OWN_WEIGHTS = {"center_weight", "pair_margin", "weight_decay", "novel_cross_entropy"}
"""Keys of `loss` in which members may differ."""


def pack_key(trainer: Trainer) -> tuple[Any, ...]:
    """Return what members of a pack must share: everything but seeds, learning rates and the weights of losses."""
    config, task = trainer.config, trainer.task
    loss = config.loss.model_dump(exclude=OWN_WEIGHTS)
    return (
        id(task.bank),
        task.precision,
        config.encoder.output_layer,
        config.model,
        config.train.batch_size,
        config.train.dropout,
        tuple(loss.items()),
        config.loss.novel_cross_entropy > 0,
        config.incremental.enabled,
        len(task.known_train),
        len(task.novel_train),
        task.labeled_per_epoch,
        task.num_known_relations,
        task.num_novel_relations,
        trainer.joint,
    )


def run_packed_epoch(trainers: Sequence[Trainer]) -> list[EpochReport | Exception]:
    """Run the next epoch of every trainer, their steps together.

    An error before or after the steps ends the epoch of its own member alone; one of the steps themselves, such as too
    little memory, ends it for all: their weights have moved by then, and only checkpoints are good.

    Args:
        trainers: K trainers of one `pack_key`.
    """
    results: list[EpochReport | Exception] = [RuntimeError("not run")] * len(trainers)
    begun: list[tuple[int, Plan]] = []
    for i, trainer in enumerate(trainers):
        try:
            begun.append((i, trainer.begin_epoch()))
        except Exception as error:
            results[i] = error
    members = [trainers[i] for i, _ in begun]
    try:
        losses = _run(members, [plan for _, plan in begun]) if members else []
    except Exception as error:
        for i, _ in begun:
            results[i] = error
        return results
    for (i, plan), of_member in zip(begun, losses, strict=True):
        try:
            results[i] = trainers[i].end_epoch(plan, of_member)
        except Exception as error:
            results[i] = error
    return results


def _run(trainers: Sequence[Trainer], plans: Sequence[Plan]) -> list[dict[str, float]]:
    on_cpu = trainers[0].task.bank.resident is None
    return (_run_steps if on_cpu else run_resident_steps)(trainers, plans)


def _run_steps(trainers: Sequence[Trainer], plans: Sequence[Plan]) -> list[dict[str, float]]:
    """Run the steps of an epoch on the CPU; the trainers' weights are views of the stacked ones meanwhile."""
    models = [trainer.model for trainer in trainers]
    model = stack_models(models)
    losses, means, num_steps = PackLosses(trainers, plans, model), LossMeans(), 0
    for step in _steps(trainers, plans):
        loss = losses(step, means).sum()
        model.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        share_gradients(model, models)
        for trainer in trainers:
            trainer.optimizer.step()
        num_steps += 1
    unstack(models)
    found = means.read(num_steps)
    return found if len(found) == len(trainers) else [{} for _ in trainers]


def _steps(trainers: Sequence[Trainer], plans: Sequence[Plan]) -> Iterator[PretrainStep | JointStep]:
    masks = [dropout_masks(t.config, t.epoch) for t in trainers]
    for paired in zip(*(batches(t.config, t.task, t.epoch) for t in trainers), strict=True):
        labels = torch.stack([p.labels[_index(b.labeled)] for p, b in zip(plans, paired, strict=True)])
        if isinstance(plans[0], PretrainPlan):
            h = [
                torch.cat([p.labeled[_index(b.labeled)], p.unlabeled[_index(b.unlabeled)]])
                for p, b in zip(cast("Sequence[PretrainPlan]", plans), paired, strict=True)
            ]
            yield PretrainStep(torch.stack(h), labels)
            continue
        rows: list[Rows] = [token_rows(t.task, b) for t, b in zip(trainers, paired, strict=True)]
        joint = zip(cast("Sequence[JointPlan]", plans), paired, strict=True)
        yield JointStep(
            tokens=trainers[0].task.bank.batch(*rows),
            labels=labels,
            pseudo_labels=torch.stack([p.pseudo_labels[_index(b.unlabeled)] for p, b in joint]),
            noise=masks,
        )


def _index(positions: Rows) -> Tensor:
    return torch.from_numpy(positions)
