"""Sweep directories behind a shell: the list that sha256sum makes, rsync and tar, all run here for real."""

import os
import shutil

import pytest

from cluster.address import ClusterError
from cluster.collection import collect, manifest
from cluster.sources import HeadSource, PodSource, remote_manifest

HERE = ["bash", "-c"]
NOISY = [
    "bash",
    "-c",
    'printf "Fetched IP: 10.0.0.5\\r\\n"; bash -c "$1" | sed "s/$/\\r/"; echo Connection closed.',
    "noisy",
]
"""What comes back through Ray's launcher: words around it, and a terminal's line ends."""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "the source"
    (folder / "a b").mkdir(parents=True)
    for name in ("journal.jsonl", "a b/it's.json", "a b/back\\slash", "a b/two\nlines", "empty"):
        (folder / name).write_text("" if name == "empty" else name)
    return folder


@pytest.mark.parametrize("shell", [HERE, NOISY], ids=["plain", "noisy"])
def test_remote_manifest_is_what_this_machine_would_say(source, shell):
    assert remote_manifest(shell, str(source)) == manifest(source)


def test_remote_manifest_of_an_empty_folder_is_empty(tmp_path):
    assert remote_manifest(HERE, str(tmp_path)) == {}


def test_remote_manifest_of_no_folder_says_so():
    with pytest.raises(
        ClusterError,
        match=r"all files in /never/a must be readable over there, but the folder isn't: .*No such file",
    ):
        remote_manifest(HERE, "/never/a")


@pytest.mark.parametrize("name", ["../../.bashrc", "a/../../b", "/etc/passwd"])
def test_remote_manifest_that_leads_out_of_the_folder_is_refused(name):
    """What is wanted is written, and removed, below a folder of this machine."""
    lying = ["bash", "-c", f"echo '{'0' * 64}  {name}'; echo rocore-manifest 1"]
    with pytest.raises(ClusterError, match="must lie in it, but over there one is called"):
        remote_manifest(lying, "/sweeps/a")


def test_remote_manifest_that_lacks_a_file_is_never_taken(source, monkeypatch):
    monkeypatch.setattr("cluster.sources.time.sleep", lambda _: None)
    partial = ["bash", "-c", 'bash -c "$1" | grep -v journal', "partial"]
    with pytest.raises(ClusterError, match="must be readable over there, but 4 of 5 are"):
        remote_manifest(partial, str(source))


def test_pod_source_brings_what_is_asked_for_alone(source, tmp_path):
    target = tmp_path / "here"
    assert PodSource(HERE, str(source)).fetch(["journal.jsonl", "a b/two\nlines", "gone"], target) == ""
    assert sorted(manifest(target)) == ["a b/two\nlines", "journal.jsonl"]


def test_pod_source_is_collected_and_verified(source, tmp_path):
    found = collect(PodSource(HERE, str(source)), tmp_path / "here")
    assert (found.num_files, found.num_copied, found.busy) == (5, 5, ())
    assert manifest(tmp_path / "here") == manifest(source)


def test_pod_source_that_takes_many_names_does_not_wait_for_ever(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    names = [f"{number:04}-{'x' * 200}" for number in range(1000)]
    for name in names:
        (folder / name).write_text(name)
    assert PodSource(HERE, str(folder)).fetch(names, tmp_path / "here") == ""
    assert len(manifest(tmp_path / "here")) == 1000


def test_pod_source_whose_stream_breaks_says_so(source, tmp_path):
    assert (
        PodSource(["bash", "-c", "echo broken"], str(source))
        .fetch(["x"], tmp_path / "here")
        .startswith("tar says: ")
    )


def test_head_source_is_collected_and_verified(source, tmp_path):
    copy = ["bash", "-c", 'cp --archive "$1/." "$2"', "copy", str(source)]
    found = collect(HeadSource(NOISY, copy, str(source)), tmp_path / "here")
    assert (found.num_files, found.busy) == (5, ())
    assert manifest(tmp_path / "here") == manifest(source)


def test_head_source_whose_tool_fails_says_why(source, tmp_path):
    said = HeadSource(HERE, ["bash", "-c", "echo no route >&2; exit 12"], str(source)).fetch(
        ["x"], tmp_path / "here"
    )
    assert said == "bash says: no route"


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync isn't installed")
def test_head_source_repairs_what_rsync_takes_for_the_same(source, tmp_path):
    target = tmp_path / "here"
    head = HeadSource(HERE, ["rsync", "-avz", f"{source}/"], str(source))
    collect(head, target)
    times = (target / "journal.jsonl").stat()
    (target / "journal.jsonl").write_text("JOURNAL.jsonl")
    os.utime(target / "journal.jsonl", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert collect(head, target).busy == ()
    assert (target / "journal.jsonl").read_text() == "journal.jsonl"
