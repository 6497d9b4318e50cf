"""Several processes on one cache: two builders at once, one killed while it writes, one that maps what others prune."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from rocore.encoder.cache_admin import list_entries, prune, verify
from rocore.errors import CacheError

from .tiny_cache import get_tiny, wait_for

WORKER = Path(__file__).with_name("tiny_cache.py")
NOBODY = 65534


@pytest.fixture
def start(tmp_path):
    """Start a worker by its name; those that are left are killed at the end."""
    workers = []

    def start_worker(name):
        workers.append(subprocess.Popen([sys.executable, str(WORKER), str(tmp_path), name]))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.kill()
        worker.wait()


@pytest.fixture
def trunk(tmp_path):
    """The folder of the workers' entries."""
    return tmp_path / "cache" / "trunk"


def test_get_in_two_processes_at_once_builds_one_whole_entry(start, tmp_path, trunk):
    workers = [start(name) for name in ("one", "two")]
    for name in ("one", "two"):
        wait_for(tmp_path / f"{name}.going")
    time.sleep(0.3)  # for the slower one to come to the lock
    (tmp_path / "release").touch()
    for name in ("one", "two"):
        wait_for(tmp_path / f"{name}.mapped")
    (tmp_path / "end").touch()
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert len(list(tmp_path.glob("*.building"))) == 1
    assert len(list_entries(trunk)) == 1
    assert verify(trunk) == {}
    assert not list(trunk.glob(".*"))


def test_get_after_a_process_was_killed_while_it_wrote_builds_anew(start, tmp_path, trunk):
    killed = start("killed")
    wait_for(tmp_path / "killed.building")
    killed.kill()
    killed.wait()
    (leftover,) = trunk.glob(".*.tmp")
    assert (leftover / "hidden.bin").read_bytes() == b"half"
    assert list_entries(trunk) == []
    for signal in ("release", "end"):
        (tmp_path / signal).touch()
    assert start("next").wait(120) == 0
    assert (tmp_path / "next.building").exists()
    assert verify(trunk) == {}
    assert not list(trunk.glob(".*"))


def test_prune_leaves_what_a_running_process_maps_and_takes_it_once_it_was_killed(start, tmp_path, trunk):
    (tmp_path / "release").touch()
    worker = start("one")
    wait_for(tmp_path / "one.mapped")
    assert [entry.in_use for entry in list_entries(trunk)] == [True]
    assert prune(trunk, max_bytes=0) == []
    worker.kill()
    worker.wait()
    assert len(prune(trunk, max_bytes=0)) == 1
    assert list_entries(trunk) == []


@contextmanager
def without_privileges():
    """Root may write anywhere, so it becomes somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only(tiny_trunk):
    """Make a cache with the tiny entry, if wanted, that may be read by all and written by none."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder can't be entered by other users
        folder = Path(name)

        def make(*, built):
            if built:
                get_tiny(folder)
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
            return folder

        yield make
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


def test_get_from_a_read_only_cache_maps_what_is_there(read_only):
    root = read_only(built=True)
    with without_privileges():
        assert get_tiny(root).hidden.shape == (3, 4)
        assert [entry.in_use for entry in list_entries(root / "trunk")] == [True]


def test_get_from_a_read_only_cache_without_the_entry_says_what_to_do(read_only):
    root = read_only(built=False)
    with (
        without_privileges(),
        pytest.raises(CacheError, match=r"must be writable, but .*Permission denied.*set `"),
    ):
        get_tiny(root)


def test_prune_of_a_read_only_cache_removes_nothing(read_only):
    root = read_only(built=True)
    with without_privileges():
        assert prune(root / "trunk", max_bytes=0) == []
    assert len(list_entries(root / "trunk")) == 1
