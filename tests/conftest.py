"""An S3 server of this machine, and which tests run side by side."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .gate import Gate

PATIENCE_S = 120
SECRET = "a-secret-that-must-stand-nowhere"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3Server:
    """moto's server in a process of its own; its buckets go with it."""

    def __init__(self, log: Path, host: str = "127.0.0.1") -> None:
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        self.host = host
        with log.open("w") as file:
            command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(self.port)]
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        end = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def make_bucket(self, name: str) -> str:
        """Return the bucket's URL."""
        from pyarrow.fs import S3FileSystem

        S3FileSystem(
            access_key="tester", secret_key=SECRET, endpoint_override=self.url, allow_bucket_creation=True
        ).create_dir(name)
        return f"s3://{name}"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config, items):
    """Local Rays are started one after another, beside all other tests."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if item.get_closest_marker("ray"):
                item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3") / "log")
    yield server
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch, tmp_path):
    """Return the URL of an empty bucket, and let this test's processes know the way."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_server.url}.items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket(f"b-{abs(hash(tmp_path)):x}"[:40])


@pytest.fixture
def gate(s3_server, bucket, monkeypatch):
    """Return a gate, open, that this test's way to the server leads through."""
    gate = Gate(s3_server.port)
    gate.open()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    yield gate
    gate.shut()
