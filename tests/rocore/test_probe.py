import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rocore.config import Config, make_config
from rocore.data.instance import LabeledData, Source
from rocore.data.tokenization import TokenizedSource
from rocore.encoder.source import Encoder
from rocore.errors import ConfigError, DataError
from rocore.probe import (
    PAPER,
    PIECES,
    POOLINGS,
    compute_features,
    draw_instances,
    pool_pieces,
    probe_encoder,
    score_features,
)
from rocore.progress import silent

from .tiny import CPU, NUM_LAYERS, SENTENCES, save_encoder, source_of

LAYERS = tuple(range(1, NUM_LAYERS + 1))


def naive_piece(
    tokens: torch.Tensor, piece: str, head: tuple[int, int], tail: tuple[int, int]
) -> torch.Tensor:
    """Collect a piece's tokens one by one."""
    part, how = piece.split()
    inside = {
        "head": lambda i: head[0] <= i < head[1],
        "tail": lambda i: tail[0] <= i < tail[1],
        "sentence": lambda i: True,
        "between": lambda i: head[1] <= i < tail[0] or tail[1] <= i < head[0],
    }[part]
    found = [tokens[i] for i in range(len(tokens)) if inside(i)]
    if how == "first":
        return found[0]
    if how == "max":
        return torch.stack(found).max(0).values
    return sum(found, torch.zeros(tokens.shape[1])) / max(1, len(found))


def features_of(encoder: Encoder, source: TokenizedSource, **options: Any) -> dict[int, Any]:
    settings = {"precision": "fp32", "device": CPU, "advance": silent("", 0), **options}
    return compute_features(encoder, source, LAYERS, **settings)


@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
def test_compute_features_equals_a_loop_over_the_library_s_hidden_states(
    tiny_encoder: Callable[[str], Encoder], model_type: str
) -> None:
    encoder, source, done = tiny_encoder(model_type), source_of(), []
    features = features_of(encoder, source, advance=done.append)
    assert sum(done) == len(source)
    for i, (_, head, tail) in enumerate(SENTENCES):
        ids = torch.from_numpy(source.part(i, i + 1).piece_ids).long()[None]
        states = encoder.model(input_ids=ids, output_hidden_states=True).hidden_states
        for r in LAYERS:
            expected = torch.stack([naive_piece(states[r][0], piece, head, tail) for piece in PIECES])
            np.testing.assert_allclose(features[r][i], expected.numpy(), atol=2e-4)


@pytest.mark.parametrize(
    ("spans", "between"),
    [
        ((0, 2, 5, 6), [2, 3, 4]),
        ((5, 6, 0, 2), [2, 3, 4]),
        ((0, 2, 3, 4), [2]),
        ((0, 2, 2, 4), []),
        ((2, 4, 0, 2), []),
        ((0, 3, 2, 5), []),
        ((0, 6, 2, 3), []),
        ((2, 3, 0, 6), []),
        ((1, 3, 1, 3), []),
    ],
)
def test_pool_pieces_between_entities_is_the_mean_of_what_neither_holds_and_zero_of_none(
    spans: tuple[int, ...], between: list[int]
) -> None:
    hidden = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    before = (3, (0, 1, 2, 3))  # a sentence before, so that positions count from the right one
    lengths, rows = np.array([before[0], 6]), np.array([before[1], spans])
    found = pool_pieces(hidden, lengths, rows)[1, PIECES.index("between mean")]
    expected = hidden[3:][between].mean(0) if between else torch.zeros(4)
    torch.testing.assert_close(found, expected)


def test_poolings_are_made_of_pieces_that_exist() -> None:
    assert {piece for pieces in POOLINGS.values() for piece in pieces} == set(PIECES)
    assert POOLINGS[PAPER] == ("head max", "tail max")


def labeled(counts: dict[str, int]) -> LabeledData:
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    return LabeledData(Source((), "pool"), np.arange(len(labels)), labels, tuple(counts))


def test_draw_instances_takes_equally_many_and_leaves_out_small_relations() -> None:
    data = labeled({"a": 9, "b": 4, "c": 6})
    drawn, left_out = draw_instances(data, 5, 0)
    assert left_out == ("b",)
    assert data.labels[drawn].tolist() == [0] * 5 + [2] * 5
    assert len(set(drawn.tolist())) == 10
    assert drawn.tolist() == draw_instances(data, 5, 0)[0].tolist()
    assert drawn.tolist() != draw_instances(data, 5, 1)[0].tolist()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 9, "b": 7, "c": 6}, "must have 8 instances to be probed, but 1 of 3 have; ask for at most 7"),
        ({"a": 9, "b": 4}, "but 1 of 2 have; add labeled instances"),
    ],
)
def test_draw_instances_where_too_few_relations_are_left_raises(counts: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_instances(labeled(counts), 8, 0)


def test_score_features_ranks_what_holds_relations_above_the_same_rows_shuffled() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    features = (np.eye(4)[labels].repeat(3, axis=1) + rng.normal(0, 0.2, (40, 12))).astype(np.float32)
    shuffled = rng.permutation(features)
    assert score_features(features, labels, 0) == (1.0, 1.0)
    assert max(score_features(shuffled, labels, 0)) < 0.7
    assert score_features(shuffled, labels, 0) == score_features(shuffled, labels, 0)
    assert score_features(shuffled, labels, 0) != score_features(shuffled, labels, 1)


def test_score_features_standardizes_each_dimension() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 10)
    features = rng.normal(labels[:, None], 0.8, (30, 4)).astype(np.float32)
    scaled = features * np.array([1024, 1 / 1024, 1, 1], np.float32)
    assert score_features(features, labels, 0) == score_features(scaled, labels, 0)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Three relations, which their heads tell apart, and a tiny encoder whose last layer gives a constant."""
    folder = save_encoder(tmp_path / "encoder", "bert")
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.endswith(f"layer.{NUM_LAYERS - 1}.output.LayerNorm.weight"):
            weights[name].zero_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvw")
    with (tmp_path / "known.jsonl").open("w") as file:
        for relation in "xyz":
            for _ in range(10):
                words = [*rng.choice(letters, 3).tolist(), relation, *rng.choice(letters, 4).tolist()]
                record = {"tokens": words, "head": [3, 4], "tail": [5, 6], "relation": relation}
                file.write(json.dumps(record) + "\n")
    data = {"format": "jsonl", "root": str(tmp_path), "known": "known.jsonl", "novel": "absent.jsonl"}
    encoder = {"name": str(folder), "output_layer": 99, "precision": "fp32"}
    return make_config({"seed": 3, "data": data, "encoder": encoder, "train": {"device": "cpu"}})


def test_probe_encoder_finds_an_informative_layer_and_needs_no_novel_file(config: Config) -> None:
    result = probe_encoder(config, num_instances=10, num_seeds=2)
    assert [(s.layer, s.pooling) for s in result.scores] == [(r, p) for r in LAYERS for p in POOLINGS]
    assert (result.num_relations, result.num_instances, result.left_out) == (3, 10, ())
    assert (result.seeds, result.precision, result.synthetic) == ((3, 4), "fp32", False)
    assert result.best().layer < NUM_LAYERS
    uninformed = max(s.mean for s in result.scores if s.layer == NUM_LAYERS)
    assert result.best(PAPER).mean > uninformed
    assert result == probe_encoder(config, num_instances=10, num_seeds=2)


def test_probe_encoder_reports_long_work_and_ends_it(config: Config) -> None:
    totals, done = {}, {}

    def start(title: str, total: int) -> Callable[[int], None]:
        totals[title], done[title] = total, []
        return done[title].append

    probe_encoder(config, [2], num_instances=5, num_seeds=1, progress=start)
    assert totals == {"pretrained layers": 15, "linear classifiers": len(POOLINGS)}
    assert {title: sum(steps) for title, steps in done.items()} == totals


@pytest.mark.parametrize("layers", [(0,), (2, 4), ()])
def test_probe_encoder_of_layers_that_are_not_there_raises_before_data_is_read(
    config: Config, tmp_path: Path, layers: tuple[int, ...]
) -> None:
    (tmp_path / "known.jsonl").unlink()
    with pytest.raises(
        ConfigError, match=r"layers to be probed must lie in 1\.\.3 .* but got (0|4|none); leave"
    ):
        probe_encoder(config, layers)
