"""The steps of a sweep around Ray, with Ray taken out."""

import json
from contextlib import contextmanager

import pytest

from rocore.encoder import cache
from rocore.errors import ConfigError, RocoreError
from tune import preparation
from tune.config import load_sweep
from tune.ledger import TrialRecord
from tune.optuna_searcher import TruthfulOptunaSearch
from tune.preparation import Facts, by_output_layer, prepare_sweep
from tune.space import trunk_configs
from tune.sweep import run_sweep

FACTS = Facts(data={}, encoder={}, environment={}, synthetic=True, warnings=())


@contextmanager
def no_session(resources, log_folder):
    yield


def test_sweep_whose_trials_all_fail_ends_with_the_first_cause(make_sweep, tmp_path, monkeypatch):
    def search(sweep, folder, ledger, trainable):
        for number in range(2):
            ledger.start(TrialRecord(f"{number:04d}", number, {}))
            ledger.report(f"{number:04d}", {"failed": True, "error": f"cause {number}"})
            ledger.end(f"{number:04d}", "failed")
        return TruthfulOptunaSearch(sweep, study_name="failing")

    monkeypatch.setattr("tune.ray_backend.ray_session", no_session)
    monkeypatch.setattr("tune.ray_backend.search", search)
    with pytest.raises(RocoreError, match=r"all 2 failed; see error.txt in .*; the first one: cause 0"):
        run_sweep(make_sweep(), tmp_path / "out", prepare=lambda _: FACTS)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["status"], results["search"]["best_trial"]) == ("searched", None)
    assert [trial["state"] for trial in results["search"]["trials"]] == ["failed", "failed"]


def test_sweep_into_a_directory_in_use_is_refused_before_anything_runs(make_sweep, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").touch()
    with pytest.raises(ConfigError, match="must be new or empty"):
        run_sweep(make_sweep(), tmp_path / "out", prepare=lambda _: pytest.fail("prepared"))


def test_sweep_that_can_not_be_prepared_leaves_no_directory(make_sweep, tmp_path):
    def refuse(sweep):
        raise ConfigError("no such data")

    with pytest.raises(ConfigError, match="no such data"):
        run_sweep(make_sweep(), tmp_path / "out", prepare=refuse)
    assert not (tmp_path / "out").exists()


def test_trunks_of_all_layers_are_built_in_one_pass(make_sweep):
    sweep = make_sweep()
    ((config, layers),) = by_output_layer(trunk_configs(sweep.base, sweep.config.search.space))
    assert layers == [2, 3, 4, 5, 6]
    assert config.encoder.name == sweep.base.encoder.name


def test_trunks_of_other_encoder_keys_are_built_apart(make_sweep):
    space = {
        "encoder.output_layer": {"distribution": "integer", "low": 3, "high": 4},
        "encoder.max_pieces": {"distribution": "categorical", "choices": [64, 128]},
    }
    sweep = make_sweep(search={"space": space}, paper={"encoder.output_layer": 4, "encoder.max_pieces": 128})
    groups = by_output_layer(trunk_configs(sweep.base, sweep.config.search.space))
    assert [(config.encoder.max_pieces, layers) for config, layers in groups] == [(64, [3, 4]), (128, [3, 4])]


def test_prepare_builds_trunks_first_then_checks_data_and_every_fold(make_sweep, monkeypatch, engine):
    calls = []
    corpus = type(
        "Corpus",
        (),
        {
            "num_known_relations": 16,
            "num_novel_relations": 8,
            "known_rows": range(160),
            "novel_rows": range(80),
            "files": {"a.json": "00"},
            "synthetic": False,
        },
    )

    def prepare(config, progress):
        calls.append("real" if config.data.pseudo_novel is None else f"fold {config.data.pseudo_novel.fold}")
        prepared = engine.prepare(config)
        prepared.corpus, prepared.fingerprints, prepared.warnings = corpus, {"encoder": "ff"}, ("hm",)
        return prepared

    monkeypatch.setattr(preparation.rocore, "prepare", prepare, raising=False)
    monkeypatch.setattr(
        preparation.rocore,
        "build_trunk_cache",
        lambda config, layers, progress: calls.append(layers),
        raising=False,
    )
    facts = prepare_sweep(make_sweep())
    assert calls == [[2, 3, 4, 5, 6], "real", "fold 0", "fold 1"]
    assert facts.data["num_known_instances"] == 160
    assert facts.environment["fingerprints"] == {"encoder": "ff"}
    assert (facts.synthetic, facts.warnings) == (False, ("hm",))

    engine.gold = False
    with pytest.raises(ConfigError, match="objective `oracle` needs gold"):
        prepare_sweep(make_sweep({"objective.name": "oracle"}))


def test_prepare_of_a_searched_output_layer_takes_one_trunk_pass_a_pool(tmp_path, monkeypatch):
    """No later step of the preparation runs the trunk again."""
    passes = []

    def write_zeros(encoder, tokenized, outputs, **_options):
        passes.append(sorted(outputs))
        for path in outputs.values():
            path.write_bytes(bytes(len(tokenized.piece_ids) * encoder.hidden_size * 4))

    monkeypatch.setattr(cache, "run_trunk", write_zeros)
    builtin = {"num_known_relations": 8, "num_novel_relations": 3, "instances_per_relation": 8}
    base = {
        "data": {"builtin": builtin},
        "encoder": {"output_layer": 2, "precision": "fp32"},
        "cache": {"root": str(tmp_path / "cache")},
    }
    layers = {"encoder.output_layer": {"distribution": "integer", "low": 1, "high": 3}}
    tree = {
        "base": base,
        "search": {"space": layers},
        "paper": {"encoder.output_layer": 2},
        "objective": {"num_relations": 4, "num_folds": 2},
    }
    (tmp_path / "sweep.yaml").write_text(json.dumps(tree))
    prepare_sweep(load_sweep(tmp_path / "sweep.yaml", {}))
    assert passes == [[1, 2, 3], [1, 2, 3]]
