"""Peak memory of one encoder's trial by phase; in a process of its own, so that nothing else is in it."""

from importlib import import_module

import rocore
from benchmarks.memory import anonymous_mib, sampled_peak
from benchmarks.plain import tokenized_pools
from benchmarks.speed import EngineTimes, TrunkTimes
from benchmarks.workload import Case, Workload


def measure(workload: Workload, case: Case) -> dict[str, float]:
    """Return peaks of anonymous memory in MiB, beyond what stands after the imports.

    The trunk cache must be filled. `trial` is the highest of prepare, pre-training and the joint epochs with their
    evaluation. The trunk pass over a sample runs last, with the trial still in memory, and counts what it adds.
    """
    config = workload.config(case, train__device="cpu", train__pretrain_epochs=1, train__max_epochs=2)
    before = import_all()
    peaks = {}
    with sampled_peak() as peak:
        prepared = rocore.prepare(config)
    peaks["prepare"] = peak.mib - before
    engine = EngineTimes(config, prepared)
    for phase, num_epochs in (("pretrain", 1), ("joint", 2)):
        with sampled_peak() as peak:
            for _ in range(num_epochs):
                engine.run_epoch()
        peaks[phase] = peak.mib - before
    peaks["trial"] = max(peaks.values())
    pools = tokenized_pools(prepared, config)
    standing = anonymous_mib()
    with sampled_peak() as peak:
        TrunkTimes(config, prepared.task, pools[0])
    return peaks | {"trunk": peak.mib - standing}


def import_all() -> float:
    """Import what a trial needs, and return the anonymous memory that stands then, in MiB."""
    import_module("transformers").BertModel  # noqa: B018 (transformers imports on first use)
    rocore.prepare, rocore.Trainer  # noqa: B018
    return anonymous_mib()
