"""What a sweep will take, computed before it starts: arithmetic alone, on what `tune/smoke.py` measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tune.config import Sweep
from tune.limits import LIMITS
from tune.rungs import expected_joint_epochs, rungs
from tune.space import joint_budget

if TYPE_CHECKING:
    from rocore import RunCost

RAY_START_S = 15.0
"""Starting Ray and the first process with its imports; later trials use that process again."""
TRIAL_FILES_BYTES = 256 * 1024
"""Curve, TensorBoard events and Tune's own files of one trial."""
CHECKPOINTS_OF_A_TRIAL = 2
"""The newest one, and the one that is being written."""


@dataclass(frozen=True)
class EncoderCost:
    """What was measured with one encoder.

    Attributes:
        name: The encoder's.
        search: One model of a search trial, at every output layer; a trial trains `num_folds` of them.
        final: A run on the real split, trained at one output layer.
    """

    name: str
    search: "RunCost"
    final: "RunCost"
    num_folds: int


@dataclass(frozen=True)
class Capacity:
    """What is there.

    Attributes:
        memory_bytes: Main memory; None where trials run on a cluster.
        cache_free_bytes: Free where the trunk cache lies.
        out_free_bytes: Free where the sweep directory will lie.
        one_disk: Whether both lie on one file system.
    """

    memory_bytes: int | None
    cache_free_bytes: int
    out_free_bytes: int
    one_disk: bool


@dataclass(frozen=True)
class LayerPlan:
    """One output layer: seconds of an epoch of a search trial, all folds together, and its cache entry."""

    encoder: str
    output_layer: int
    pretrain_epoch_s: float
    joint_epoch_s: float
    cache_bytes: int
    cached: bool


@dataclass(frozen=True)
class Plan:
    """What a sweep will take; `_s` is seconds of wall time, or of training in `busy_s`.

    Attributes:
        num_concurrent: Trials, or packs of up to `pack` trials, that run at once.
        rungs: Joint epochs after which a trial may be stopped.
        joint_epochs: Of all search trials together, expected; at most `max_joint_epochs`.
        num_race_runs, num_final_runs: Of the race and of the final comparison, at most.
        num_expected: Search trials that begin before a limit of time is reached.
        ended_by: The limit that the search is expected to end by; None: none of them.
        limits: Limits of the search that are set, by key.
        busy_s: Training of all trials, which the hours of CPUs and GPUs are counted from.
        cache_bytes, out_bytes: Disk that will be filled.
        trial_memory_bytes: Main memory of one trial.
        memory_bytes: Of all that run at once.
    """

    num_trials: int
    num_concurrent: int
    pack: int
    num_race_runs: int
    num_final_runs: int
    rungs: tuple[int, ...]
    pretrain_epochs: int
    joint_epochs: float
    max_joint_epochs: int
    layers: tuple[LayerPlan, ...]
    prepare_s: float
    search_s: float
    race_s: float
    final_s: float
    busy_s: float
    cpu_hours: float
    gpu_hours: float
    cache_bytes: int
    out_bytes: int
    trial_memory_bytes: int
    memory_bytes: int
    num_expected: int
    ended_by: str | None
    limits: Mapping[str, float]

    @property
    def wall_s(self) -> float:
        """Expected wall time of the whole sweep."""
        return self.prepare_s + self.search_s + self.race_s + self.final_s


def make_plan(sweep: Sweep, costs: Sequence[EncoderCost], num_concurrent: int) -> Plan:
    """Put measurements and counts together.

    search   = trials * (setup + pre-training) + expected joint epochs * seconds of one
    race     = (candidates + 1) * pairs * (one fold's setup + pre-training + all joint epochs), if nobody drops
    final    = (top_k + 1) * seeds * (setup + pre-training + all joint epochs of `train.max_epochs`)
    wall     = training / trials at once, but at least one whole trial

    Of a search that a limit of time ends, the share until then counts. Every output layer is taken to be drawn equally
    often, no run to converge before its last epoch, and a pack to take as long as its trials one after the other.
    """
    config, resources, pack = sweep.config, sweep.config.resources, sweep.config.trial.pack
    num_trials, num_pretrain = config.search.num_trials, sweep.base.train.pretrain_epochs
    max_epochs = joint_budget(sweep.search_base, config.search.space)
    final_epochs = joint_budget(sweep.base, config.search.space)
    joint_epochs = expected_joint_epochs(num_trials, config.scheduler, max_epochs)
    layers = tuple(_layers(costs))
    before_joint_s = fmean(cost.num_folds * cost.search.setup_s for cost in costs) + num_pretrain * fmean(
        layer.pretrain_epoch_s for layer in layers
    )
    joint_epoch_s = fmean(layer.joint_epoch_s for layer in layers)
    whole_search_s = num_trials * before_joint_s + joint_epochs * joint_epoch_s
    at_once = min(num_concurrent, num_trials)
    ended_by, share = _expected_end(sweep, whole_search_s, RAY_START_S + whole_search_s / at_once)
    search_s = share * whole_search_s
    whole_trial_s = before_joint_s + max_epochs * joint_epoch_s
    num_race_runs = count_race_runs(sweep)
    race_run_s = whole_trial_s / fmean(cost.num_folds for cost in costs)
    num_final_runs = (config.reevaluation.top_k + 1) * config.reevaluation.num_seeds
    final_run_s = max(_run_s(cost.final, num_pretrain, final_epochs) for cost in costs)
    busy_s = search_s + num_race_runs * race_run_s + num_final_runs * final_run_s
    return Plan(
        num_trials=num_trials,
        num_concurrent=num_concurrent,
        pack=pack,
        num_race_runs=num_race_runs,
        num_final_runs=num_final_runs,
        rungs=rungs(config.scheduler, max_epochs),
        pretrain_epochs=num_trials * num_pretrain,
        joint_epochs=joint_epochs,
        max_joint_epochs=num_trials * max_epochs,
        layers=layers,
        prepare_s=sum(cost.final.setup_s + _trunk_s(cost) for cost in costs),
        search_s=RAY_START_S + max(search_s / at_once, whole_trial_s),
        race_s=num_race_runs * race_run_s / num_concurrent,
        final_s=max(num_final_runs * final_run_s / num_concurrent, final_run_s),
        busy_s=busy_s,
        cpu_hours=busy_s * resources.cpus_per_trial / 3600,
        gpu_hours=busy_s * resources.gpus_per_trial / 3600,
        cache_bytes=sum(layer.cache_bytes for layer in layers if not layer.cached),
        out_bytes=_out_bytes(
            sweep, costs, num_concurrent * pack, num_trials + num_race_runs + num_final_runs
        ),
        trial_memory_bytes=_trial_bytes(costs),
        memory_bytes=_trial_bytes(costs) * num_concurrent * pack,
        num_expected=max(1, round(share * num_trials)),
        ended_by=ended_by,
        limits={key: most for key in LIMITS if (most := getattr(config.search, key)) is not None},
    )


def _expected_end(sweep: Sweep, busy_s: float, wall_s: float) -> tuple[str | None, float]:
    """Return the limit of time that the search reaches first, and the share of it that is done by then; None, 1."""
    search = sweep.config.search
    takes = {"max_hours": wall_s, "max_gpu_hours": busy_s * sweep.config.resources.gpus_per_trial}
    shares = {
        key: 3600 * most / seconds
        for key, seconds in takes.items()
        if (most := getattr(search, key)) is not None and 3600 * most < seconds
    }
    first = min(shares, key=shares.__getitem__, default=None)
    return first, 1.0 if first is None else shares[first]


def count_race_runs(sweep: Sweep) -> int:
    """Return how many runs the race has if nobody drops: the search's best and the paper's, over every pair."""
    rules = sweep.config.racing
    num_candidates = min(rules.num_candidates, sweep.config.search.num_trials - 1)
    return (num_candidates + 1) * rules.num_pairs if num_candidates else 0


def find_faults(plan: Plan, capacity: Capacity) -> list[str]:
    """Return why a plan can't be carried out here: what must hold, what is there, what to do."""
    faults = []
    needs = [
        ("trunk cache", plan.cache_bytes, capacity.cache_free_bytes, "set `cache.root` to another disk"),
        ("sweep directory", plan.out_bytes, capacity.out_free_bytes, "choose another --out"),
    ]
    if capacity.one_disk:
        needs = [
            (
                "trunk cache and the sweep directory",
                plan.cache_bytes + plan.out_bytes,
                capacity.out_free_bytes,
                "set `cache.root` or --out to another disk",
            ),
        ]
    for what, needed, free, advice in needs:
        if needed > free:
            faults.append(
                f"the {what} will take {size_text(needed)}, but {size_text(free)} are free there; "
                f"free some space or {advice}"
            )
    if capacity.memory_bytes is not None and plan.memory_bytes > capacity.memory_bytes:
        fit = capacity.memory_bytes // (plan.trial_memory_bytes * plan.pack)
        what = "trials" if plan.pack == 1 else f"packs of {plan.pack} trials"
        faults.append(
            f"{plan.num_concurrent} {what} at once will take {size_text(plan.memory_bytes)} of memory, but there are "
            f"{size_text(capacity.memory_bytes)}; "
            + (
                f"set `resources.max_concurrent_trials` to {fit}"
                if fit
                else "lower `train.batch_size` or `trial.pack`, or use a larger machine"
            )
        )
    return faults


def size_text(num_bytes: float) -> str:
    """Return a size for reading."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def _layers(costs: Sequence[EncoderCost]) -> "list[LayerPlan]":
    return [
        LayerPlan(
            encoder=cost.name,
            output_layer=r,
            pretrain_epoch_s=cost.num_folds * epoch.pretrain_s,
            joint_epoch_s=cost.num_folds * epoch.joint_s,
            cache_bytes=cost.final.trunk_bytes,
            cached=r not in cost.final.missing_layers,
        )
        for cost in costs
        for r, epoch in cost.search.epochs.items()
    ]


def _trial_bytes(costs: Sequence[EncoderCost]) -> int:
    """Return the main memory of one trial."""
    return max(cost.search.memory_bytes + (cost.num_folds - 1) * cost.search.model_bytes for cost in costs)


def _trunk_s(cost: EncoderCost) -> float:
    return cost.final.trunk_s if cost.final.missing_layers else 0.0


def _run_s(cost: "RunCost", num_pretrain: int, num_joint: int) -> float:
    """Return the seconds of one whole run."""
    epoch = max(cost.epochs.values(), key=lambda epoch: epoch.joint_s)
    return cost.setup_s + num_pretrain * epoch.pretrain_s + num_joint * epoch.joint_s


def _out_bytes(sweep: Sweep, costs: Sequence[EncoderCost], num_concurrent: int, num_runs: int) -> int:
    """Return what the sweep directory grows to: files of every trial, checkpoints of running and of kept ones."""
    checkpoint = max(cost.final.checkpoint_bytes for cost in costs)
    num_folds = max(cost.num_folds for cost in costs)
    running = num_concurrent * num_folds * CHECKPOINTS_OF_A_TRIAL
    return num_runs * TRIAL_FILES_BYTES + checkpoint * (running + sweep.config.retention.keep_best)
