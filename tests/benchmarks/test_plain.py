import numpy as np
import torch

from benchmarks.memory import anonymous_mib, sampled_peak
from benchmarks.plain import pad
from rocore.data.tokenization import TokenizedSource


def source_of(lengths, spans):
    pieces = np.arange(1, sum(lengths) + 1, dtype=np.int32)
    columns = np.array(spans, dtype=np.int32).T
    return TokenizedSource(pieces, np.cumsum([0, *lengths]), *columns, 0)


def test_pad_fills_every_sentence_to_the_longest_of_all_pools():
    data = pad([source_of([2], [(0, 1, 1, 2)]), source_of([3, 1], [(0, 2, 2, 3), (0, 1, 0, 1)])])
    assert data.longest == 3
    assert data.pieces.tolist() == [[1, 2, 0], [1, 2, 3], [4, 0, 0]]
    assert data.tokens.sum(1).tolist() == [2, 3, 1]
    assert data.head.int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert data.tail.int().tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_sampled_peak_sees_what_is_freed_within_the_block():
    before = anonymous_mib()
    with sampled_peak() as peak:
        torch.ones(64, 2**20)  # 256 MiB
    assert peak.mib - before > 128
