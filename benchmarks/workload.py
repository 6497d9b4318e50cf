"""What is measured: encoders, their configurations, and data in FewRel's form."""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rocore
from rocore.encoder.source import locate

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "rocore" / "fewrel_minilm.yaml"
KNOWN, NOVEL = "train_wiki.json", "val_wiki.json"

Instances = dict[str, list[dict[str, Any]]]
"""FewRel's form: relation -> instances."""


@dataclass(frozen=True)
class Shape:
    """Of a randomly initialised BertModel."""

    layers: int
    hidden: int
    heads: int
    inner: int


@dataclass(frozen=True)
class Case:
    """An encoder and the layer that is fine-tuned; `shape` None is the encoder `minilm`."""

    name: str
    output_layer: int
    shape: Shape | None


CASES = (Case("minilm", 4, None), Case("bert_base", 8, Shape(12, 768, 12, 3072)))
TINY_CASES = (Case("minilm", 2, Shape(3, 32, 2, 64)), Case("bert_base", 2, Shape(3, 48, 4, 96)))
"""Stand in for the real ones in a quick run."""


@dataclass(frozen=True)
class Workload:
    """Where data, caches and drawn encoders are, and how much is measured."""

    data_root: str
    cache_root: str | None
    scratch: str
    """A folder for drawn encoders and cut data."""
    quick: bool = False

    @property
    def rounds(self) -> int:
        """Repeats that medians are taken over."""
        return 1 if self.quick else 3

    def config(self, case: Case, **overrides: Any) -> rocore.Config:
        """Return the run that is measured; it never converges early. Dotted keys are written with `__`."""
        name = "minilm" if case.shape is None else str(draw_encoder(case.shape, Path(self.scratch)))
        return rocore.load_config(
            CONFIG,
            {
                "data.root": self.data_root,
                "encoder.name": name,
                "encoder.output_layer": case.output_layer,
                "cache.root": self.cache_root,
                "data.novel_test_size": None,  # a seventh: 1,600 of all, and fewer of cut data
                "train.convergence_patience": 1000,
            }
            | ({"train.batch_size": 20} if self.quick else {})
            | {key.replace("__", "."): value for key, value in overrides.items()},
        )


@contextmanager
def open_workload(arguments: argparse.Namespace) -> Iterator[Workload]:
    """Yield what a command line asks for, with a scratch folder; in a quick run tiny random data and a cache for it."""
    with tempfile.TemporaryDirectory() as scratch:
        if not arguments.quick:
            yield Workload(arguments.data_root, arguments.cache_root, scratch)
            return
        workload = Workload(f"{scratch}/tiny", f"{scratch}/cache", scratch, quick=True)
        write_tiny_data(Path(workload.data_root))
        yield workload


def draw_encoder(shape: Shape, scratch: Path) -> Path:
    """Save a BertModel with seeded random weights and MiniLM's tokenizer; return its folder."""
    from transformers import BertConfig, BertModel

    folder = scratch / f"bert-{shape.layers}x{shape.hidden}"
    if folder.is_dir():
        return folder
    config = BertConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same weights each time, so that their trunk cache is found again
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    for path in Path(locate("minilm")).glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(Path(locate("minilm")) / "vocab.txt", folder)
    return folder


def write_tiny_data(folder: Path) -> None:
    """Write random sentences in FewRel's form: 4 known and 3 novel relations."""
    generator = np.random.default_rng(0)
    words = ["river", "city", "song", "team", "king", "school", "island", "painter", "film", "road"]

    def instance(_: int) -> dict[str, Any]:
        tokens = generator.choice(words, int(generator.integers(6, 20))).tolist()
        return {"tokens": tokens, "h": ["", "", [[0, 1]]], "t": ["", "", [[4]]]}

    folder.mkdir(parents=True, exist_ok=True)
    for name, count in ((KNOWN, 4), (NOVEL, 3)):
        relations = {f"{name[0]}{r}": [instance(i) for i in range(30)] for r in range(count)}
        (folder / name).write_text(json.dumps(relations), encoding="utf-8")


def write_cut(source: Path, target: Path, cut: Callable[[Instances], Instances]) -> Path:
    """Write a copy of both files, each put through `cut`; return the folder."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (KNOWN, NOVEL):
        relations = json.loads((source / name).read_text(encoding="utf-8"))
        (target / name).write_text(json.dumps(cut(relations)), encoding="utf-8")
    return target
