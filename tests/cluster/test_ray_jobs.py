"""A sweep as jobs of a real Ray: submitted, followed, left, followed again, stopped, gone on with, brought back."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cluster.address import ClusterError
from cluster.job_commands import runtime_environment
from cluster.package import build_package
from cluster.ray_jobs import Jobs
from cluster.sweep_line import sweep_name

from .test_slurm_script import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.ray]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600
TOKEN = "0123456789abcdef" * 4
PORTS = (
    *("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port"),
    *("metrics-export-port", "runtime-env-agent-port", "ray-client-server-port"),
)


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def head():
    """A Ray with a token, on ports of its own; return the address of its jobs."""
    folder = Path(tempfile.mkdtemp(prefix="rj-"))
    (folder / "token").write_text(TOKEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / "token"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        # What a packaged job runs must be what it took along.
        patch.delenv("PYTHONPATH", raising=False)
        read_authentication_anew()
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        process = subprocess.Popen(
            [
                *("ray", "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"),
                *("--dashboard-host=127.0.0.1", f"--temp-dir={folder / 'r'}"),
                *("--object-store-memory=100000000", *(f"--{name}={port}" for name, port in ports.items())),
            ],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{ports['dashboard-port']}"
        try:
            wait_until(lambda: answers(url), "the job server")
            yield url
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(folder, ignore_errors=True)
            patch.undo()
            read_authentication_anew()


def read_authentication_anew():
    """Let Ray's client look at the environment, which it does once a process, on the first import."""
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def answers(url):
    try:
        Jobs(url)
    except ClusterError:
        return False
    return True


def wait_until(holds, what):
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.2)
    return found


def command(*arguments):
    return [sys.executable, "-m", "rocore", "cluster", *map(str, arguments)]


def rocore(*arguments, code=0):
    """Run `rocore cluster` to its end and return what it prints; nothing of it ever holds the token."""
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert TOKEN not in said
    return said


def follow(*arguments):
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command("logs", *arguments),
        cwd=ROOT,
        env=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def events(out):
    """The whole lines of a journal that may be being written to."""
    journal = out / "journal.jsonl"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return [json.loads(line) for line in lines]


def test_sweep_is_followed_left_stopped_gone_on_with_and_brought_back(head, tmp_path, monkeypatch):
    project, shared = tmp_path / "project", tmp_path / "shared"
    project.mkdir()
    (project / ".venv").symlink_to(Path(sys.executable).parents[1])
    (project / "configs").symlink_to(ROOT / "configs")
    shared.mkdir()
    out, name = shared / "a", sweep_name(str(shared / "a"))
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"{{kind: existing, jobs: '{head}', project: {project}, shared: {shared}}}")
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    submit = ("submit", mine, "configs/tune/quickstart.yaml", "--out", out, *settings)

    assert f"{head} takes jobs: Ray" in rocore("check", mine)
    assert f"{name}-1: " in rocore(*submit)

    # From the beginning: left when it has just begun to search, it has all that left to do.
    following = follow(mine, out)
    assert any("searching: 3 trials" in line for line in following.stdout)
    os.killpg(following.pid, signal.SIGINT)
    said, _ = following.communicate(timeout=60)
    assert (following.returncode, f"{name}-1 goes on" in said) == (0, True)

    wait_until(lambda: any(event["event"] == "report" for event in events(out)), "an epoch")
    again = follow(mine, out)
    said = rocore("stop", mine, out)
    assert "stopped; go on with: rocore sweep --resume" in said
    assert f"{name}-1: STOPPED" in said
    whole, _ = again.communicate(timeout=60)
    assert again.returncode == 130
    assert whole.index("searching: 3 trials") < whole.index("stopped; go on with")
    standing = rocore("status", mine, out)
    assert f"{name}-1: STOPPED, since" in standing
    assert "quickstart: not complete" in standing

    assert f"{name}-2: " in rocore(*submit)
    refusal = rf"error: a sweep must not run twice, but {name}-2 is (PENDING|RUNNING); follow it"
    assert re.search(refusal, rocore(*submit, code=4))
    assert "report:" in rocore("logs", mine, out)
    assert f"{name}-2: SUCCEEDED" in rocore("status", mine, out)
    results = json.loads((out / "results.json").read_text())
    assert (results["status"], len(results["search"]["trials"])) == ("complete", 3)
    ended = [event["name"] for event in events(out) if event["event"] == "end"]
    assert len(ended) == len(set(ended))

    assert "copied now" in rocore("collect", mine, out, "--to", tmp_path / "here")
    assert (tmp_path / "here/report.html").read_bytes() == (out / "report.html").read_bytes()
    assert " 0 of them copied now" in rocore("collect", mine, out, "--to", tmp_path / "here")
    written = [path for folder in (shared, tmp_path / "here") for path in folder.rglob("*") if path.is_file()]
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []


def test_packaged_job_runs_what_it_took_along_on_head_and_workers(head, tmp_path):
    where = (
        "import ray, rocore; ray.init(log_to_driver=False); print('HEAD', rocore.__file__); "
        "print('WORKER', ray.get(ray.remote(lambda: __import__('rocore').__file__).remote()))"
    )
    package = build_package(ROOT, tmp_path, None)
    jobs = Jobs(head)
    # The command `rocore` finds its own sub-commands.
    succeeded, said = jobs.ask(
        "where",
        f'python -c "{where}" && python -m rocore cluster --help',
        runtime_environment(package, "none"),
    )
    assert succeeded, said
    assert re.search(r"^HEAD .*/working_dir_files/.*/rocore/__init__\.py$", said, re.MULTILINE), said
    assert re.search(r"^WORKER .*/working_dir_files/.*/rocore/__init__\.py$", said, re.MULTILINE), said
    assert "Describe clusters, start them" in said
    assert jobs.attempts("where") == []


def test_status_of_a_sweep_that_this_machine_does_not_see_asks_the_cluster(head, tmp_path):
    jobs, out = Jobs(head), "/nowhere/a"
    jobs.submit(sweep_name(out), "true", {})
    jobs.wait(sweep_name(out), f"{sweep_name(out)}-1")
    said = rocore("job", "status", "--jobs", head, out, "echo twelve trials")
    assert f"{sweep_name(out)}-1: SUCCEEDED" in said
    assert said.endswith("twelve trials\n")


def test_job_that_is_not_there_is_named(head):
    assert "a job of this sweep must be known" in rocore("job", "logs", "--jobs", head, "/never/a", code=4)


@pytest.mark.parametrize(
    ("mode", "token", "message"),
    [
        ("token", "f" * 64, "must be asked with its Ray's token, but .*; set RAY_AUTH_MODE=token"),
        ("disabled", TOKEN, "must be asked with its Ray's token, but .*; set RAY_AUTH_MODE=token"),
    ],
    ids=["wrong", "none"],
)
def test_job_server_that_is_asked_without_its_token_says_what_to_set(head, monkeypatch, mode, token, message):
    here = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token}
    for variable, value in here.items():
        monkeypatch.setenv(variable, value)
    assert re.search(message, rocore("job", "stop", "--jobs", head, "/x/a", code=4))
