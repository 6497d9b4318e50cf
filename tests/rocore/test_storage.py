import os
import signal
import threading

import pytest

from rocore import storage
from rocore.errors import ConfigError, StorageError
from rocore.storage import MANIFEST, Storage, is_url
from tests.conftest import SECRET


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "file":
        return Storage.at(f"file://{tmp_path}/store")
    return Storage.at(f"{request.getfixturevalue('bucket')}/some/folder")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "here"
    (root / "inner").mkdir(parents=True)
    (root / "a.txt").write_text("one")
    (root / "inner/b.bin").write_bytes(bytes(range(256)))
    return root


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("place", "expected"), [("s3://b/a", True), ("file:///a", True), ("a/b", False)])
def test_is_url_tells_urls_from_paths(place, expected):
    assert is_url(place) is expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://host/a", "must look like s3://BUCKET/FOLDER"),
        ("s3:///a", "must look like s3://BUCKET/FOLDER"),
        (f"s3://key:{SECRET}@bucket/a", "must not hold credentials"),
        (f"s3://bucket/a?secret_key={SECRET}", "must not hold credentials"),
    ],
)
def test_storage_at_a_url_that_cannot_be_used_says_why_and_keeps_secrets(url, message):
    with pytest.raises(ConfigError, match=message) as raised:
        Storage.at(url)
    assert SECRET not in str(raised.value)


def test_storage_reads_what_was_written(store):
    assert not store.exists("x/y")
    store.write("x/y", b"1")
    store.write("x/y", b"22")
    assert store.exists("x/y")
    assert store.read("x/y") == b"22"
    assert store.files() == {"x/y": 2}
    assert store.below("x").read("y") == b"22"
    assert store.below("x").files() == {"y": 2}


def test_storage_remove_takes_files_folders_and_what_is_not_there(store):
    for name in ("a/1", "a/2", "b"):
        store.write(name, b"-")
    for name in ("a", "b", "c"):
        store.remove(name)
    assert store.files() == {}


def test_storage_read_of_what_is_absent_says_so_at_once(store):
    with pytest.raises(StorageError, match=r"possible to read nothing.* check the name"):
        store.read("nothing")


def test_pull_gives_back_what_was_pushed(store, folder, tmp_path):
    store.push(folder)
    store.pull(tmp_path / "there")
    assert contents(tmp_path / "there") == contents(folder)


def test_push_again_uploads_what_differs_and_removes_what_is_gone(store, folder, tmp_path, monkeypatch):
    store.push(folder)
    (folder / "a.txt").unlink()
    (folder / "inner/b.bin").write_bytes(b"new")
    (folder / "c").write_text("more")
    (folder / "d").write_text("kept here")
    uploaded = []
    upload = Storage.upload
    monkeypatch.setattr(
        Storage, "upload", lambda self, path, name: (uploaded.append(name), upload(self, path, name))
    )
    store.push(folder, skip=lambda name: name == "d")
    assert uploaded == ["c", "inner/b.bin"]
    assert set(store.files()) == {"c", "inner/b.bin", MANIFEST}
    (tmp_path / "there").mkdir()
    store.pull(tmp_path / "there")
    assert contents(tmp_path / "there") == {"c": b"more", "inner/b.bin": b"new"}


def test_pull_again_downloads_only_what_differs(store, folder, tmp_path, monkeypatch):
    store.push(folder)
    store.pull(tmp_path / "there")
    (tmp_path / "there/a.txt").write_text("touched")
    asked = []
    download = Storage.download
    monkeypatch.setattr(
        Storage,
        "download",
        lambda self, name, *a, **k: (asked.append(name), download(self, name, *a, **k))[1],
    )
    store.pull(tmp_path / "there")
    assert asked == ["a.txt"]
    assert contents(tmp_path / "there") == contents(folder)


def test_pull_of_a_flipped_byte_puts_nothing_in_place(store, folder, tmp_path):
    store.push(folder)
    store.write("a.txt", b"onE")
    with pytest.raises(StorageError, match=r"a\.txt .* must have the SHA-256 of the manifest"):
        store.pull(tmp_path / "there")
    assert not (tmp_path / "there/a.txt").exists()
    assert [path for path in (tmp_path / "there").rglob("*") if path.is_file()] == []


def test_pull_of_what_was_never_pushed_whole_says_so(store, folder, tmp_path):
    store.push(folder)
    store.remove(MANIFEST)
    with pytest.raises(StorageError, match="must be a folder that was pushed whole"):
        store.pull(tmp_path / "there")


@pytest.mark.parametrize("text", ["{", "[]", '{"../evil": "00"}', '{"/etc/evil": "00"}', '{"a": 1}'])
def test_pull_with_a_manifest_that_is_none_writes_nothing(store, tmp_path, text):
    store.write(MANIFEST, text.encode())
    with pytest.raises(StorageError, match="must map names in the folder to SHA-256"):
        store.pull(tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_push_that_was_cut_off_is_not_taken_for_whole(store, folder, tmp_path, monkeypatch):
    store.push(folder)
    (folder / "a.txt").write_text("two")
    monkeypatch.setattr(
        Storage, "write", lambda self, name, content: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        store.push(folder)
    with pytest.raises(StorageError, match="must have the SHA-256"):
        store.pull(tmp_path / "there")


def test_storage_waits_for_a_server_that_is_away(s3_server, bucket):
    store = Storage.at(f"{bucket}/f")
    os.kill(s3_server.process.pid, signal.SIGSTOP)
    later = threading.Timer(4, os.kill, (s3_server.process.pid, signal.SIGCONT))
    later.start()
    store.write("late", b"yes")
    later.join()
    assert store.read("late") == b"yes"


def test_storage_that_stays_away_says_how_long_it_was_asked(monkeypatch, bucket):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(storage, "PATIENCE_S", 0.5)
    with pytest.raises(StorageError, match=r"possible to write x in s3://.* asked for 0.5 s") as raised:
        Storage.at(f"{bucket}/f").write("x", b"")
    assert SECRET not in str(raised.value)


def test_storage_shows_no_secret(bucket):
    assert SECRET not in repr(Storage.at(f"{bucket}/f"))
