"""What a sweep would use on a cluster, and for how long."""

import json
import subprocess
import sys

from cluster.address import ClusterError
from cluster.description import ClusterDescription, ExistingCluster, RemoteCluster
from cluster.sweep_line import SweepLine, share_settings


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
    """Ask the sweep's own dry run, in a process of its own: this package knows nothing of sweeps."""
    command = [sys.executable, "-m", "rocore", "sweep", str(line.config), "--dry-run", "--json"]
    for setting in (*share_settings(description), *line.overrides):
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - as above
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(f"the sweep's dry run must pass on this machine, but says: {last}")
    plan = json.loads(done.stdout)
    return (
        f"{line.config}: at most {plan['num_trials'] + plan['num_race_runs'] + plan['num_final_runs']} runs, about "
        f"{plan['cpu_hours']:.1f} CPU-hours and {plan['gpu_hours']:.1f} GPU-hours, with this machine's seconds an epoch"
    )
