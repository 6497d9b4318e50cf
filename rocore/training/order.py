"""In which order instances are visited; a function of seed and epoch alone, so that a resumed run sees the same."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rocore.data.instance import Rows


@dataclass(frozen=True)
class PairedBatch:
    """Positions of labeled and of unlabeled training instances in one step."""

    labeled: Rows
    unlabeled: Rows


def derive_seed(seed: int, *parts: int | str) -> int:
    """Return a seed of its own for one purpose."""
    words = [seed, *(int.from_bytes(str(part).encode(), "little") for part in parts)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint32)[0])


def paired_batches(
    num_labeled: int, num_unlabeled: int, *, batch_size: int, seed: int, epoch: int
) -> Iterator[PairedBatch]:
    """Yield one pass over the labeled instances; the unlabeled ones cycle, shuffled anew each time round.

    Args:
        num_labeled: N.
        num_unlabeled: M.
        batch_size: Of both halves; the last labeled batch may be smaller.
        seed: The run's.
        epoch: Counted over pre-training and joint epochs.
    """
    generator = np.random.default_rng(derive_seed(seed, "order", epoch))
    labeled = generator.permutation(num_labeled)
    num_steps = -(-num_labeled // batch_size)
    size = min(batch_size, num_unlabeled)
    rounds = -(-num_steps * size // num_unlabeled)
    unlabeled = np.concatenate([generator.permutation(num_unlabeled) for _ in range(rounds)])
    for step in range(num_steps):
        yield PairedBatch(
            labeled[step * batch_size : (step + 1) * batch_size], unlabeled[step * size : (step + 1) * size]
        )
