import numpy as np
import pytest
import torch

from rocore.encoder.tokens import ROW_STEPS, SENTENCES_PER_GROUP, TokenBank, TokenGroup, TokenStore

CPU = torch.device("cpu")
STEP = ROW_STEPS[torch.float32]


def store(lengths: list[int], spans: list[tuple[int, int, int, int]], first: int = 0) -> TokenStore:
    """Hidden states that count: token t is (first + t, -first - t)."""
    count = torch.arange(first, first + sum(lengths), dtype=torch.float32)
    offsets = np.cumsum([0, *lengths])
    return TokenStore(torch.stack([count, -count], dim=1), offsets, np.array(spans, dtype=np.int64))


@pytest.fixture
def bank() -> TokenBank:
    """Rows 0 and 1 in one store, 2 in another."""
    first = store([4, 2], [(1, 3, 0, 1), (0, 2, 1, 2)])
    return TokenBank([first, store([3], [(2, 3, 0, 3)], first=100)], CPU)


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
        ([2, 1, 2], [4, 5, 100, 101, 102, 100, 101, 102]),
    ],
)
def test_batch_tokens_are_filled_up_by_the_last_one(
    bank: TokenBank, rows: list[int], expected: list[int]
) -> None:
    batch = bank.batch(np.array(rows))
    assert batch.size == len(rows)
    assert batch.hidden[: len(expected), 0].tolist() == expected
    assert batch.hidden[: len(expected), 1].tolist() == [-token for token in expected]
    assert len(batch.hidden) == len(expected)


def test_batch_hand_case(bank: TokenBank) -> None:
    """Rows 1 and 0, three span tokens each, are one group, the shorter first; row 2, with four, is another."""
    batch = bank.batch(np.array([1, 2, 0]))
    assert batch.groups == (
        TokenGroup(member=0, size=2, tokens=4, queries=3, first_sentence=0, first_token=0, first_slot=0),
        TokenGroup(member=0, size=1, tokens=3, queries=4, first_sentence=2, first_token=8, first_slot=6),
    )
    assert batch.key_mask.tolist() == [0, 0, -np.inf, -np.inf, *[0] * 7]
    num_queries = 10
    assert batch.query_positions[:num_queries].tolist() == [0, 1, 1, 1, 2, 0, 2, 0, 1, 2]
    assert batch.query_hidden[:num_queries, 0].tolist() == [4, 5, 5, 1, 2, 0, 102, 100, 101, 102]
    assert batch.query_slots.tolist() == list(range(2 * STEP))
    assert batch.spans[:num_queries].tolist() == [0, 0, 1, 4, 4, 5, 2, 3, 3, 3]
    assert batch.spans[num_queries:].unique().tolist() == [6]
    assert batch.num_slots == len(batch.query_hidden) == 2 * STEP


def test_batch_of_a_pack_holds_member_after_member(bank: TokenBank) -> None:
    batch = bank.batch(np.array([1]), np.array([2]))
    assert batch.hidden[:, 0].tolist() == [4, 5, 100, 101, 102]
    assert batch.groups == (
        TokenGroup(member=0, size=1, tokens=2, queries=3, first_sentence=0, first_token=0, first_slot=0),
        TokenGroup(member=1, size=1, tokens=3, queries=4, first_sentence=1, first_token=2, first_slot=STEP),
    )
    assert batch.query_hidden[:4, 0].tolist() == [4, 5, 5, 4]  # the last of them is filling
    assert batch.query_hidden[STEP : STEP + 5, 0].tolist() == [102, 100, 101, 102, 100]
    assert batch.query_slots[STEP : STEP + 4].tolist() == [8, 9, 10, 11]
    assert batch.spans[STEP : STEP + 4].tolist() == [2, 3, 3, 3]


def test_batch_many_sentences_fall_into_groups_that_hold_each_once() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, 60, 100).tolist()
    spans = [(0, int(rng.integers(1, 8)), 2, 3) for _ in lengths]
    bank = TokenBank([store(lengths[:40], spans[:40]), store(lengths[40:], spans[40:], first=9000)], CPU)
    rows = rng.permutation(100)
    batch = bank.batch(rows)
    assert sum(group.size for group in batch.groups) == 100
    assert all(group.size <= SENTENCES_PER_GROUP for group in batch.groups)
    assert len(batch.groups) < 15
    heads = [int((batch.spans == 2 * i).sum()) for i in range(100)]
    assert heads == [spans[row][1] for row in rows]
    first = [batch.query_hidden[batch.spans == 2 * i][0, 0].item() for i in range(100)]
    starts = [*np.cumsum([0, *lengths[:39]]), *(9000 + np.cumsum([0, *lengths[40:-1]]))]
    assert first == [starts[row] for row in rows]


def test_resident_batch_hand_case() -> None:
    """Two members, rows of both stores; a member with fewer queries is filled up."""
    first = store([4, 2], [(1, 3, 0, 1), (0, 2, 1, 2)])
    resident = TokenBank([first, store([3], [(2, 3, 0, 3)], first=100)], CPU, resident=True).resident
    assert resident is not None
    rows = torch.tensor([[2, 0], [1, 1]])
    assert resident.total_queries(rows).tolist() == [7, 6]
    batch = resident.batch(rows, 8)
    assert batch.hidden[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 100, 101, 102]
    assert batch.first_tokens.tolist() == [6, 0, 4, 4]
    assert batch.lengths.tolist() == [3, 4, 2, 2]
    assert batch.first_queries.tolist() == [0, 4, 8, 11]
    assert batch.num_queries.tolist() == [4, 3, 3, 3]
    assert batch.head_queries.tolist() == [1, 2, 2, 2]
    assert batch.query_positions.tolist() == [2, 0, 1, 2, 1, 2, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0]
    assert batch.query_tokens[:7].tolist() == [8, 6, 7, 8, 1, 2, 0]
    assert batch.query_tokens[8:14].tolist() == [4, 5, 5, 4, 5, 5]
    assert batch.spans.tolist() == [0, 1, 1, 1, 2, 2, 3, 8, 4, 4, 5, 6, 6, 7, 8, 8]
    assert (batch.num_members, batch.most_tokens, batch.most_queries) == (2, 4, 4)


def test_resident_batches_of_many_steps_are_those_of_each() -> None:
    first = store([4, 2], [(1, 3, 0, 1), (0, 2, 1, 2)])
    resident = TokenBank([first], CPU, resident=True).resident
    assert resident is not None
    rows = torch.tensor([[[0, 1]], [[1, 1]], [[1, 0]]])
    together = resident.batch(rows, 8)
    for step in range(3):
        alone = resident.batch(rows[step], 8)
        for ours, theirs in zip(together.at(torch.tensor([step])).index(), alone.index(), strict=True):
            assert torch.equal(ours, theirs)
