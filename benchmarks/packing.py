"""Trials an hour by pack size: trainings of other loss weights and seeds, stacked, on an eighth of FewRel."""

import time
from collections.abc import Callable
from pathlib import Path

import rocore
from benchmarks.workload import Case, Instances, Workload, write_cut

SIZES = (1, 4, 8, 16)
SHARE = 8
"""One instance in so many is taken."""
PRETRAIN_EPOCHS, JOINT_EPOCHS = 10, 30
"""Of the trial whose time is computed."""


def measure(workload: Workload, case: Case) -> dict[str, float]:
    """Return trials an hour by `pack_<size>`: an epoch of each phase is timed and taken as often as a trial has it."""
    if not workload.quick:
        folder = write_cut(Path(workload.data_root), Path(workload.scratch) / "part", part)
        workload = Workload(str(folder), workload.cache_root, workload.scratch)
    trainers = [trainer(workload, case, seed) for seed in range(max(SIZES))]
    for each in trainers:
        each.run_epoch()  # pre-training; also builds what the first epoch builds
    return {f"pack_{size}": trials_per_hour(workload, case, trainers[:size]) for size in SIZES}


def trials_per_hour(workload: Workload, case: Case, joint: list[rocore.Trainer]) -> float:
    """Time a pre-training epoch of new trainers and a joint epoch of `joint`, which are through with theirs."""
    new = [trainer(workload, case, seed) for seed in range(len(joint))]
    pretrain = seconds(lambda: rocore.run_packed_epoch(new))
    rocore.run_packed_epoch(joint)  # the first k-means has more starts
    epoch = seconds(lambda: rocore.run_packed_epoch(joint))
    return len(joint) * 3600 / (PRETRAIN_EPOCHS * pretrain + JOINT_EPOCHS * epoch)


def trainer(workload: Workload, case: Case, seed: int) -> rocore.Trainer:
    """Return a trainer whose loss weights depend on its seed."""
    config = workload.config(
        case,
        seed=seed,
        loss__center_weight=0.001 * (seed + 1),
        train__pretrain_epochs=1,
        train__max_epochs=20,
        train__convergence_tolerance=0.0,
    )
    return rocore.Trainer(config, rocore.prepare(config).task)


def part(relations: Instances) -> Instances:
    """Take an even part of each relation's instances."""
    return {relation: instances[::SHARE] for relation, instances in relations.items()}


def seconds(work: Callable[[], object]) -> float:
    """Run once and return the wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
