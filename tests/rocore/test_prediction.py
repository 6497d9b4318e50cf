"""A trained run applied to new sentences: order, chunks, and runs that can't be used."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from rocore import prediction
from rocore.config import make_config
from rocore.data.builtin import generate
from rocore.data.instance import Sentence
from rocore.errors import CheckpointError, ConfigError, DataError
from rocore.prediction import load_predictor
from rocore.training.run import train_run


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(
        {
            "data": {
                "builtin": {"num_known_relations": 2, "num_novel_relations": 2, "instances_per_relation": 8}
            },
            "encoder": {"output_layer": 2, "precision": "fp32"},
            "model": {"hidden_size": 16, "relation_size": 8},
            "incremental": {"enabled": True},
            "train": {
                "pretrain_epochs": 1, "max_epochs": 2, "batch_size": 8, "device": "cpu", "num_threads": 1
            },
            "cache": {"root": str(tmp_path_factory.mktemp("cache"))},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prediction") / "run"
    train_run(config, folder)
    return folder


@pytest.fixture(scope="module")
def predictor(folder):
    return load_predictor(folder, "cpu")


@pytest.fixture(scope="module")
def sentences(config):
    known, novel = generate(config.data.builtin)
    return [instance.sentence for instance in known + novel]


def numbers(predictions):
    return [(p.cluster, p.relation, pytest.approx(p.probability, abs=1e-5)) for p in predictions]


def test_predict_gives_each_sentence_a_cluster_or_a_known_relation(predictor, sentences):
    found = list(predictor.predict(sentences))
    assert len(found) == len(sentences) == 32
    assert all((p.cluster is None) != (p.relation is None) for p in found)
    assert all(p.relation is None or p.relation in predictor.known_relations for p in found)
    assert all(p.cluster in (None, 0, 1) for p in found)


@pytest.mark.parametrize(("chosen", "cluster"), [(0, None), (1, None), (2, 0), (3, 1)])
def test_predict_names_the_class_of_the_unified_classifier(chosen, cluster, folder, sentences):
    predictor = load_predictor(folder, "cpu")
    with torch.no_grad():
        predictor.model.unified_classifier.bias[chosen] = 1e4
    names = json.loads((folder / "run.json").read_text())["known_relations"]
    relation = names[chosen] if cluster is None else None
    assert {(p.cluster, p.relation) for p in predictor.predict(sentences)} == {(cluster, relation)}


def test_predict_in_chunks_gives_the_same(predictor, sentences, monkeypatch):
    whole = list(predictor.predict(sentences))
    monkeypatch.setattr(prediction, "CHUNK", 5)
    assert numbers(predictor.predict(sentences)) == numbers(whole)


def test_predict_of_a_sentence_depends_on_it_alone(predictor, sentences):
    whole = list(predictor.predict(sentences))
    backwards = list(predictor.predict(sentences[::-1]))[::-1]
    assert numbers(backwards) == numbers(whole)
    assert numbers(predictor.predict(sentences[3:4])) == numbers(whole[3:4])


def test_predict_with_head_and_tail_swapped_differs(predictor, sentences):
    swapped = [replace(sentence, head=sentence.tail, tail=sentence.head) for sentence in sentences]
    forward = [p.probability for p in predictor.predict(sentences)]
    assert [p.probability for p in predictor.predict(swapped)] != pytest.approx(forward, abs=1e-5)


def test_predict_of_nothing_gives_nothing(predictor):
    assert list(predictor.predict([])) == []


def test_predict_of_an_entity_without_pieces_names_it(predictor, sentences):
    sentences = [sentences[0], Sentence("a \u200b b", (0, 1), (2, 3))]
    fault = "the tail must have at least one word piece"
    with pytest.raises(DataError, match=rf"^new\.jsonl line 7: {fault}"):
        list(predictor.predict(sentences, ["new.jsonl line 1", "new.jsonl line 7"]))
    with pytest.raises(DataError, match=rf"^sentence \[1\]: {fault}"):
        list(predictor.predict(sentences))


def test_predict_of_a_bad_sentence_in_a_later_chunk_names_its_place_and_yields_nothing(
    predictor, sentences, monkeypatch
):
    monkeypatch.setattr(prediction, "CHUNK", 5)
    bad = Sentence("a \u00ad b", (0, 1), (2, 3))
    mixed = [*sentences[:12], bad, *sentences[12:], bad]
    places = [f"new.jsonl line {number}" for number in range(1, len(mixed) + 1)]
    with pytest.raises(DataError, match=r"^new\.jsonl line 13: .*\nnew\.jsonl line 34: [^\n]*$"):
        next(predictor.predict(mixed, places))


def test_load_predictor_passes_a_broken_checkpoint_over(folder, sentences, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "run")
    (copy / "checkpoints" / "epoch-0003" / "model.safetensors").write_bytes(b"torn")
    older, newer = (list(load_predictor(f, "cpu").predict(sentences)) for f in (copy, folder))
    assert [p.probability for p in older] != [p.probability for p in newer]


def test_load_predictor_without_a_whole_checkpoint_says_so(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("state.json"))
    with pytest.raises(CheckpointError, match="must hold a whole checkpoint, but holds none; train it"):
        load_predictor(copy)


def test_load_predictor_with_another_encoder_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "run")
    description = json.loads((copy / "run.json").read_text())
    description["fingerprints"]["encoder"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(description))
    with pytest.raises(
        CheckpointError, match=r"the encoder must be the one that .* `minilm` has other weights now"
    ):
        load_predictor(copy)


def test_load_predictor_on_no_device_is_refused(folder):
    with pytest.raises(
        ConfigError, match=r"`train\.device` must be auto, cpu, cuda or cuda:N, but got 'tpu'"
    ):
        load_predictor(folder, "tpu")
