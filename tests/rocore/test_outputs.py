"""Places to write to: refused before the work, left as they were, one process at a time."""

import errno
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from rocore import outputs
from rocore.errors import ConfigError
from rocore.outputs import LOCK, alone_in, check_file, check_folder, write_as_usual, write_atomically


@pytest.fixture
def places(tmp_path):
    """A folder with a file, a folder with a file in it, a link to nothing, and a pipe."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("file", r"file is a file"),
        ("file/x", r"file is a file"),
        ("file/x/y", r"file is a file"),
        ("dangling", r"dangling is a link to nothing"),
        ("/proc/x", r"nothing can be written in /proc: "),
        ("x" * 300, r"xx: File name too long"),
    ],
)
def test_check_folder_of_a_place_that_cannot_be_one_says_why(name, fault, places):
    before = listing(places)
    with pytest.raises(ConfigError, match=rf"--out must be a folder that can be written, but .*{fault}"):
        check_folder(places / name)
    assert listing(places) == before


@pytest.mark.parametrize("name", [".", "folder", "new", "new/below/it"])
def test_check_folder_of_a_place_that_can_be_one_leaves_nothing(name, places):
    before = listing(places)
    check_folder(places / name)
    assert listing(places) == before


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("folder", r"folder is a folder"),
        ("new/p.jsonl", r"new isn't a folder"),
        ("file/p.jsonl", r"file isn't a folder"),
        ("/proc/p", r"nothing can be written in /proc: "),
        ("x" * 300, r"xx: File name too long"),
    ],
)
def test_check_file_of_a_place_that_cannot_be_one_says_why(name, fault, places):
    before = listing(places)
    with pytest.raises(ConfigError, match=rf"--csv must be a file that can be written, but .*{fault}"):
        check_file(places / name, "--csv")
    assert listing(places) == before


@pytest.mark.parametrize("name", ["file", "new", "folder/new", "dangling", "pipe", "/dev/null"])
def test_check_file_of_a_place_that_can_be_one_leaves_it_as_it_is(name, places):
    before = listing(places)
    check_file(places / name)
    assert (listing(places), (places / "file").read_text()) == (before, "mine")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_check_folder_where_the_system_refuses_says_what_it_says(error, tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(outputs, "TemporaryFile", refuse)
    for check in (check_folder, check_file):
        with pytest.raises(ConfigError, match=f"nothing can be written in .*: {os.strerror(error)}"):
            check(tmp_path / "new")


def test_write_atomically_to_a_device_leaves_it_one():
    write_atomically(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_write_atomically_through_a_link_keeps_the_link(places):
    (places / "link").symlink_to(places / "file")
    write_atomically(places / "link", "other")
    assert ((places / "link").is_symlink(), (places / "file").read_text()) == (True, "other")


def test_write_atomically_that_fails_leaves_no_temporary_file(places, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    before = listing(places)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(places / "file", "other")
    assert (listing(places), (places / "file").read_text()) == (before, "mine")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_write_as_usual_of_a_library_that_hides_its_file_follows_the_umask(mask, mode, tmp_path):
    def save(path):
        os.close(os.open(path.with_name("part"), os.O_CREAT | os.O_WRONLY, 0o600))
        path.with_name("part").rename(path)

    before = os.umask(mask)
    try:
        write_as_usual(tmp_path / "model.safetensors", save)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == mode


def test_alone_in_a_folder_that_another_process_holds_says_who(tmp_path):
    with alone_in(tmp_path), multiprocessing.get_context("fork").Pool(1) as pool:
        assert f"process {os.getpid()} on " in pool.apply(refusal, (tmp_path,))
    assert listing(tmp_path) == []


def refusal(folder):
    try:
        with alone_in(folder):
            return "it was let in"
    except ConfigError as error:
        return str(error)


def test_alone_in_after_a_kill_takes_the_folder(tmp_path):
    (tmp_path / LOCK).write_text("process 1 on elsewhere")
    with alone_in(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / LOCK).read_text()
    assert listing(tmp_path) == []
