"""One thread of torch for every test, and the encoders and the storage that tests share."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from rocore.encoder.source import Encoder
from rocore.storage import Storage


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_encoder() -> Callable[[str], Encoder]:
    """A random encoder of three layers by its architecture's name; tests leave it as it was."""
    from .tiny import encoder_of

    return cache(encoder_of)


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    from rocore.encoder.source import load_encoder

    return load_encoder("minilm")


@pytest.fixture
def tiny_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of `get_tiny` hold zeros."""
    from rocore.encoder import cache

    from .tiny_cache import zeros_trunk

    monkeypatch.setattr(cache, "run_trunk", zeros_trunk)


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty folder by URL, on the file system and on the S3 server."""
    if request.param == "file":
        return Storage.at(f"file://{tmp_path}/store")
    return Storage.at(f"{request.getfixturevalue('bucket')}/some/folder")
