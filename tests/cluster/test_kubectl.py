"""Scripts around kubectl, run by a real shell; a stand-in for kubectl says what it was asked."""

import os
import shlex
import subprocess

import pytest

from cluster.actions import Actions
from cluster.collection import collect, manifest
from cluster.description import KubernetesCluster
from cluster.groups import PodGroup
from cluster.kubectl import in_head, stop_script, submit_script
from cluster.sweep_line import sweep_name

KUBERNETES = KubernetesCluster(
    name="cloud",
    kind="kubernetes",
    image="image",
    namespace="research",
    project="/opt/rocore",
    shared="/mnt/rocore",
    volume_claim="claim",
    head=PodGroup(cpus=1, memory_gib=1),
    groups={"gpu": PodGroup(cpus=1, memory_gib=1)},
)
OUT = "/mnt/rocore/a"
NAME = sweep_name(OUT)
STAND_IN = """#!/bin/bash
echo "$*" >> {log}
case "$*" in
  *"get rayjob"*) printf '%s' "{state}" ;;
  *"get pods"*) printf '{pods}' ;;
  *" exec "*) while [ "$1" != -- ]; do shift; done; shift; exec "$@" ;;
esac
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """Return a function that puts the stand-in on PATH and gives the file of what it was asked."""

    def install(state="", pods=r"pod/cloud-head-x\npod/other\n"):
        log, program = tmp_path / "asked", tmp_path / "bin" / "kubectl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(STAND_IN.format(log=log, state=state, pods=pods))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return log

    return install


def run(script, *arguments):
    return subprocess.run(
        ["bash", "-c", script, "bash", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("state", ["", f"{NAME}:Complete", f"{NAME}:Failed"])
def test_submit_makes_a_job_that_has_ended_anew(kubectl, state):
    asked = kubectl(state=state)
    assert run(submit_script(KUBERNETES, OUT, "files/rayjob.yaml")).returncode == 0
    get, delete, apply = asked.read_text().splitlines()
    assert get.startswith(f"--namespace research get rayjob {NAME} --ignore-not-found --output=jsonpath=")
    assert delete == f"--namespace research delete rayjob {NAME} --ignore-not-found"
    assert apply == "--namespace research apply --filename files/rayjob.yaml"


@pytest.mark.parametrize("state", [":Running", ":Initializing", ":"])
def test_submit_of_a_job_that_runs_is_refused(kubectl, state):
    asked = kubectl(state=NAME + state)
    done = run(submit_script(KUBERNETES, OUT, "files/rayjob.yaml"))
    assert (done.returncode, len(asked.read_text().splitlines())) == (4, 1)
    assert f"a sweep must not run twice, but {NAME}{state}; follow it" in done.stderr


def test_stop_asks_the_sweeps_own_head_before_it_gives_the_cluster_back(kubectl):
    asked = kubectl()
    # There is no project in this pod: the stop fails, and then nothing is deleted.
    assert run(stop_script(KUBERNETES, OUT)).returncode != 0
    pods, call = asked.read_text().splitlines()
    assert f"--selector=rocore-tune/sweep={NAME},ray.io/node-type=head " in pods
    assert "exec --stdin pod/cloud-head-x --container=ray-head -- bash -c" in call
    assert f"/opt/rocore/.venv/bin/rocore cluster job stop {OUT}" in call


def test_stop_that_succeeded_deletes_the_job(kubectl):
    asked = kubectl()
    done = run(stop_script(KUBERNETES, OUT).replace("/opt/rocore/.venv/bin/rocore", "true"))
    assert done.returncode == 0, done.stderr
    assert (
        asked.read_text().splitlines()[-1] == f"--namespace research delete rayjob {NAME} --ignore-not-found"
    )


def test_stop_of_a_sweep_whose_head_never_ran_deletes_the_job(kubectl):
    asked = kubectl(state=f"rayjob/{NAME}", pods="")
    done = run(stop_script(KUBERNETES, OUT))
    assert done.returncode == 0, done.stderr
    assert (
        asked.read_text().splitlines()[-1] == f"--namespace research delete rayjob {NAME} --ignore-not-found"
    )


def test_stop_of_a_sweep_that_was_never_submitted_says_so(kubectl):
    asked = kubectl(pods="")
    done = run(stop_script(KUBERNETES, OUT))
    assert (done.returncode, "delete" in asked.read_text()) == (4, False)
    assert f"there is no RayJob {NAME}" in done.stderr


def test_command_in_a_head_gets_input_and_hands_output_and_exit_code_on(kubectl):
    kubectl()
    done = subprocess.run(
        ["bash", "-c", in_head(KUBERNETES, "cat; exit 3")],
        input="it's",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "it's")


def test_command_where_no_head_runs_says_how_to_start_one(kubectl):
    kubectl(pods="")
    done = run(in_head(KUBERNETES, "true"))
    assert done.returncode == 4
    assert "a head must run, but there is none; 'rocore cluster up' starts one" in done.stderr


def test_sweep_is_collected_through_a_pod(kubectl, tmp_path):
    kubectl()
    there = tmp_path / "there"
    (there / "final run").mkdir(parents=True)
    (there / "final run" / "metrics.json").write_text("{}")
    (there / "journal.jsonl").write_text("x")
    source = Actions(KUBERNETES, tmp_path).source(str(there))
    assert collect(source, tmp_path / "here").num_copied == 2
    assert manifest(tmp_path / "here") == manifest(there)


def test_scripts_pass_shellcheck(tmp_path):
    shellcheck = ["shellcheck", "--shell=bash", "-"]
    for script in (
        submit_script(KUBERNETES, OUT, "a b.yaml"),
        stop_script(KUBERNETES, OUT),
        in_head(KUBERNETES, None),
    ):
        try:
            done = subprocess.run(shellcheck, input=script, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("shellcheck isn't installed")
        assert done.returncode == 0, done.stdout
    assert shlex.split(submit_script(KUBERNETES, OUT, "a b.yaml"))[-1] == "a b.yaml"
