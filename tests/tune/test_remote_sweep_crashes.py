"""Sweeps on an object store whose driver, machine or store is lost on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.conftest import SECRET
from tune.journal import FILE, read_events
from tune.remote.copy import copy_root, snapshot

from .crashes import (
    DRIVER,
    PATIENCE_S,
    check_nothing_lost_nothing_twice,
    num_events,
    read_results,
    run_with_kills,
    without_times,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]
NUM_TRIALS = 6
AWAY_S = 60


@pytest.fixture
def sequential(sweep_file):
    return sweep_file(resources={"max_concurrent_trials": 1})


@pytest.fixture
def machine(bucket, tmp_path, monkeypatch):
    """Return the URL of a sweep; the folder of this machine's copies may be removed."""
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAULTS", str(tmp_path / "faults"))
    monkeypatch.setenv("EPOCH_S", "0.1")
    return f"{bucket}/sweeps/a"


def start(log, *arguments):
    with log.open("a") as file:
        return subprocess.Popen(
            [sys.executable, str(DRIVER), *map(str, arguments)],
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def wait_for_events(url, number, process, log):
    end = time.monotonic() + PATIENCE_S
    while num_events(copy_root(url)) < number:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


@contextmanager
def silent(s3_server, gate):
    """The store takes connections, and answers nothing."""
    os.kill(s3_server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(s3_server.process.pid, signal.SIGCONT)


@contextmanager
def unreachable(s3_server, gate):
    """The store takes no connections."""
    gate.shut()
    yield
    gate.open()


@pytest.mark.parametrize("away", [silent, unreachable])
def test_sweep_on_a_store_goes_on_from_another_machine_and_ends_like_a_local_one(
    sequential, machine, s3_server, gate, tmp_path, away
):
    log = tmp_path / "log"
    process = start(log, machine, "run", sequential)
    wait_for_events(machine, 20, process, log)
    process.kill()
    process.wait()
    shutil.rmtree(copy_root(machine))
    process = start(log, machine, "resume")
    wait_for_events(machine, 30, process, log)
    with away(s3_server, gate):
        time.sleep(AWAY_S)
        assert process.poll() is None, log.read_text()
    assert process.wait(PATIENCE_S) == 0, log.read_text()
    shutil.rmtree(copy_root(machine))
    found = snapshot(machine)
    check_nothing_lost_nothing_twice(found, NUM_TRIALS)
    assert (found / "report.html").is_file()
    files = [path.read_bytes() for path in found.rglob("*") if path.is_file()]
    assert "lose" not in [event["event"] for event in read_events(found / FILE)]
    assert not any(SECRET.encode() in content for content in (*files, log.read_bytes()))
    assert run_with_kills(tmp_path / "whole", sequential, seed=0, kills=()) == 0
    assert without_times(read_results(found)) == without_times(read_results(tmp_path / "whole"))
