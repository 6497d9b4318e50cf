"""The files that start a cluster: rendered from its description, and written."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from cluster.description import (
    ClusterDescription,
    KubernetesCluster,
    LaunchedCluster,
    SlurmCluster,
)
from cluster.kuberay import ray_cluster, ray_job
from cluster.launcher import launcher_config
from cluster.ray_launcher import ray_version
from cluster.slurm import batch_script
from cluster.sweep_line import SweepLine
from rocore.errors import ConfigError

LAUNCHER, CLUSTER, JOB, BATCH = "cluster.yaml", "raycluster.yaml", "rayjob.yaml", "sweep.sbatch"


def rendered(description: ClusterDescription, line: SweepLine | None) -> dict[str, str]:
    """Return the text of every file by name; those that run a sweep need one.

    Raises:
        ConfigError: If the kind has no files, or needs a sweep that isn't given.
    """
    if isinstance(description, LaunchedCluster):
        return {LAUNCHER: _yaml(launcher_config(description))}
    if isinstance(description, KubernetesCluster):
        files = {CLUSTER: _yaml(ray_cluster(description, ray_version()))}
        return files if line is None else {**files, JOB: _yaml(ray_job(description, ray_version(), line))}
    if isinstance(description, SlurmCluster):
        if line is None:
            raise ConfigError(
                "a Slurm job must run a sweep, but none is given; name its CONFIG, and --out below `shared`"
            )
        return {BATCH: batch_script(description, line)}
    raise ConfigError(
        f"`kind` must be one that is started from files (ssh, aws, gcp, kubernetes, slurm), but is {description.kind}; "
        "there is nothing to render"
    )


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write the files, readable by their owner alone, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def _yaml(tree: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(tree), sort_keys=False, width=120)
