"""`rocore cluster`: what check says, and the command line that submit runs."""

import json
import re
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cluster import commands, estimates
from cluster.address import ClusterError
from cluster.commands import cluster
from cluster.running import run, run_all
from rocore.errors import ConfigError

SLURM = "{kind: slurm, nodes: 2, cpus_per_node: 4, time_limit: '4:00:00', project: /p, shared: /shared}"


@pytest.fixture
def submitted(monkeypatch):
    """Command lines that would have been run; the sweep is said to end with 7."""
    lines = []

    def record(command):
        lines.append(command)
        return 7

    monkeypatch.setattr("cluster.running.run", record)
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


def test_submit_runs_the_sweep_on_the_address_and_passes_its_exit_code(tmp_path, submitted, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.yaml").write_text("{base: {}}")
    path = describe(tmp_path, f"{{kind: existing, address: 'head:6379', shared: {tmp_path}}}")
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
            *(sys.executable, "-m", "rocore", "sweep", "main.yaml", "--out", f"{tmp_path}/sweeps/a"),
            *("--set", "search.num_trials=4", "--set", "x.y=[1, 2]", "--set", "resources.address=head:6379"),
            "--continue",
        ]
    ]
    warnings, line = result.stderr.splitlines()[:-1], result.stderr.splitlines()[-1]
    assert line.startswith(
        f"rocore sweep main.yaml --out {tmp_path}/sweeps/a --set search.num_trials=4 --set 'x.y=[1, 2]'"
    )
    assert [warning.split(":")[0] for warning in warnings] == ["warning", "warning"]


def test_submit_where_the_description_is_wrong_runs_nothing(tmp_path, submitted):
    result = CliRunner().invoke(cluster, ["submit", describe(tmp_path, "kind: cloud"), "main.yaml"])
    assert result.exit_code != 0
    assert submitted == []


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


def test_run_where_the_program_is_not_installed_says_which():
    with pytest.raises(ClusterError, match="the program no-such-tool must be on PATH, but isn't"):
        run(["no-such-tool", "x"])


def test_render_writes_valid_files_for_their_owner_alone(tmp_path):
    path = describe(tmp_path, SLURM)
    to = tmp_path / "files"
    arguments = ["render", path, "configs/tune/main.yaml", "--out", "/shared/a", "--to", str(to)]
    result = CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout == f"{to / 'sweep.sbatch'}\n"
    assert (to / "sweep.sbatch").stat().st_mode & 0o077 == 0


def test_render_of_a_cluster_that_has_no_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="`kind` must be one that is started from files"):
        CliRunner().invoke(cluster, ["render", describe(tmp_path, "kind: local")], catch_exceptions=False)


def test_check_names_everything_that_starting_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterError, match="- the program sbatch, on PATH; install it\n- the program squeue"):
        CliRunner().invoke(cluster, ["check", describe(tmp_path, SLURM)], catch_exceptions=False)


def test_check_with_a_sweep_estimates_its_hours(tmp_path, monkeypatch):
    """The dry run counts hours of one CPU, which any machine has; the shares are the description's or the user's."""
    plan = {"num_trials": 4, "num_race_runs": 2, "num_final_runs": 6, "cpu_hours": 1.25, "gpu_hours": 0}
    asked = []

    def dry_run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(plan), stderr="")

    monkeypatch.setattr(estimates.subprocess, "run", dry_run)
    path = describe(tmp_path, "{kind: local, gpus_per_trial: 2}")
    config = tmp_path / "a.yaml"
    config.write_text("resources: {cpus_per_trial: 4, gpus_per_trial: 1}", encoding="utf-8")
    chosen = ["--set", "resources.cpus_per_trial=8"]
    result = CliRunner().invoke(cluster, ["check", path, str(config), *chosen], catch_exceptions=False)
    assert "a.yaml: at most 12 runs, about 10.0 CPU-hours and 2.5 GPU-hours" in result.stdout
    assert asked[0][3:9] == ["sweep", str(config), "--dry-run", "--json", *chosen]
    assert asked[0][9::2] == ["--set"] * 4
    assert set(asked[0][10::2]) == {
        "resources.address=null",
        "resources.cpus_per_trial=1",
        "resources.gpus_per_trial=0",
        "resources.custom={}",
    }


def test_check_of_a_share_that_is_no_number_says_so(tmp_path, monkeypatch):
    done = subprocess.CompletedProcess([], 0, stdout=json.dumps({"cpu_hours": 1}), stderr="")
    monkeypatch.setattr(estimates.subprocess, "run", lambda *_, **__: done)
    config = tmp_path / "a.yaml"
    config.write_text("resources: {gpus_per_trial: one}", encoding="utf-8")
    arguments = ["check", describe(tmp_path, "kind: local"), str(config)]
    with pytest.raises(ConfigError, match=r"`resources\.gpus_per_trial` must be a number, but is 'one'"):
        CliRunner().invoke(cluster, arguments, catch_exceptions=False)


@pytest.mark.slow
def test_check_of_a_cluster_of_gpus_estimates_on_a_machine_without(tmp_path):
    path = describe(tmp_path, "{kind: local, cpus_per_trial: 64, gpus_per_trial: 8}")
    result = CliRunner().invoke(
        cluster, ["check", path, "configs/tune/quickstart.yaml"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert re.search(r"about [0-9.]+ CPU-hours and [0-9.]+ GPU-hours", result.stdout)


def test_check_where_the_data_lie_on_the_nodes_alone_names_what_is_missing_all_the_same(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(commands, "estimate", lambda *_: pytest.fail("estimated"))
    monkeypatch.setattr(commands, "missing", lambda _: ["the program rsync"])
    config = tmp_path / "a.yaml"
    config.write_text("base: {data: {format: jsonl, root: /mnt/rocore/data}}", encoding="utf-8")
    path = describe(tmp_path, "{kind: existing, jobs: 'http://127.0.0.1:1', shared: /mnt/rocore}")
    monkeypatch.setattr(commands, "answers", lambda *_, **__: [])
    result = CliRunner().invoke(cluster, ["check", path, str(config), "--out", "/mnt/rocore/a"])
    assert (
        "no estimate, as it is computed on this machine, which lacks `data.root` /mnt/rocore/data"
        in result.stdout
    )
    assert "- the program rsync" in str(result.exception)


def test_check_where_the_sweeps_file_lies_on_the_nodes_alone_gives_no_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "answers", lambda *_, **__: [])
    path = describe(
        tmp_path, "{kind: existing, jobs: 'http://127.0.0.1:1', project: /p, shared: /mnt/rocore}"
    )
    arguments = ["check", path, "/mnt/rocore/a.yaml", "--out", "/mnt/rocore/a"]
    result = CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    assert (result.exit_code, "which lacks /mnt/rocore/a.yaml" in result.stdout) == (0, True)


def test_check_where_the_dry_run_fails_says_why(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 2, stdout="", stderr="noise\nerror: no such file\n")
    monkeypatch.setattr(estimates.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        ClusterError, match="dry run must pass on this machine, but says: error: no such file"
    ):
        CliRunner().invoke(
            cluster, ["check", describe(tmp_path, "kind: local"), "a.yaml"], catch_exceptions=False
        )


def test_submit_to_slurm_hands_the_script_over(tmp_path, submitted, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["submit", describe(tmp_path, SLURM), "a.yaml", "--out", "/shared/a"]
    CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    ((_, _, script),) = submitted
    assert script.endswith("exec sbatch sweeps/clusters/mine/sweep.sbatch")
    text = (tmp_path / "sweeps/clusters/mine/sweep.sbatch").read_text()
    assert "rocore sweep a.yaml --out /shared/a" in text


@pytest.mark.parametrize(
    "text",
    [
        SLURM,
        "{kind: existing, jobs: 'http://127.0.0.1:8265', project: /p, shared: /shared}",
        "{kind: ssh, ssh_user: u, head: h, workers: [w], project: /p, shared: /shared}",
    ],
)
def test_submit_of_data_that_only_this_machine_has_runs_nothing(tmp_path, submitted, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("base: {data: {format: jsonl, known: k, novel: n}}")
    arguments = [
        "submit",
        describe(tmp_path, text),
        "a.yaml",
        "--out",
        "/shared/a",
        "--set",
        "data.root=/home/me",
    ]
    with pytest.raises(ConfigError, match=r"`data\.root` must be a URL, .* but is /home/me"):
        CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    assert submitted == []


def test_submit_packs_the_project_where_it_travels(tmp_path, submitted, monkeypatch):
    monkeypatch.setattr(commands, "FILES", tmp_path)
    path = describe(tmp_path, "{kind: existing, jobs: 'http://127.0.0.1:8265', shared: /shared}")
    arguments = ["submit", path, "configs/tune/quickstart.yaml", "--out", "/shared/a"]
    CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    (package,) = (tmp_path / "mine").glob("project-*.zip")
    assert ["--package", str(package), "--packages", "lock", "/shared/a"] == submitted[0][6:11]


def test_collect_of_a_folder_copies_verifies_and_names(tmp_path):
    out, to = tmp_path / "a", tmp_path / "here"
    out.mkdir()
    (out / "journal.jsonl").write_text("x")
    arguments = ["collect", describe(tmp_path, SLURM), str(out), "--to", str(to)]
    result = CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (
        0,
        f"{to}: 1 files verified by SHA-256, 1 of them copied now\n",
    )
    (out / "journal.jsonl").unlink()
    (to / "notes.txt").touch()
    result = CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    assert result.stdout == (
        f"{to}: 0 files verified by SHA-256, 0 of them copied now, 1 removed that are gone over there\n"
    )
    assert result.stderr == "only here, and left alone: 1 files (notes.txt)\n"


def test_collect_of_a_url_is_the_sweeps_own_business(tmp_path, submitted):
    CliRunner().invoke(cluster, ["collect", describe(tmp_path, SLURM), "s3://b/a", "--to", "here"])
    assert submitted == [[sys.executable, "-m", "rocore", "sweep", "collect", "s3://b/a", "--to", "here"]]


def test_run_all_ends_with_the_first_command_that_fails():
    commands = [[sys.executable, "-c", f"raise SystemExit({code})"] for code in (0, 3, 5)]
    assert run_all(commands) == 3
    assert run_all(commands[:1]) == 0


def test_up_of_an_exposed_cluster_warns(tmp_path, submitted, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "{kind: ssh, ssh_user: u, head: h, workers: [w], project: /p, shared: /shared, expose: true}"
    result = CliRunner().invoke(cluster, ["up", describe(tmp_path, text)], catch_exceptions=False)
    assert "warning: `expose` lets the dashboard listen beyond its machine" in result.stderr
    assert submitted[0][1:] == ["up", "--yes", "sweeps/clusters/mine/cluster.yaml"]


@pytest.mark.parametrize("verb", ["status", "logs", "stop"])
def test_directory_with_credentials_in_its_url_is_refused_unsaid(tmp_path, verb):
    with pytest.raises(ConfigError, match="must not hold credentials") as caught:
        CliRunner().invoke(
            cluster, [verb, describe(tmp_path, SLURM), "s3://KEY:hunter2@bucket/a"], catch_exceptions=False
        )
    assert "hunter2" not in str(caught.value)
