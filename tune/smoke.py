"""A short trial of the real engine before a sweep: does it run, how long does an epoch take, what fits."""

import os
import shutil
import tempfile
from pathlib import Path

import rocore
from rocore.config import Config, make_config
from rocore.errors import ConfigError
from tune.config import ResourcesConfig, Sweep
from tune.objective import pseudo_novel_configs
from tune.plan import Capacity, EncoderCost, Plan, find_faults, make_plan
from tune.preparation import by_output_layer, check_folds
from tune.space import trunk_configs
from tune.specification import search_spec, trial_base

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def plan_sweep(sweep: Sweep, out: Path) -> Plan:
    """Check data, encoder and resources, train for a few steps, and plan; nothing is left behind.

    With `resources.address` the cluster is asked what it holds, but the steps are taken on this machine.

    Raises:
        ConfigError: If the sweep doesn't fit.
        RocoreError: If data, encoder or engine don't work.
    """
    num_concurrent = count_concurrent(sweep.config.resources)
    plan = make_plan(sweep, measure_costs(sweep), num_concurrent)
    faults = find_faults(plan, read_capacity(sweep, out))
    if faults:
        raise ConfigError("\n".join(faults))
    return plan


def measure_costs(sweep: Sweep) -> list[EncoderCost]:
    """Measure, for each encoder, a search trial at every output layer and a run on the real split.

    Raises:
        RocoreError: If data, encoder or objective can't be used, or training diverges.
    """
    objective = sweep.config.objective
    if objective.name == "pseudo_novel":
        check_folds(objective, rocore.check_task(trial_base(sweep)).corpus.num_known_relations)
    spec = search_spec(sweep, 0, sweep.paper)
    rocore.set_threads(spec["num_threads"])
    base = make_config(spec["config"], "the paper's configuration")
    groups = by_output_layer(trunk_configs(base, sweep.config.search.space))
    return [_measure_encoder(sweep, config, layers) for config, layers in groups]


def count_concurrent(resources: ResourcesConfig) -> int:
    """Return how many trials run at once.

    Raises:
        ConfigError: If not even one does, or a cluster can't be reached.
    """
    from tune import ray_backend, ray_nodes

    if resources.address is None:
        num_gpus = len(rocore.describe_environment()["gpus"])
        here = {"CPU": float(os.cpu_count() or 1), "GPU": float(num_gpus)}
        ray_backend.check_resources(resources, here)
        ray_backend.check_temporary(resources)
        return ray_nodes.concurrency(resources, [here])
    with tempfile.TemporaryDirectory() as folder, ray_backend.ray_session(resources, Path(folder)):
        return ray_nodes.concurrency(resources, ray_nodes.node_resources())


def free_bytes(out: Path) -> int:
    """Return the free disk where a folder will lie, in bytes."""
    return shutil.disk_usage(_existing(out.absolute())).free


def read_capacity(sweep: Sweep, out: Path) -> Capacity:
    """Return memory and free disk of this machine; of a cluster's nodes, the memory isn't known."""
    cache, out = _existing(rocore.cache_root(sweep.base.cache.root)), _existing(out.absolute())
    return Capacity(
        memory_bytes=_memory_bytes() if sweep.config.resources.address is None else None,
        cache_free_bytes=shutil.disk_usage(cache).free,
        out_free_bytes=shutil.disk_usage(out).free,
        one_disk=cache.stat().st_dev == out.stat().st_dev,
    )


def _measure_encoder(sweep: Sweep, config: Config, layers: list[int]) -> EncoderCost:
    objective = sweep.config.objective
    searched = pseudo_novel_configs(config, objective) if objective.name == "pseudo_novel" else [config]
    # The last fold: where it can be made, all of them can.
    search = rocore.measure_run(searched[-1], layers)
    final = rocore.measure_run(config, layers, train_at=layers[-1:])
    if objective.name == "oracle" and not final.has_gold:
        raise ConfigError(
            "objective `oracle` needs gold of novel instances, but there is none; use pseudo_novel"
        )
    return EncoderCost(config.encoder.name, search, final, num_folds=len(searched))


def _existing(path: Path) -> Path:
    """Return the nearest folder above that is there."""
    return path if path.is_dir() else _existing(path.parent)


def _memory_bytes() -> int:
    """Return this machine's memory, or what a container leaves of it."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP_LIMIT.read_text(encoding="ascii").strip() if CGROUP_LIMIT.is_file() else "max"
    return total if limit == "max" else min(total, int(limit))
