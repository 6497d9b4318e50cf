"""One thread of torch for every test, and the encoders that tests share."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from rocore.encoder.source import Encoder


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
