"""The batch script for Slurm, run by a real shell among stand-ins for Slurm, Ray and the sweep."""

import os
import subprocess
from pathlib import Path

import pytest

from cluster.checks import check_files
from cluster.description import load_description
from cluster.files import BATCH
from cluster.slurm import batch_script
from cluster.sweep_line import SweepLine

SLURM = str(Path(__file__).parents[2] / "configs" / "cluster" / "slurm.yaml")
STAND_INS = {
    "srun": 'echo "srun $SRUN_CPUS_PER_TASK $*" >> "$CALLS"\nwhile [[ "$1" == --* ]]; do shift; done\n"$@"',
    "scontrol": "printf 'one\\ntwo\\n'",
    "hostname": '[[ "$1" == --ip-address ]] && echo "$ADDRESSES" || echo "$ALL_ADDRESSES"',
    "ray": 'echo "ray $*" >> "$CALLS"',
    # A node has joined when its Ray was started, and JOIN nodes at most do.
    "python": (
        'while n=$(grep -c "^ray start" "$CALLS"); [ "$n" -eq 0 ]; do :; done; echo $((n < JOIN ? n : JOIN))'
    ),
    "rocore": 'echo "rocore after $(grep -c "^ray start" "$CALLS")" >> "$CALLS"',
    "sleep": "true",
}


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the script; it returns what happened and which programs were called."""
    programs = tmp_path / "project" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)

    def run_script(*, addresses="10.0.0.7", all_addresses="", joining=2, **keys):
        places = {"project": str(tmp_path / "project"), "shared": str(tmp_path), "setup": ["true"]}
        description = load_description(SLURM, {**places, "nodes": 2, **keys})
        text = batch_script(description, SweepLine(Path("a.yaml"), str(tmp_path / "a")))
        check_files({BATCH: text})
        if joining < 2:
            text = text.replace("SECONDS + 300", "SECONDS + 0")
        calls = tmp_path / "calls"
        environment = {
            **{"PATH": os.environ["PATH"], "CALLS": str(calls), "JOIN": str(joining)},
            **{"ADDRESSES": addresses, "ALL_ADDRESSES": all_addresses},
            **{"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "one,two"},
        }
        done = subprocess.run(
            ["bash", "-c", text], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done, calls.read_text().splitlines()

    return run_script


def test_steps_are_given_the_cpus_of_a_node(run):
    done, calls = run()
    assert done.returncode == 0, done.stderr
    steps = [call for call in calls if call.startswith("srun")]
    assert len(steps) == 3
    assert all(step.startswith("srun 16 ") for step in steps)


@pytest.mark.parametrize(
    ("addresses", "all_addresses", "head"),
    [
        ("10.0.0.7", "10.0.0.7 172.17.0.1", "10.0.0.7"),
        ("127.0.1.1", "10.0.0.7 172.17.0.1 fd00::1", "10.0.0.7"),
        ("fe80::1 10.0.0.7 10.1.0.7", "", "10.0.0.7"),
        ("", "fd00::1 10.0.0.7", "10.0.0.7"),
    ],
)
def test_head_has_the_first_address_that_other_nodes_reach(run, addresses, all_addresses, head):
    done, calls = run(addresses=addresses, all_addresses=all_addresses)
    assert done.returncode == 0, done.stderr
    assert any(f"--node-ip-address={head} --port=20007" in call for call in calls)
    assert any(call.startswith(f"ray start --address={head}:20007") for call in calls)


def test_job_where_the_head_has_no_such_address_ends_and_says_so(run):
    done, calls = run(addresses="127.0.1.1", all_addresses="fd00::1")
    assert done.returncode == 4
    assert (
        "one must have an IPv4 address that other nodes reach, but 'hostname' says: 127.0.1.1" in done.stderr
    )
    assert not any(call.startswith("ray") for call in calls)


def test_sweep_begins_when_all_nodes_have_joined(run):
    done, calls = run()
    assert done.returncode == 0, done.stderr
    assert calls[-1] == "rocore after 2"


def test_job_whose_nodes_do_not_all_join_ends_without_a_sweep_and_says_so(run):
    done, calls = run(joining=1)
    assert done.returncode == 4
    assert "error: 2 nodes must join Ray within 300 s, but 1 did" in done.stderr
    assert not any(call.startswith("rocore") for call in calls)


def test_nodes_offer_custom_resources(run):
    _, calls = run(resources={"big_disk": 2})
    starts = [call for call in calls if call.startswith("ray start")]
    assert len(starts) == 2
    assert all('--resources={"big_disk": 2}' in start for start in starts)
