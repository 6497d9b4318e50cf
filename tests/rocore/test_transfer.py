import pytest

from rocore import transfer
from rocore.errors import StorageError
from rocore.storage import MANIFEST, Storage, sha256
from rocore.transfer import PENDING


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "here"
    (root / "inner").mkdir(parents=True)
    (root / "a.txt").write_text("one")
    (root / "inner/b.bin").write_bytes(bytes(range(256)))
    return root


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_pull_gives_back_what_was_pushed(store, folder, tmp_path):
    store.push(folder)
    store.pull(tmp_path / "there")
    assert contents(tmp_path / "there") == contents(folder)


def test_push_again_uploads_what_differs_and_removes_what_is_gone(store, folder, tmp_path):
    store.push(folder)
    (folder / "a.txt").unlink()
    (folder / "inner/b.bin").write_bytes(b"new")
    (folder / "c").write_text("more")
    (folder / "d").write_text("kept here")
    uploaded = store.push(folder, skip=lambda name: name == "d")
    assert uploaded == ["c", "inner/b.bin"]
    assert set(store.files()) == {"c", "inner/b.bin", MANIFEST}
    (tmp_path / "there").mkdir()
    store.pull(tmp_path / "there")
    assert contents(tmp_path / "there") == {"c": b"more", "inner/b.bin": b"new"}


def test_push_of_what_is_there_already_writes_nothing(store, folder, monkeypatch):
    assert store.push(folder) == ["a.txt", "inner/b.bin"]
    monkeypatch.setattr(Storage, "_put", lambda *_: pytest.fail("something was written"))
    assert store.push(folder) == []


def test_push_of_nothing_is_a_whole_folder(store, tmp_path):
    (tmp_path / "empty").mkdir()
    assert store.push(tmp_path / "empty") == []
    assert store.manifest() == {}


def test_push_of_what_is_not_there_leaves_the_store_as_it_was(store, folder, tmp_path):
    store.push(folder)
    with pytest.raises(StorageError, match=r"must be a folder, but .*nowhere isn't"):
        store.push(tmp_path / "nowhere")
    store.pull(tmp_path / "there")


def test_push_leaves_what_is_skipped_as_it_is_there(store, folder, tmp_path):
    store.push(folder)
    (folder / "a.txt").write_text("other")
    (folder / "inner/b.bin").write_bytes(b"new")
    assert store.push(folder, skip=lambda name: name == "a.txt") == ["inner/b.bin"]
    store.pull(tmp_path / "there")
    assert contents(tmp_path / "there") == {"a.txt": b"one", "inner/b.bin": b"new"}


def test_push_sends_again_what_was_removed_behind_its_back(store, folder, tmp_path):
    store.push(folder)
    store.remove("a.txt")
    assert store.push(folder) == ["a.txt"]
    store.pull(tmp_path / "there")


def test_push_leaves_out_what_goes_while_it_is_sent(store, folder, monkeypatch):
    upload = Storage.upload

    def upload_late(self, path, name):
        (folder / "a.txt").unlink(missing_ok=True)
        return upload(self, path, name)

    monkeypatch.setattr(Storage, "upload", upload_late)
    monkeypatch.setattr(transfer, "NUM_AT_ONCE", 1)
    assert store.push(folder) == ["inner/b.bin"]
    assert set(store.manifest()) == {"inner/b.bin"}


def test_push_hashes_again_only_what_changed(store, folder, monkeypatch):
    store.push(folder)
    monkeypatch.setattr(transfer, "SETTLED_NS", -(10**15))
    store.push(folder)
    hashed = []
    monkeypatch.setattr(transfer, "sha256", lambda path: (hashed.append(path.name), sha256(path))[1])
    (folder / "a.txt").write_text("two")
    assert store.push(folder) == ["a.txt"]
    assert hashed == ["a.txt"]


def test_transfers_of_many_files_bring_each(store, tmp_path):
    for number in range(50):
        path = tmp_path / "many" / f"{number % 5}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    assert len(store.push(tmp_path / "many")) == 50
    assert len(store.pull(tmp_path / "there")) == 50
    assert contents(tmp_path / "there") == contents(tmp_path / "many")


def test_pull_again_downloads_only_what_differs(store, folder, tmp_path):
    store.push(folder)
    assert store.pull(tmp_path / "there") == ["a.txt", "inner/b.bin"]
    (tmp_path / "there/a.txt").write_text("touched")
    (tmp_path / "there/own").write_text("stays")
    assert store.pull(tmp_path / "there") == ["a.txt"]
    assert contents(tmp_path / "there") == {**contents(folder), "own": b"stays"}


def test_pull_of_a_flipped_byte_puts_nothing_in_place(store, folder, tmp_path):
    store.push(folder)
    store.write("inner/b.bin", bytes(range(255)) + b"\x00")
    with pytest.raises(StorageError, match=r"inner/b\.bin .* must have the SHA-256 of the manifest"):
        store.pull(tmp_path / "there")
    assert contents(tmp_path / "there") == {}


def test_pull_takes_what_changed_where_it_may(store, folder, tmp_path):
    store.push(folder)
    store.write("a.txt", b"being written")
    seen = []
    store.pull(tmp_path / "there", changed=lambda name: (seen.append(name), True)[1])
    assert seen == ["a.txt"]
    assert contents(tmp_path / "there") == {"a.txt": b"being written", "inner/b.bin": bytes(range(256))}


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


@pytest.fixture
def cut_push(folder, monkeypatch):
    """Return a function that pushes and is cut off after its first file."""

    def push(store):
        upload = Storage.upload

        def upload_one(self, path, name):
            upload(self, path, name)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "upload", upload_one)
            patch.setattr(transfer, "NUM_AT_ONCE", 1)
            with pytest.raises(KeyboardInterrupt):
                store.push(folder)

    return push


def test_push_that_was_cut_off_at_first_is_not_taken_for_whole(store, folder, tmp_path, cut_push):
    cut_push(store)
    assert store.files().keys() >= {"a.txt"}
    with pytest.raises(StorageError, match="must be a folder that was pushed whole"):
        store.pull(tmp_path / "there")
    assert store.push(folder) == ["a.txt", "inner/b.bin"]
    store.pull(tmp_path / "there")


def test_push_that_was_cut_off_is_not_taken_for_whole(store, folder, tmp_path, cut_push):
    store.push(folder)
    (folder / "a.txt").write_text("two")
    cut_push(store)
    with pytest.raises(StorageError, match="must have the SHA-256"):
        store.pull(tmp_path / "there")


def test_push_after_one_that_was_cut_off_trusts_nothing_that_it_touched(store, folder, tmp_path, cut_push):
    store.push(folder)
    (folder / "a.txt").write_text("two")
    cut_push(store)
    (folder / "a.txt").write_text("one")
    assert store.push(folder) == ["a.txt"]
    store.pull(tmp_path / "there")
    assert contents(tmp_path / "there") == contents(folder)
    assert not store.exists(PENDING)


def test_push_after_one_that_was_cut_off_removes_what_it_left(store, folder, cut_push):
    (folder / "a.txt").write_text("two")
    cut_push(store)
    (folder / "a.txt").unlink()
    store.push(folder)
    assert set(store.files()) == {"inner/b.bin", MANIFEST}


@pytest.mark.parametrize("text", ["{", "1", '["../evil"]'])
def test_push_with_a_note_that_is_none_removes_nothing(store, folder, text):
    store.write(PENDING, text.encode())
    with pytest.raises(StorageError, match="must list names in the folder"):
        store.push(folder)


def test_transfer_where_one_file_fails_says_which_and_begins_no_other(store, folder, tmp_path, monkeypatch):
    store.push(folder)
    store.remove("a.txt")
    monkeypatch.setattr(transfer, "NUM_AT_ONCE", 1)
    begun, download = [], Storage.download
    monkeypatch.setattr(
        Storage, "download", lambda self, name, path: (begun.append(name), download(self, name, path))[1]
    )
    with pytest.raises(StorageError, match=r"possible to read a\.txt in"):
        store.pull(tmp_path / "there")
    assert len(begun) <= 2
    assert contents(tmp_path / "there") == {}


def test_fetch_brings_what_is_wanted_and_again_only_what_changed(store, tmp_path, monkeypatch):
    for name in ("a", "inner/b", "c"):
        store.write(name, b"1")
    wanted = {"a", "inner/b"}
    assert store.fetch(tmp_path / "there", wanted=wanted.__contains__) == ["a", "inner/b"]
    begun, download = [], Storage.download
    monkeypatch.setattr(
        Storage, "download", lambda self, name, path: (begun.append(name), download(self, name, path))[1]
    )
    (tmp_path / "there/inner/b").write_bytes(b"2")
    store.fetch(tmp_path / "there", wanted=wanted.__contains__)
    assert begun == ["inner/b"]
    assert contents(tmp_path / "there") == {"a": b"1", "inner/b": b"1"}


def test_fetch_of_a_name_that_leads_outside_writes_nothing(bucket, s3_server, tmp_path):
    import boto3

    client = boto3.client("s3", endpoint_url=s3_server.url)
    client.put_object(Bucket=bucket.removeprefix("s3://"), Key="f/inner/../../../evil", Body=b"1")
    with pytest.raises(StorageError, match="must stay in their folder"):
        Storage.at(f"{bucket}/f").fetch(tmp_path / "there")
    assert not (tmp_path / "evil").exists()
