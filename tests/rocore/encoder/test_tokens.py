import numpy as np
import pytest
import torch

from rocore.encoder.tokens import TokenBank, TokenStore, ragged_arange

CPU = torch.device("cpu")


def store(lengths: list[int], spans: list[tuple[int, int, int, int]], first: int = 0) -> TokenStore:
    """Hidden states that count: token t is (first + t, -first - t)."""
    count = torch.arange(first, first + sum(lengths), dtype=torch.float32)
    offsets = np.cumsum([0, *lengths])
    return TokenStore(torch.stack([count, -count], dim=1), offsets, np.array(spans, dtype=np.int64))


@pytest.fixture
def bank() -> TokenBank:
    """Rows 0 and 1 in one store, 2 in another."""
    first = store([4, 2], [(1, 3, 0, 1), (0, 1, 1, 2)])
    return TokenBank([first, store([3], [(2, 3, 0, 3)], first=100)], CPU)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([], []), ([0], []), ([3], [0, 1, 2]), ([1, 3, 2], [0, 0, 1, 2, 0, 1]), ([2, 0, 1], [0, 1, 0])],
)
def test_ragged_arange_hand_value(lengths: list[int], expected: list[int]) -> None:
    assert ragged_arange(np.array(lengths, dtype=np.int64)).tolist() == expected


def test_bank_numbers_rows_across_stores(bank: TokenBank) -> None:
    assert bank.first_row.tolist() == [0, 2, 3]
    assert bank.lengths.tolist() == [4, 2, 3]
    assert bank.hidden_size == 2
    assert bank.dtype == torch.float32


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([0], [0, 1, 2, 3]),
        ([1, 0], [4, 5, 0, 1, 2, 3]),
        ([2, 1, 2], [100, 101, 102, 4, 5, 100, 101, 102]),
    ],
)
def test_batch_tokens_come_in_the_order_of_rows(
    bank: TokenBank, rows: list[int], expected: list[int]
) -> None:
    batch = bank.batch(np.array(rows))
    assert batch.size == len(rows)
    assert batch.hidden[:, 0].tolist() == expected
    assert batch.hidden[:, 1].tolist() == [-token for token in expected]


def test_batch_hand_case(bank: TokenBank) -> None:
    """Row 2 (3 tokens, head 2, tail 0-2), then row 0 (4 tokens, head 1-2, tail 0)."""
    batch = bank.batch(np.array([2, 0]))
    assert (batch.longest, batch.most_queries, batch.longest_span) == (4, 4, 3)
    assert batch.key_slots.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert batch.key_mask.tolist() == [[0, 0, 0, -np.inf], [0, 0, 0, 0]]
    assert batch.query_positions.tolist() == [2, 0, 1, 2, 1, 2, 0]
    assert batch.query_tokens.tolist() == [2, 0, 1, 2, 4, 5, 3]
    assert batch.query_slots.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert batch.span_slots.tolist() == [0, 3, 4, 5, 6, 7, 9]


def test_batch_mask_has_the_dtype_of_tokens(bank: TokenBank) -> None:
    half = store([4, 2], [(1, 3, 0, 1), (0, 1, 1, 2)])
    half = TokenStore(half.hidden.bfloat16(), half.offsets, half.spans)
    batch = TokenBank([half], CPU).batch(np.array([0, 1]))
    assert batch.key_mask.dtype == batch.hidden.dtype == torch.bfloat16
