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
    num_labeled: int,
    num_unlabeled: int,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    num_steps: int | None = None,
) -> Iterator[PairedBatch]:
    """Yield one pass over the labeled instances, or `num_steps`; what cycles is shuffled anew each time round.

    Args:
        num_labeled: N.
        num_unlabeled: M.
        batch_size: Of both halves; in one pass the last labeled batch may be smaller.
        seed: The run's.
        epoch: Counted over pre-training and joint epochs.
        num_steps: Steps of the epoch, in which labeled instances cycle as the unlabeled ones do; None: one pass.
    """
    generator = np.random.default_rng(derive_seed(seed, "order", epoch))
    if num_steps is None:
        num_steps, labeled_size = -(-num_labeled // batch_size), batch_size
        labeled = generator.permutation(num_labeled)
    else:
        labeled_size = min(batch_size, num_labeled)
        labeled = _cycle(num_labeled, num_steps * labeled_size, generator)
    size = min(batch_size, num_unlabeled)
    unlabeled = _cycle(num_unlabeled, num_steps * size, generator)
    for step in range(num_steps):
        yield PairedBatch(
            labeled[step * labeled_size : (step + 1) * labeled_size],
            unlabeled[step * size : (step + 1) * size],
        )


def _cycle(num_instances: int, num_visits: int, generator: np.random.Generator) -> Rows:
    """Return positions of at least so many visits."""
    rounds = -(-num_visits // num_instances)
    return np.concatenate([generator.permutation(num_instances) for _ in range(rounds)])
