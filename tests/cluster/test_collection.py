"""Bringing files back: what is copied, what is told, and that nothing differs in silence."""

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.address import ClusterError
from cluster.collection import LIST, PART, collect, manifest
from cluster.sources import FolderSource


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "trials" / "0000").mkdir(parents=True)
    (folder / "journal.jsonl").write_text("one\n")
    (folder / "trials" / "0000" / "curve.json").write_text("{}")
    return folder


@dataclass(frozen=True)
class Watched(FolderSource):
    """A folder in which something happens after every copy."""

    then: list = field(default_factory=list)
    fetched: list = field(default_factory=list)

    def fetch(self, names, target):
        self.fetched.append(list(names))
        said = super().fetch(names, target)
        if self.then:
            self.then.pop(0)(target)
        return said


def test_manifest_knows_files_by_content_and_leaves_links_and_parts_out(source):
    (source / f"{PART}x").write_text("half")
    (source / "link").symlink_to("journal.jsonl")
    assert manifest(source) == {"journal.jsonl": digest("one\n"), "trials/0000/curve.json": digest("{}")}
    assert manifest(source / "absent") == {}


def test_collect_copies_what_differs_and_nothing_else(source, tmp_path):
    watched, target = Watched(source), tmp_path / "here"
    assert collect(watched, target).num_copied == 2
    (source / "journal.jsonl").write_text("one\ntwo\n")
    found = collect(watched, target)
    assert (found.num_files, found.num_copied, found.busy, found.only_here) == (2, 1, (), ())
    assert watched.fetched == [["journal.jsonl", "trials/0000/curve.json"], ["journal.jsonl"]]
    assert collect(watched, target).num_copied == 0
    assert manifest(target) == manifest(source)


def test_collect_of_a_file_that_was_written_meanwhile_copies_it_again(source, tmp_path):
    watched = Watched(source, then=[lambda _: (source / "journal.jsonl").write_text("one\ntwo\n")])
    found = collect(watched, tmp_path / "here")
    assert (found.num_files, found.busy) == (2, ())
    assert watched.fetched[1] == ["journal.jsonl"]
    assert (tmp_path / "here" / "journal.jsonl").read_text() == "one\ntwo\n"


def test_collect_of_a_file_that_is_always_being_written_names_it(source, tmp_path):
    def grow(_):
        (source / "journal.jsonl").write_text((source / "journal.jsonl").read_text() + "more\n")

    found = collect(Watched(source, then=[grow] * 3), tmp_path / "here")
    assert (found.num_files, found.busy) == (1, ("journal.jsonl",))


def test_collect_of_a_copy_that_is_damaged_repairs_it(source, tmp_path):
    def damage(target):
        path = target / "journal.jsonl"
        times = path.stat()
        path.write_text("0ne\n")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert collect(Watched(source, then=[damage]), tmp_path / "here").busy == ()
    assert manifest(tmp_path / "here") == manifest(source)


def test_collect_whose_copies_stay_damaged_fails(source, tmp_path):
    def damage(target):
        (target / "journal.jsonl").write_text("0ne\n")

    with pytest.raises(ClusterError, match=r"1 of 2 files don't, the first is journal\.jsonl; is there room"):
        collect(Watched(source, then=[damage] * 3), tmp_path / "here")


def test_collect_that_can_not_copy_keeps_what_is_here_and_says_why(source, tmp_path):
    class Broken(FolderSource):
        def fetch(self, names, target):
            return "rsync says: no route to host"

    target = tmp_path / "here"
    collect(FolderSource(source), target)
    (source / "journal.jsonl").write_text("two\n")
    with pytest.raises(ClusterError, match=r"the first is journal\.jsonl \(rsync says: no route to host\)"):
        collect(Broken(source), target)
    assert (target / "journal.jsonl").read_text() == "one\n"


def test_collect_removes_what_it_had_brought_and_the_source_has_no_more(source, tmp_path):
    target = tmp_path / "here"
    collect(FolderSource(source), target)
    (target / "notes.txt").write_text("mine")
    (source / "trials" / "0000" / "curve.json").unlink()
    found = collect(FolderSource(source), target)
    assert (found.num_files, found.num_removed, found.only_here) == (1, 1, ("notes.txt",))
    assert sorted(manifest(target)) == ["journal.jsonl", "notes.txt"]


def test_collect_leaves_what_was_changed_here_and_the_source_has_no_more(source, tmp_path):
    target = tmp_path / "here"
    collect(FolderSource(source), target)
    (target / "trials" / "0000" / "curve.json").write_text("mine")
    (source / "trials" / "0000" / "curve.json").unlink()
    assert collect(FolderSource(source), target).only_here == ("trials/0000/curve.json",)


def test_collect_leaves_a_list_that_sha256sum_checks(source, tmp_path):
    target = tmp_path / "here"
    collect(FolderSource(source), target)
    check = ["sha256sum", "--check", "--quiet", LIST]
    assert subprocess.run(check, cwd=target, check=False).returncode == 0
    (target / "journal.jsonl").write_text("0ne\n")
    assert subprocess.run(check, cwd=target, check=False, capture_output=True).returncode == 1


def test_collect_of_a_file_that_vanishes_meanwhile_goes_on(source, tmp_path):
    class Vanishing(FolderSource):
        def fetch(self, names, target):
            (source / "trials" / "0000" / "curve.json").unlink(missing_ok=True)
            return super().fetch(names, target)

    found = collect(Vanishing(source), tmp_path / "here")
    assert (found.num_files, found.num_copied, found.busy) == (1, 1, ())


def test_folder_source_makes_files_appear_whole(source, tmp_path, monkeypatch):
    def torn(_source, part):
        Path(part).write_text("ha")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cluster.sources.shutil.copy2", torn)
    with pytest.raises(OSError, match="No space left"):
        collect(FolderSource(source), tmp_path / "here")
    assert manifest(tmp_path / "here") == {}
