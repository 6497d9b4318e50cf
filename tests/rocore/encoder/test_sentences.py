import ctypes

import numpy as np
import pytest
import torch

from rocore.encoder.sentences import Sentences, ragged_arange


@pytest.fixture
def sentences() -> Sentences:
    """Token t of store s is (100 s + t, -100 s - t)."""
    stores = [torch.arange(100.0 * s, 100 * s + size) for s, size in enumerate((6, 3, 4))]
    return Sentences(
        stores=tuple(torch.stack([store, -store], dim=1) for store in stores),
        store=np.array([2, 0, 0, 2]),
        first_tokens=np.array([1, 4, 0, 0]),
        lengths=np.array([3, 2, 4, 1]),
        room=np.array([3, 4, 4, 2]),
    )


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([], []), ([0], []), ([3], [0, 1, 2]), ([1, 3, 2], [0, 0, 1, 2, 0, 1]), ([2, 0, 1], [0, 1, 0])],
)
def test_ragged_arange_hand_value(lengths: list[int], expected: list[int]) -> None:
    assert ragged_arange(np.array(lengths, dtype=np.int64)).tolist() == expected


def test_padded_repeats_the_last_token_and_the_mask_tells_where(sentences: Sentences) -> None:
    expected = [201, 202, 203, 4, 5, 5, 5, 0, 1, 2, 3, 200, 200]
    assert sentences.padded[:, 0].tolist() == expected
    assert sentences.padded[:, 1].tolist() == [-token for token in expected]
    assert sentences.key_mask.tolist() == [*[0] * 5, -np.inf, -np.inf, *[0] * 5, -np.inf]


def test_copy_tokens_of_any_order(sentences: Sentences) -> None:
    copied = sentences.copy_tokens(np.array([3, 1, 0, 2, 2]), np.array([0, 1, 2, 0, 3]))
    assert copied[:, 0].tolist() == [200, 5, 203, 0, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_addresses_are_where_sentences_lie_in_memory(sentences: Sentences, dtype: torch.dtype) -> None:
    stores = tuple(store.to(dtype) for store in sentences.stores)
    in_dtype = Sentences(stores, sentences.store, sentences.first_tokens, sentences.lengths, sentences.room)
    for i, (address, length) in enumerate(zip(in_dtype.addresses, in_dtype.lengths, strict=True)):
        raw = bytearray(ctypes.string_at(int(address), int(length) * 2 * dtype.itemsize))
        there = torch.frombuffer(raw, dtype=dtype).view(-1, 2)
        assert torch.equal(there, in_dtype.copy_tokens(np.full(length, i), np.arange(length)))
