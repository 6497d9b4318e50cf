import hashlib
import os
import pickle
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rocore import patience, storage
from rocore.errors import ConfigError, StorageError
from rocore.storage import Storage, is_url, sha256
from tests.conftest import SECRET


@pytest.fixture
def refusing():
    """Return the address of a server that allows nothing, and repeats who asked."""

    class Refusal(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b"<Error><Code>AccessDenied</Code><Message>AKIDOFTHETESTS may not</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *args):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


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
        (f"s3://bucket/a?access_key={SECRET}", "must not hold credentials"),
        (f"s3://bucket/a?endpoint_override=http://key:{SECRET}@host", "must not hold credentials"),
        ("gs:///a", "must look like s3://BUCKET/FOLDER"),
        ("file://here/a", r"must look like .* file:///FOLDER"),
        ("s3://bucket/a/../b", r"must hold no `\.\.`"),
        ("s3://bucket/a#b", "no `#`"),
        ("s3://bucket/a?allow_bucket_creation=1", "only endpoint_override, region, scheme, but got"),
        ("file:///a?region=b", "only nothing, but got"),
    ],
)
def test_storage_at_a_url_that_cannot_be_used_says_why_and_keeps_secrets(url, message):
    with pytest.raises(ConfigError, match=message) as raised:
        Storage.at(url)
    assert SECRET not in str(raised.value)


def test_storage_at_asks_nothing():
    assert Storage.at("s3://a-bucket-that-nobody-has/a%20b/").path == "a-bucket-that-nobody-has/a b"
    assert Storage.at("gs://a-bucket-that-nobody-has").path == "a-bucket-that-nobody-has"


def test_storage_by_an_endpoint_in_its_url_needs_none_in_the_environment(bucket, s3_server, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    store = Storage.at(f"{bucket}/f?endpoint_override={s3_server.url}")
    store.write("a/b", b"1")
    assert Storage.at(store.below("a").url).read("b") == b"1"


def test_storage_is_the_same_in_another_process_and_takes_no_credentials_there(bucket, monkeypatch):
    store = Storage.at(f"{bucket}/f")
    store.write("a", b"1")
    assert SECRET.encode() not in (there := pickle.dumps(store))
    assert pickle.loads(there).read("a") == b"1"


def test_storage_keeps_bytes_as_they_are_whatever_a_name_ends_in(store, tmp_path):
    store.write("a.gz", b"not compressed")
    assert (store.files(), store.read("a.gz")) == ({"a.gz": 14}, b"not compressed")
    (tmp_path / "b.bz2").write_bytes(b"nor this")
    digest = store.upload(tmp_path / "b.bz2", "b.bz2")
    assert store.files()["b.bz2"] == 8
    assert store.download("b.bz2", tmp_path / "back") == digest == sha256(tmp_path / "back")


def test_storage_below_a_name_of_any_letters_is_found_by_its_url(store):
    store.below("a b%20?#c").write("d", b"1")
    assert Storage.at(store.below("a b%20?#c").url).read("d") == b"1"


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


def test_storage_waits_for_a_server_that_answers_nobody(s3_server, bucket):
    store = Storage.at(f"{bucket}/f")
    os.kill(s3_server.process.pid, signal.SIGSTOP)
    later = threading.Timer(4, os.kill, (s3_server.process.pid, signal.SIGCONT))
    later.start()
    store.write("late", b"yes")
    later.join()
    assert store.read("late") == b"yes"


@pytest.mark.slow
def test_storage_waits_for_a_server_that_is_away(gate, bucket, caplog):
    store = Storage.at(f"{bucket}/f")
    store.write("early", b"yes")
    gate.shut()
    later = threading.Timer(20, gate.open)
    later.start()
    store.write("late", b"yes")
    later.join()
    assert store.files() == {"early": 3, "late": 3}
    assert "is away" in caplog.text


def test_download_that_is_cut_goes_on_where_it_was(gate, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK", 1 << 20)
    store = Storage.at(f"{bucket}/f")
    content = os.urandom(1 << 20) * 8
    store.write("large", content)
    gate.cut_after = 3 << 20
    tries = []

    def open_again(url, what, action):
        """Try until it works; every failure opens the gate."""
        while True:
            tries.append(gate.num_bytes)
            try:
                return action()
            except OSError:
                gate.open()

    monkeypatch.setattr(storage, "patiently", open_again)
    assert store.download("large", tmp_path / "large") == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "large").read_bytes() == content
    assert len(tries) == 2
    assert gate.num_bytes < 1.3 * len(content)


def test_storage_that_stays_away_says_how_long_it_was_asked(monkeypatch, bucket):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(patience, "PATIENCE_S", 0.1)
    with pytest.raises(StorageError, match=r"possible to read x in s3://.* asked for 0.1 s") as raised:
        Storage.at(f"{bucket}/f").read("x")
    assert SECRET not in str(raised.value)


def test_storage_that_is_refused_says_so_at_once_and_repeats_no_key(bucket, refusing, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHETESTS")
    store = Storage.at(f"{bucket}/f?endpoint_override={refusing}")
    for ask in (lambda: store.write("x", b""), lambda: store.read("x"), store.files):
        with pytest.raises(
            StorageError, match=r"ACCESS_DENIED.*; check the name, and the credentials"
        ) as raised:
            ask()
        assert "AKID" not in str(raised.value)


def test_storage_shows_no_secret(bucket):
    assert SECRET not in repr(Storage.at(f"{bucket}/f"))


SHORT, LONG = b"short", b"long" * 100


class Rewriting:
    """A store that rewrites a file between the question for its length and its reading, a number of times."""

    def __init__(self, there, times):
        self.there, self.filesystem, self.times, self.content = there, there.filesystem, times, LONG
        there.write("a", LONG)

    def __getattr__(self, name):
        return getattr(self.filesystem, name)

    def open_input_stream(self, path, compression):
        stream = self.filesystem.open_input_stream(path, compression=compression)
        if self.times:
            self.times -= 1
            self.content = SHORT if self.content == LONG else LONG
            self.there.write("a", self.content)
        return stream


@pytest.mark.parametrize("times", [1, 2, 5])
def test_object_that_is_rewritten_while_it_is_read_is_read_again(bucket, times):
    reader = Storage.at(bucket)
    reader.__dict__["filesystem"] = Rewriting(Storage.at(bucket), times)
    assert reader.read("a") == (SHORT if times % 2 else LONG)


def test_object_that_is_rewritten_whenever_it_is_read_is_an_error(bucket):
    reader = Storage.at(bucket)
    reader.__dict__["filesystem"] = Rewriting(Storage.at(bucket), 1000)
    with pytest.raises(StorageError, match=r"a in s3://.* must stay as it is while it is read"):
        reader.read("a")
