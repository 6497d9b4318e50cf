"""What a sweep would use on a cluster, and for how long."""

import json
import subprocess
import sys
from collections.abc import Mapping

from cluster.address import ClusterError
from cluster.description import ClusterDescription, ExistingCluster, RemoteCluster
from cluster.sweep_line import SweepLine, share_settings
from rocore.config import parse_override, read_yaml, with_overrides
from rocore.errors import ConfigError

HERE = (
    "resources.address=null",
    "resources.cpus_per_trial=1",
    "resources.gpus_per_trial=0",
    "resources.custom={}",
)
"""Settings of a dry run that any machine can take."""


def summary(description: ClusterDescription) -> str:
    """Return one line that says what a sweep on this cluster would use."""
    if isinstance(description, ExistingCluster):
        place = f"the Ray at {description.jobs or description.address}"
    elif isinstance(description, RemoteCluster):
        place = f"a Ray started by {description.kind}, sweeps below {description.shared}"
    else:
        place = "a Ray of its own on this machine"
    shares = [setting.removeprefix("resources.") for setting in share_settings(description)]
    return f"{description.name}: {place}, {', '.join(shares) or 'shares as the sweep says'}"


def estimate(description: ClusterDescription, line: SweepLine) -> str:
    """Ask the sweep's own dry run, in a process of its own: this package knows nothing of sweeps.

    This machine needn't have what a trial takes on the cluster: the dry run counts hours of one CPU a trial.

    Raises:
        ClusterError: If the dry run doesn't pass.
        ConfigError: If a trial's share isn't a number.
    """
    command = [sys.executable, "-m", "rocore", "sweep", str(line.config), "--dry-run", "--json"]
    for setting in (*line.overrides, *HERE):
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - as above
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(f"the sweep's dry run must pass on this machine, but says: {last}")
    plan = json.loads(done.stdout)
    num_cpus, num_gpus = _shares(description, line)
    return (
        f"{line.config}: at most {plan['num_trials'] + plan['num_race_runs'] + plan['num_final_runs']} runs, about "
        f"{plan['cpu_hours'] * num_cpus:.1f} CPU-hours and {plan['cpu_hours'] * num_gpus:.1f} GPU-hours, with the "
        "seconds an epoch of one of this machine's CPUs"
    )


def _shares(description: ClusterDescription, line: SweepLine) -> tuple[float, float]:
    """Return CPUs and GPUs of a trial: as the user set them, else as the cluster does, else as the sweep's file.

    The dry run doesn't see them.
    """
    written = read_yaml(line.config).get("resources")
    tree = {"resources": dict(written) if isinstance(written, Mapping) else {}}
    settings = [*share_settings(description), *line.overrides]
    resources = with_overrides(tree, dict(map(parse_override, settings)))["resources"]
    shares = {key: resources.get(key, share) for key, share in (("cpus_per_trial", 1), ("gpus_per_trial", 0))}
    for key, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise ConfigError(f"`resources.{key}` must be a number, but is {share!r}; correct it")
    return shares["cpus_per_trial"], shares["gpus_per_trial"]
