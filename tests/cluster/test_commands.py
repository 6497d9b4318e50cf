"""`rocore cluster`: what check says, and the command line that submit runs."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster import commands
from cluster.commands import cluster, run, sweep_command
from cluster.description import ClusterDescription, ClusterError
from tune.config import ResourcesConfig


@pytest.fixture
def submitted(monkeypatch):
    """Command lines that would have been run; the sweep is said to end with 7."""
    lines = []

    def record(command):
        lines.append(command)
        return 7

    monkeypatch.setattr(commands, "run", record)
    return lines


def describe(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_check_where_the_cluster_is_local_says_what_would_be_used(tmp_path):
    result = CliRunner().invoke(cluster, ["check", describe(tmp_path, "{kind: local, cpus_per_trial: 2}")])
    assert (result.exit_code, result.stdout) == (
        0,
        "mine: a Ray of its own on this machine, cpus_per_trial=2\n",
    )


def test_check_where_the_address_answers_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = CliRunner().invoke(
            cluster, ["check", describe(tmp_path, f"{{kind: existing, address: '{address}'}}")]
        )
    assert result.exit_code == 0
    assert result.stdout == f"mine: the Ray at {address}, shares as the sweep says\n{address} answers\n"


def test_check_where_the_address_is_dead_fails(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    path = describe(tmp_path, f"{{kind: existing, address: '{address}'}}")
    with pytest.raises(ClusterError, match="must take connections"):
        CliRunner().invoke(cluster, ["check", path], catch_exceptions=False)


def test_submit_runs_the_sweep_on_the_address_and_passes_its_exit_code(tmp_path, submitted):
    path = describe(tmp_path, "{kind: existing, address: 'head:6379'}")
    result = CliRunner().invoke(
        cluster,
        [
            "submit",
            path,
            "main.yaml",
            "--out",
            "sweeps/a",
            "--set",
            "search.num_trials=4",
            "--set",
            "x.y=[1, 2]",
        ],
    )
    assert result.exit_code == 7
    assert submitted == [
        [
            *(sys.executable, "-m", "rocore", "sweep", "main.yaml", "--out", "sweeps/a"),
            *("--set", "search.num_trials=4", "--set", "x.y=[1, 2]", "--set", "resources.address=head:6379"),
        ]
    ]
    assert result.stderr.startswith(
        "rocore sweep main.yaml --out sweeps/a --set search.num_trials=4 --set 'x.y=[1, 2]'"
    )


def test_submit_where_the_description_is_wrong_runs_nothing(tmp_path, submitted):
    result = CliRunner().invoke(cluster, ["submit", describe(tmp_path, "kind: cloud"), "main.yaml"])
    assert result.exit_code != 0
    assert submitted == []


def test_sweep_command_lets_the_user_change_shares_but_not_the_address():
    description = ClusterDescription(name="mine", kind="local", cpus_per_trial=0.5, gpus_per_trial=1)
    overrides = ("resources.cpus_per_trial=2", "resources.address=elsewhere:1")
    assert sweep_command(description, Path("a.yaml"), out=None, overrides=overrides)[5:] == [
        *("--set", "resources.cpus_per_trial=0.5", "--set", "resources.gpus_per_trial=1"),
        *("--set", "resources.cpus_per_trial=2", "--set", "resources.address=elsewhere:1"),
        *("--set", "resources.address=null"),
    ]


def test_sweep_command_sets_keys_that_a_sweep_has():
    description = ClusterDescription(name="mine", kind="local", cpus_per_trial=0.5, gpus_per_trial=1)
    command = sweep_command(description, Path("a.yaml"), out=None, overrides=())
    keys = {setting.partition("=")[0].removeprefix("resources.") for setting in command[6::2]}
    assert keys <= set(ResourcesConfig.model_fields)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM),
    ],
)
def test_run_returns_how_the_command_ended(code, exit_code):
    assert run([sys.executable, "-c", code]) == exit_code


def test_run_where_it_is_interrupted_waits_for_the_command_to_end(monkeypatch):
    waits = []
    wait = subprocess.Popen.wait

    def interrupted_once(process, timeout=None):
        waits.append(process.pid)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted_once)
    assert run([sys.executable, "-c", "raise SystemExit(5)"]) == 5
    assert len(waits) > 1
