"""Other known and novel relations than the files say: `data.resplit`."""

import numpy as np

from rocore.config import ResplitConfig
from rocore.errors import DataError

STREAM = 1
"""Of the seed."""


def draw_novel(relations: tuple[str, ...], config: ResplitConfig) -> frozenset[str]:
    """Return the relations that become novel; a larger number contains those of a smaller one.

    The names are sorted first, so that the draw doesn't depend on the order of the files, nor on which instance carries
    which name.

    Raises:
        DataError: If fewer than 2 would stay known.
    """
    available, size = len(relations), config.num_novel_relations
    if available - size < 2:
        raise DataError(
            f"at least 2 relations must stay known, but `data.resplit.num_novel_relations` takes {size} of "
            f"{available}; " + (f"set it to at most {available - 2}" if available > 3 else "add relations")
        )
    names = sorted(relations)
    order = np.random.default_rng([config.seed, STREAM]).permutation(available)
    return frozenset(names[i] for i in order[:size])
