"""A sweep as a job of a real Ray: submitted with the project, followed, stopped, submitted again, brought back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cluster.sweep_line import job_name
from tune.journal import read_events
from tune.status import read_status

from .test_slurm_script import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.ray]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def environment(monkeypatch):
    """Ray's programs by name, on loopback, where nobody else is."""
    folder = Path(sys.executable).parent
    settings = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_JOB_STOP_WAIT_TIME_S": "120",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # What a packaged job runs must be what it took along.
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.fixture
def ray_head(environment):
    """Start a Ray; return its address and that of its jobs."""
    folder, port, jobs = tempfile.mkdtemp(prefix="rj-"), free_port(), free_port()
    ports = [f"--port={port}", f"--dashboard-port={jobs}", f"--ray-client-server-port={free_port()}"]
    command = ["ray", "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", *ports]
    command += ["--dashboard-host=127.0.0.1", f"--temp-dir={folder}", "--object-store-memory=100000000"]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: answers(jobs), "the jobs' port")
        yield f"127.0.0.1:{port}", f"http://127.0.0.1:{jobs}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(holds, what):
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.2)
    return found


def rocore(*arguments, code=0):
    """Run `rocore cluster` to its end and return what it prints."""
    command = [sys.executable, "-m", "rocore", "cluster", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def num_reports(out):
    journal = out / "journal.jsonl"
    return sum(event["event"] == "report" for event in read_events(journal)) if journal.exists() else 0


def test_sweep_is_a_job_that_is_followed_stopped_gone_on_with_and_brought_back(ray_head, tmp_path):
    address, jobs = ray_head
    description = tmp_path / "mine.yaml"
    description.write_text(f"{{kind: existing, address: '{address}', jobs: '{jobs}', packages: none}}")
    out = tmp_path / "shared" / "a"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    submit = ("submit", description, "configs/tune/quickstart.yaml", "--out", out, *settings)
    assert f"{job_name(out)} is submitted" in rocore(*submit)
    wait_until(lambda: num_reports(out) >= 2, "an epoch")
    assert "already; follow it" in rocore(*submit)
    assert "search:" in rocore("status", description, out)
    assert "was asked to stop" in rocore("stop", description, out)
    assert "stopped; go on with" in rocore("logs", description, out)
    assert not read_status(out).is_complete
    assert f"{job_name(out)} is submitted" in rocore(*submit)
    following = subprocess.Popen(
        [sys.executable, "-m", "rocore", "cluster", "logs", str(description), str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(5)
    os.killpg(following.pid, signal.SIGINT)
    following.wait(60)
    said = rocore("logs", description, out)
    assert read_status(out).is_complete, said
    rocore("collect", description, out, "--to", tmp_path / "here")
    assert (tmp_path / "here/report.html").read_bytes() == (out / "report.html").read_bytes()
    assert "wasn't; check NAME and DIR" in rocore("logs", description, tmp_path / "never", code=4)
