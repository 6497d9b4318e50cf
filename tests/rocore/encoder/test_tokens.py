import numpy as np
import pytest
import torch

from rocore.encoder.tokens import QUERY_STEP, TOKEN_STEP, TokenBank, TokenGroup, TokenStore, ragged_arange

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
        ([1, 0], [4, 5, 5, 5, 0, 1, 2, 3]),
        ([2, 1, 2], [4, 5, 5, 100, 101, 102, 100, 101, 102]),
    ],
)
def test_batch_tokens_are_filled_up_by_the_last_one(
    bank: TokenBank, rows: list[int], expected: list[int]
) -> None:
    batch = bank.batch(np.array(rows))
    assert batch.size == len(rows)
    assert batch.hidden[: len(expected), 0].tolist() == expected
    assert batch.hidden[: len(expected), 1].tolist() == [-token for token in expected]
    assert len(batch.hidden) == TOKEN_STEP
    assert not batch.hidden[len(expected) :].any()


def test_batch_hand_case(bank: TokenBank) -> None:
    """Row 2 (3 tokens, head 2, tail 0-2), then row 0 (4 tokens, head 1-2, tail 0): by span tokens, row 0 comes first."""
    batch = bank.batch(np.array([2, 0]))
    assert batch.groups == (TokenGroup(size=2, tokens=4, queries=4),)
    assert batch.key_mask.tolist() == [0, 0, 0, 0, 0, 0, 0, -np.inf]
    num_queries = 7
    assert batch.query_positions[:num_queries].tolist() == [1, 2, 0, 2, 0, 1, 2]
    assert batch.query_tokens[:num_queries].tolist() == [1, 2, 0, 6, 4, 5, 6]
    assert batch.query_slots[:num_queries].tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert batch.spans[:num_queries].tolist() == [2, 2, 3, 0, 1, 1, 1]
    assert batch.spans[num_queries:].unique().tolist() == [4]
    assert batch.query_slots[num_queries:].tolist() == list(range(8, batch.num_slots))
    assert len(batch.query_slots) == QUERY_STEP


def test_batch_mask_has_the_dtype_of_tokens(bank: TokenBank) -> None:
    half = store([4, 2], [(1, 3, 0, 1), (0, 1, 1, 2)])
    half = TokenStore(half.hidden.bfloat16(), half.offsets, half.spans)
    batch = TokenBank([half], CPU).batch(np.array([0, 1]))
    assert batch.key_mask.dtype == batch.hidden.dtype == torch.bfloat16


def test_batch_many_sentences_fall_into_groups_that_hold_each_once() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, 60, 100).tolist()
    spans = [(0, int(rng.integers(1, 8)), 2, 3) for _ in lengths]
    bank = TokenBank([store(lengths[:40], spans[:40]), store(lengths[40:], spans[40:], first=9000)], CPU)
    rows = rng.permutation(100)
    batch = bank.batch(rows)
    assert sum(group.size for group in batch.groups) == 100
    assert len(batch.groups) > 2
    heads = [int((batch.spans == 2 * i).sum()) for i in range(100)]
    assert heads == [spans[row][1] for row in rows]
    first = [batch.hidden[batch.query_tokens[batch.spans == 2 * i][0], 0].item() for i in range(100)]
    starts = [*np.cumsum([0, *lengths[:39]]), *(9000 + np.cumsum([0, *lengths[40:-1]]))]
    assert first == [starts[row] for row in rows]
