import errno
import json
import os
import subprocess
import sys

import pytest

from rocore.errors import CheckpointError, ConfigError, DiskFullError, StorageAwayError
from tune.journal import Journal, is_disk_full, read_events


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep" / "journal.jsonl"


def write(path, *events):
    with Journal(path) as journal:
        for event in events:
            journal.write(event)


def test_journal_gives_back_what_was_written_in_order(path):
    write(path, {"event": "ask", "name": "0000"}, {"event": "end", "name": "0000"})
    write(path, {"event": "session"})
    assert [event["event"] for event in read_events(path)] == ["ask", "end", "session"]
    assert all(event["at"] > 1.6e9 for event in read_events(path))


@pytest.mark.parametrize("torn", ['{"event": "en', '{"event": "end"}', "{}\n", "\0\0\0\n", '"event"\n'])
def test_journal_drops_a_torn_last_line_and_goes_on(path, torn):
    write(path, {"event": "ask"})
    with path.open("a") as file:
        file.write(torn)
    write(path, {"event": "start"})
    assert [event["event"] for event in read_events(path)] == ["ask", "start"]


def test_journal_with_a_corrupt_line_in_the_middle_is_refused_with_its_number(path):
    write(path, {"event": "ask"}, {"event": "start"}, {"event": "end"})
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][3:] + lines[2])
    with pytest.raises(CheckpointError, match=r"journal.jsonl must hold .* but line 2 is corrupt"):
        Journal(path)
    assert path.read_text().count("\n") == 3


def test_journal_absent_is_no_sweep(tmp_path):
    with pytest.raises(CheckpointError, match=r"must be a sweep directory that holds journal.jsonl"):
        read_events(tmp_path / "journal.jsonl")


def test_journal_that_another_process_holds_is_refused_but_can_be_read(path):
    with Journal(path) as journal:
        journal.write({"event": "ask"})
        script = f"from pathlib import Path; from tune.journal import Journal; Journal(Path({str(path)!r}))"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "ConfigError: one process at a time may run a sweep or" in other.stderr
        with pytest.raises(ConfigError, match="another one is running"):
            Journal(path)
        assert len(read_events(path)) == 1
    Journal(path).close()


@pytest.mark.parametrize("taken", [0, 7])
def test_journal_on_a_full_disk_says_so_keeps_no_part_and_writes_no_more(path, monkeypatch, taken):
    write(path, {"event": "ask"})
    before = path.read_bytes()
    system_write = os.write
    written = []

    def full(file, data):
        if not taken or written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(system_write(file, data[:taken]))
        return written[-1]

    with Journal(path) as journal:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(DiskFullError, match=r"No space left on device; nothing is lost: .* --resume"):
            journal.write({"event": "end"})
        monkeypatch.setattr(os, "write", system_write)
        with pytest.raises(DiskFullError, match="No space left"):
            journal.write({"event": "after"})
        with pytest.raises(DiskFullError, match="No space left"):
            journal.check()
    assert path.read_bytes() == before
    write(path, {"event": "end"})
    assert [event["event"] for event in read_events(path)] == ["ask", "end"]


def test_journal_whose_sink_failed_says_so_and_writes_no_more(path):
    def away(*_):
        raise StorageAwayError("the store was asked for 180 s")

    with Journal(path, away) as journal:
        with pytest.raises(StorageAwayError, match="asked for 180 s"):
            journal.write({"event": "ask"})
        with pytest.raises(StorageAwayError, match="asked for 180 s"):
            journal.check()
        with pytest.raises(StorageAwayError, match="asked for 180 s"):
            journal.write({"event": "end"})
    assert [event["event"] for event in read_events(path)] == ["ask"]


def chained(cause):
    try:
        raise RuntimeError("saving failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (chained(OSError(errno.ENOSPC, "x")), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "x"), False),
        (chained(ValueError("x")), False),
        (None, False),
    ],
)
def test_is_disk_full_sees_through_causes_and_foreign_classes(error, full):
    assert is_disk_full(error) is full


def test_journal_lines_are_json_that_other_programs_read(path):
    write(path, {"event": "end", "error": "é\n"})
    assert json.loads(path.read_text())["error"] == "é\n"
