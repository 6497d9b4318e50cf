import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rocore.data.fetch import FEWREL_FILES, RemoteFile, fetch_fewrel
from rocore.errors import DataError

CONTENT = bytes(range(256)) * 1200
FILE = RemoteFile("train.json", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
SMALL = RemoteFile("small.json", 2, hashlib.sha256(b"{}").hexdigest())


class Server(ThreadingHTTPServer):
    """Serves `files` on the loopback; `cut` answers end after that many bytes, `statuses` come first."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/train.json": CONTENT, "/small.json": b"{}"}
        self.with_range = True
        self.cuts = []
        self.statuses = []
        self.wrong_range = False
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.with_range else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            shown = 0 if self.server.wrong_range else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, folder, files=(FILE,)):
    return fetch_fewrel(folder, server.url, files=files, pause_s=0.0)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetch_fewrel_full_download_leaves_the_files_alone(server, tmp_path):
    paths = fetch(server, tmp_path / "a" / "b", (FILE, SMALL))
    assert [path.read_bytes() for path in paths] == [CONTENT, b"{}"]
    assert names(tmp_path / "a" / "b") == ["small.json", "train.json"]


def test_fetch_fewrel_present_file_is_skipped(server, tmp_path):
    fetch(server, tmp_path)
    server.requests.clear()
    assert fetch(server, tmp_path) == [tmp_path / "train.json"]
    assert server.requests == []


def test_fetch_fewrel_present_other_file_raises_and_stays(server, tmp_path):
    (tmp_path / "train.json").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"train\.json must be the data set's own file, .*move it away"):
        fetch(server, tmp_path)
    assert (tmp_path / "train.json").read_bytes() == b"mine"


def test_fetch_fewrel_kept_part_is_resumed_by_range(server, tmp_path):
    (tmp_path / "train.json.part").write_bytes(CONTENT[:1000])
    (path,) = fetch(server, tmp_path)
    assert server.requests == [("/train.json", "bytes=1000-")]
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["train.json"]


def test_fetch_fewrel_complete_part_needs_no_request(server, tmp_path):
    (tmp_path / "train.json.part").write_bytes(CONTENT)
    (path,) = fetch(server, tmp_path)
    assert server.requests == []
    assert path.read_bytes() == CONTENT


def test_fetch_fewrel_cut_connection_is_resumed(server, tmp_path):
    server.cuts = [200_000]
    (path,) = fetch(server, tmp_path)
    (_, first), (_, second) = server.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 200_000
    assert path.read_bytes() == CONTENT


def test_fetch_fewrel_cut_every_time_raises_and_keeps_the_part(server, tmp_path):
    server.cuts = [70_000] * 3
    with pytest.raises(
        DataError, match=r"3 attempts ended early .* of 307,200 bytes are kept: .* go on from there"
    ):
        fetch(server, tmp_path)
    assert names(tmp_path) == ["train.json.part"]
    kept = (tmp_path / "train.json.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT


def test_fetch_fewrel_server_without_range_starts_anew(server, tmp_path):
    server.with_range = False
    (tmp_path / "train.json.part").write_bytes(b"x" * 1000)
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT


def test_fetch_fewrel_other_range_than_asked_starts_anew(server, tmp_path):
    server.wrong_range = True
    (tmp_path / "train.json.part").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT
    assert server.requests == [("/train.json", "bytes=1000-"), ("/train.json", None)]


def test_fetch_fewrel_part_longer_than_the_file_starts_anew(server, tmp_path):
    (tmp_path / "train.json.part").write_bytes(CONTENT + b"x")
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT
    assert server.requests == [("/train.json", None)]


@pytest.mark.parametrize("resumed", [True, False])
def test_fetch_fewrel_tampered_file_raises_and_is_deleted(server, tmp_path, resumed):
    server.files["/train.json"] = CONTENT[:-1] + b"!"
    if resumed:
        (tmp_path / "train.json.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=rf"train\.json must have the SHA-256 {FILE.sha256}, .*deleted: run"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []


def test_fetch_fewrel_longer_file_raises_and_is_deleted(server, tmp_path):
    server.files["/train.json"] = CONTENT + b"more"
    with pytest.raises(DataError, match="must have 307,200 bytes, but the server sends more"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []


def test_fetch_fewrel_shorter_file_raises(server, tmp_path):
    server.files["/train.json"] = CONTENT[:1000]
    with pytest.raises(DataError, match="attempts ended early"):
        fetch(server, tmp_path)
    assert "train.json" not in names(tmp_path)


def test_fetch_fewrel_absent_on_the_server_raises(server, tmp_path):
    with pytest.raises(DataError, match=r"absent\.json must be there, but the server answered 404 Not Found"):
        fetch(server, tmp_path, (RemoteFile("absent.json", 1, ""),))


def test_fetch_fewrel_passing_server_error_is_tried_again(server, tmp_path):
    server.statuses = [503, 429]
    assert fetch(server, tmp_path)[0].read_bytes() == CONTENT


def test_fetch_fewrel_no_server_raises(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(DataError, match="must come whole, but 3 attempts ended early"):
            fetch_fewrel(tmp_path, url, files=(FILE,), pause_s=0.0)


def test_fetch_fewrel_no_web_address_raises(tmp_path):
    with pytest.raises(DataError, match="must be a web address"):
        fetch_fewrel(tmp_path, "nowhere", files=(FILE,), pause_s=0.0)


def test_fetch_fewrel_folder_that_is_a_file_raises(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="must be a folder with room to write"):
        fetch(server, tmp_path / "file")


def test_fewrel_files_are_four_with_full_checksums():
    assert [file.name for file in FEWREL_FILES] == [
        "train_wiki.json",
        "val_wiki.json",
        "val_nyt.json",
        "pid2name.json",
    ]
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 0 for file in FEWREL_FILES)
