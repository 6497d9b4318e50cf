"""Shell scripts around kubectl: a RayJob for every attempt at a sweep, and commands in the pod that runs it."""

import shlex

from cluster.description import KubernetesCluster
from cluster.sweep_line import rocore_program, sweep_name

SWEEP = "rocore-tune/sweep"
"""The label that says which sweep a pod runs."""
CONTAINER = "ray-head"
REFUSED = 4


def labels(description: KubernetesCluster) -> dict[str, str]:
    """Return the labels of everything that a description makes."""
    return {"app": "rocore-tune", "rocore-tune/cluster": description.name}


def selector(description: KubernetesCluster, out: str | None = None) -> str:
    """Return the selector of everything that a description makes, or of what runs one sweep."""
    wanted = labels(description) if out is None else {SWEEP: sweep_name(out)}
    return ",".join(f"{key}={value}" for key, value in wanted.items())


def kubectl(description: KubernetesCluster, *arguments: str) -> list[str]:
    """Return a command of kubectl in the description's namespace."""
    return ["kubectl", "--namespace", description.namespace, *arguments]


def submit_script(description: KubernetesCluster, out: str, manifest: str) -> str:
    """Return the script that makes the RayJob anew; refused while it runs."""
    name = sweep_name(out)
    call = shlex.join(kubectl(description))
    state = "jsonpath='{.metadata.name}:{.status.jobDeploymentStatus}'"
    refusal = (
        "error: a sweep must not run twice, but $state; follow it with 'rocore cluster logs', or end it with "
        "'rocore cluster stop'"
    )
    return f"""set -euo pipefail
state=$({call} get rayjob {name} --ignore-not-found --output={state})
case "$state" in
  '' | *:Complete | *:Failed) ;;
  *) echo "{refusal}" >&2; exit {REFUSED} ;;
esac
{call} delete rayjob {name} --ignore-not-found
{call} apply --filename {shlex.quote(manifest)}
"""


def stop_script(description: KubernetesCluster, out: str) -> str:
    """Return the script that stops the sweep cleanly, where it has come to run, then gives its cluster back."""
    name = sweep_name(out)
    call = shlex.join(kubectl(description))
    stop = f"{rocore_program(description)} cluster job stop {shlex.quote(out)}"
    return f"""{_find_heads(description, out)}
if [ -n "$heads" ]; then
  {_in_first(description, shlex.quote(stop))}
elif [ -z "$({call} get rayjob {name} --ignore-not-found --output=name)" ]; then
  echo "error: a sweep must have been submitted to be stopped, but there is no RayJob {name}" >&2
  exit {REFUSED}
fi
{call} delete rayjob {name} --ignore-not-found
"""


def in_head(description: KubernetesCluster, command: str | None, out: str | None = None) -> str:
    """Return a script that runs a shell command in the head's pod, and hands its own input on.

    Args:
        description: The cluster.
        command: For bash, over there; None: the script's first argument.
        out: The sweep that the head runs; None: any head of the description, whose volume is the same.
    """
    inner = '"$1"' if command is None else shlex.quote(command)
    return f"""{_find_heads(description, out)}
if [ -z "$heads" ]; then
  echo "error: a head must run, but there is none; 'rocore cluster up' starts one, which sees the same volume" >&2
  exit {REFUSED}
fi
{_in_first(description, inner)}"""


def _find_heads(description: KubernetesCluster, out: str | None) -> str:
    call = shlex.join(kubectl(description))
    labeled = f"--selector={selector(description, out)},ray.io/node-type=head"
    return f"""set -euo pipefail
heads=$({call} get pods {labeled} --field-selector=status.phase=Running --output=name)"""


def _in_first(description: KubernetesCluster, inner: str) -> str:
    call = shlex.join(kubectl(description))
    return f"""{call} exec --stdin "${{heads%%$'\n'*}}" --container={CONTAINER} -- bash -c {inner}"""
