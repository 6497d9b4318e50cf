"""A configuration file of a tiny run with the small encoder, and runs of it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from rocore.commands.main import main
from rocore.data.instance import Instance

BASE = {
    "seed": 1,
    "data": {
        "builtin": {"num_known_relations": 4, "num_novel_relations": 3, "instances_per_relation": 10},
        "novel_test_size": 0.3,
    },
    "encoder": {"name": "minilm", "output_layer": 2, "precision": "fp32"},
    "model": {"hidden_size": 32, "relation_size": 16},
    "train": {"pretrain_epochs": 1, "max_epochs": 2, "batch_size": 20, "device": "cpu", "num_threads": 1},
}


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Run `rocore` with arguments."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def write_config(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a configuration file; sections are merged into the base."""
    root = str(tmp_path_factory.mktemp("command_cache"))

    def write(path: Path, **sections: dict[str, Any]) -> Path:
        tree: dict[str, Any] = {**BASE, "cache": {"root": root}}
        for name, keys in sections.items():
            tree[name] = {**tree.get(name, {}), **keys}
        path.write_text(yaml.safe_dump(tree))
        return path

    return write


@pytest.fixture(scope="session")
def trained(
    run: Callable[..., Result], write_config: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Run directories that `rocore train` left: standard, incremental."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("standard", "incremental"):
        config = write_config(folder / f"{name}.yaml", incremental={"enabled": name == "incremental"})
        result = run("train", config, "--out", folder / name)
        assert result.exit_code == 0, result.output
    return {name: folder / name for name in ("standard", "incremental")}


def write_relations(path: Path, instances: list[Instance]) -> Path:
    """Write instances as JSONL with their relations."""
    rows = ({**asdict(each.sentence), "relation": each.relation} for each in instances)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def write_sentences() -> Callable[..., Path]:
    """Write instances of the built-in corpus as JSONL without relations."""

    def write(path: Path, instances: list[Any]) -> Path:
        rows = (
            {"text": i.sentence.text, "head": i.sentence.head, "tail": i.sentence.tail} for i in instances
        )
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
