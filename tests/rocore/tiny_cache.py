"""A pool of one sentence, an encoder that isn't one, and a process that gets its entry step by step.

`tiny_cache.py FOLDER NAME` gets the entry from FOLDER/cache. It touches NAME.going before, NAME.building in the middle
of the trunk, which then waits for the file `release`, and NAME.mapped when it maps the entry, which it does until it is
killed or finds the file `end`.
"""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from rocore.data.instance import Sentence, Source
from rocore.encoder import cache
from rocore.encoder.tokens import TokenStore
from rocore.progress import silent

SOURCE = Source((Sentence("a b c", (0, 1), (4, 5)),), "pool")


CPU = torch.device("cpu")


def pieces(texts, **_options):
    words = [text.split() for text in texts]
    return {
        "input_ids": [[1] * len(row) for row in words],
        "offset_mapping": [[(2 * i, 2 * i + 1) for i in range(len(row))] for row in words],
        "special_tokens_mask": [[0] * len(row) for row in words],
    }


ENCODER = SimpleNamespace(name="tiny", fingerprint="e" * 64, tokenizer=pieces, hidden_size=4)


def zeros_trunk(_encoder, tokenized, outputs, **_options):
    """Write zeros where the trunk writes hidden states."""
    for path in outputs.values():
        path.write_bytes(bytes(len(tokenized.piece_ids) * 4 * 4))


def get_tiny(root: Path, output_layer: int = 2, max_gib: float | None = None) -> TokenStore:
    """Get the entry of one layer, shape (3, 4)."""
    return cache.TrunkCache(root, max_gib).get(
        SOURCE,
        ENCODER,
        output_layers=(output_layer,),
        precision="fp32",
        max_pieces=64,
        device=CPU,
        progress=silent,
    )[output_layer]


def wait_for(path: Path, timeout_s: float = 600) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path.name)
        time.sleep(0.01)


def work(folder: Path, name: str) -> None:
    def trunk(encoder, tokenized, outputs, **options):
        for path in outputs.values():
            path.write_bytes(b"half")
        (folder / f"{name}.building").touch()
        wait_for(folder / "release")
        zeros_trunk(encoder, tokenized, outputs, **options)

    cache.run_trunk = trunk
    (folder / f"{name}.going").touch()
    store = get_tiny(folder / "cache")
    (folder / f"{name}.mapped").touch()
    wait_for(folder / "end")
    assert store.hidden.shape == (3, 4)
    assert store.spans.tolist() == [[0, 1, 2, 3]]


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2])
