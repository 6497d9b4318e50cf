"""A batch script for Slurm: Ray on every node of the job, the sweep beside its head."""

import json
import shlex

from cluster.description import SlurmCluster
from cluster.sweep_line import STOP_WAIT_S, SweepLine, remote_command, shared_path, sweep_name

JOIN_WAIT_S = 300
"""Seconds that nodes have to join Ray."""
FAILED = 4
"""Exit code of a job whose Ray doesn't start."""


def job_name(description: SlurmCluster, out: str = "") -> str:
    """Return what Slurm calls the job of a sweep; without one, what the names of all of the description's begin with.

    A description's name holds no `_`, so that no other one begins like it.
    """
    return f"{description.name}_{sweep_name(out) if out else ''}"


def log_file(description: SlurmCluster, out: str) -> str:
    """Return where all jobs of a sweep write what they print: where every node sees it, the login node, too."""
    return f"{description.shared}/{job_name(description, out)}.log"


def batch_script(description: SlurmCluster, line: SweepLine) -> str:
    """Return the script. Submitted again with the same sweep directory, it goes on with the sweep.

    Raises:
        ConfigError: If a path of the sweep isn't one that every node sees.
    """
    out = shared_path(description, line.out)
    return "\n".join(
        [*_directives(description, out), "", *_body(description, remote_command(description, line))]
    )


def _directives(description: SlurmCluster, out: str) -> list[str]:
    options = {
        "job-name": job_name(description, out),
        "partition": description.partition,
        "account": description.account,
        "nodes": description.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": description.cpus_per_node,
        "gpus-per-node": description.gpus_per_node or None,
        "time": description.time_limit,
        "signal": f"B:TERM@{STOP_WAIT_S}",
        "output": shlex.quote(log_file(description, out)),
        "open-mode": "append",
    }
    given = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    return ["#!/bin/bash", *given, "#SBATCH --requeue"]


def _body(description: SlurmCluster, sweep: str) -> list[str]:
    return f"""set -euo pipefail
{chr(10).join(description.setup)}
export PATH={shlex.quote(description.project)}/.venv/bin:$PATH

# A token that only this job knows, in a folder that only its user can read.
secrets=$(mktemp -d {shlex.quote(description.shared)}/.ray-"$SLURM_JOB_ID"-XXXXXX)
trap 'rm -rf "$secrets"; kill $(jobs -p) 2> /dev/null || true' EXIT
(umask 077; head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > "$secrets/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$secrets/token"

{_ray(description)}

# Slurm's notice reaches this shell; the sweep stops cleanly and goes on when the job is submitted again.
({sweep}) &
sweep=$!
trap 'kill -TERM "$sweep"' TERM
code=0
wait "$sweep" || code=$?
if [ "$code" -gt 128 ]; then
  code=0
  wait "$sweep" || code=$?
fi
exit "$code"
""".split("\n")


def _ray(description: SlurmCluster) -> str:
    """Return the lines that start Ray on all nodes, and end the job where one doesn't join."""
    own = f"--num-cpus={description.cpus_per_node} --num-gpus={description.gpus_per_node}"
    if description.resources:
        own += f" --resources={shlex.quote(json.dumps(description.resources))}"
    return f"""# srun has not inherited --cpus-per-task since Slurm 22.05.
export SRUN_CPUS_PER_TASK={description.cpus_per_node}
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# Debian's name of a machine may mean 127.0.1.1, others several addresses or IPv6 ones.
addresses=$(srun --nodes=1 --ntasks=1 --nodelist="${{hosts[0]}}" \\
  bash -c 'hostname --ip-address; hostname --all-ip-addresses' || true)
head_ip=$(tr -s ' ' '\\n' <<< "$addresses" | awk '/^[0-9]+([.][0-9]+)+$/ && !/^127[.]/ && !seen++')
if [ -z "$head_ip" ] && [ "${{#hosts[@]}}" -eq 1 ]; then head_ip=127.0.0.1; fi
if [ -z "$head_ip" ]; then
  echo "error: ${{hosts[0]}} must have an IPv4 address that other nodes reach, but 'hostname' says: $addresses" >&2
  exit {FAILED}
fi
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_ADDRESS="$head_ip:$port"
# Short: Ray's socket paths must be.
temp="/tmp/ray-$SLURM_JOB_ID"

num_joined() {{
  python -c 'import ray; ray.init(log_to_driver=False); print(sum(node["Alive"] for node in ray.nodes()))' \\
    2> "$secrets/joining" | tail -n 1 || true
}}
await_nodes() {{
  local end=$((SECONDS + {JOIN_WAIT_S})) joined
  while joined=$(num_joined); [ "${{joined:-0}}" -lt "$1" ]; do
    if [ "$SECONDS" -ge "$end" ]; then
      cat "$secrets/joining" >&2
      echo "error: $1 nodes must join Ray within {JOIN_WAIT_S} s, but ${{joined:-0}} did; see what 'ray start' says" \\
        "above, and whether nodes reach $RAY_ADDRESS" >&2
      exit {FAILED}
    fi
    sleep 2
  done
}}

srun --nodes=1 --ntasks=1 --nodelist="${{hosts[0]}}" \\
  ray start --head --node-ip-address="$head_ip" --port="$port" --dashboard-host=127.0.0.1 --temp-dir="$temp" \\
  {own} --block &
await_nodes 1
for host in "${{hosts[@]:1}}"; do
  srun --nodes=1 --ntasks=1 --nodelist="$host" \\
    ray start --address="$RAY_ADDRESS" {own} --block &
done
await_nodes "${{#hosts[@]}}"
"""
