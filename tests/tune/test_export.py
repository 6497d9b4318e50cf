"""Models to take away, from directories that hold what a sweep leaves."""

import json

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.config import dump_config, make_config
from rocore.errors import CheckpointError, ConfigError
from tune.export import export

RUN = {
    "known_relations": ["capital", "author"],
    "num_novel_relations": 3,
    "synthetic": True,
    "precision": "fp32",
    "attention": "tensors",
    "files": {"known.jsonl": "ab12"},
    "fingerprints": {"encoder": "cd34"},
    "environment": {"python": "3.11", "packages": {"torch": "2.13"}, "platform": "Linux", "gpus": []},
}
METRICS = {"novel_test": {"b3_f1": 0.71}, "known_accuracy": 0.9, "epochs": 4, "stop_reason": "max_epochs"}


def make_run(folder, seed=1, epochs=(3, 4)):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(make_config({"seed": seed})))
    (folder / "run.json").write_text(json.dumps(RUN))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    for epoch in epochs:
        checkpoint = folder / "checkpoints" / f"epoch-{epoch:04d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_text(f"weights of {folder.name} after {epoch}")
    return folder


def entry_of(name):
    figures = {"mean": 0.7, "std": 0.02, "values": [0.71, 0.69]}
    failed = [{"seed": 3, "error": "broken"}]
    return {"name": name, "seeds": [1, 2], "failed_seeds": failed, "metrics": {"novel_test.b3_f1": figures}}


@pytest.fixture
def results():
    return {
        "name": "small",
        "created": "2026-01-01",
        "status": "complete",
        "objective": {"name": "oracle", "description": "F1", "stamp": "selected on novel gold labels"},
        "search": {"trials": [{}, {}], "searcher": "tpe", "scheduler": {"name": "asha"}},
        "final": [entry_of("trial-4"), entry_of("paper"), entry_of("trial-1")],
        "verdict": {"text": "No significant difference."},
    }


@pytest.fixture
def swept(tmp_path, results):
    """Three configurations were compared; of two of them the model was kept."""
    folder = tmp_path / "sweep"
    for name in ("trial-4", "paper"):
        make_run(folder / "final" / f"{name}-seed1")
    (folder / "final" / "trial-1-seed1").mkdir()
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_export_of_the_best_is_a_run_directory_with_the_newest_checkpoint(swept, tmp_path):
    assert export(swept, tmp_path / "out") == [tmp_path / "out"]
    weights = tmp_path / "out" / "checkpoints" / "epoch-0004" / "model.safetensors"
    assert weights.read_text() == "weights of trial-4-seed1 after 4"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "config.yaml", "run.json", "metrics.json", "checkpoints"}
    assert len(list((tmp_path / "out" / "checkpoints").iterdir())) == 1


def test_export_of_several_gives_each_a_folder_best_first(swept, tmp_path):
    folders = export(swept, tmp_path / "out", 2)
    assert [folder.name for folder in folders] == ["trial-4", "paper"]


def test_export_writes_a_card_with_figures_data_and_provenance(swept, tmp_path):
    export(swept, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for part in (
        "# RoCORE: trial-4",
        "rocore predict FOLDER new.jsonl",
        "| novel_test.b3_f1 | 0.7100 | 0.7000 +- 0.0200 |",
        "Failed seeds: 3.",
        "No significant difference.",
        "selected on novel gold labels",
        "synthetic",
        "known.jsonl, SHA-256 `ab12`",
        "SHA-256 `cd34`",
        "capital, author",
        "Seed 1, 4 epochs (stopped: max_epochs), fp32, attention by tensors",
        "Sweep small, 2026-01-01: 2 trials",
        "torch 2.13",
    ):
        assert part in card


def test_export_of_a_run_needs_no_sweep(tmp_path):
    export(make_run(tmp_path / "run"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| novel_test.b3_f1 | 0.7100 |" in card
    assert "Sweep" not in card


def test_export_of_a_run_that_does_not_say_what_computed_attention_leaves_it_out(tmp_path):
    run = make_run(tmp_path / "run")
    older = {key: value for key, value in RUN.items() if key != "attention"}
    (run / "run.json").write_text(json.dumps(older))
    export(run, tmp_path / "out")
    assert "(stopped: max_epochs), fp32\n" in (tmp_path / "out" / "README.md").read_text()


def test_export_of_a_run_without_gold_says_that_there_are_no_figures(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "metrics.json").write_text(json.dumps({"epochs": 4, "stop_reason": "max_epochs"}))
    export(run, tmp_path / "out")
    assert "no gold relations" in (tmp_path / "out" / "README.md").read_text()


def test_export_of_more_than_were_compared_is_refused(swept, tmp_path):
    with pytest.raises(ConfigError, match="--best must be at most 3"):
        export(swept, tmp_path / "out", 4)


def test_export_of_a_model_that_was_not_kept_names_the_key(swept, tmp_path):
    with pytest.raises(CheckpointError, match=r"the model of trial-1 .* `retention.keep_best` says how many"):
        export(swept, tmp_path / "out", 3)
    assert not (tmp_path / "out").exists()


def test_export_of_a_sweep_that_goes_on_is_refused(swept, results, tmp_path):
    (swept / "results.json").write_text(json.dumps({**results, "status": "searched"}))
    with pytest.raises(CheckpointError, match="a sweep must be complete to be exported"):
        export(swept, tmp_path / "out")


def test_export_into_a_folder_in_use_is_refused(swept, tmp_path):
    with pytest.raises(ConfigError, match="--out must be new or empty"):
        export(swept, swept)


def test_export_of_a_folder_that_is_neither_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        CheckpointError, match="must be a sweep directory, or a run directory with a checkpoint"
    ):
        export(tmp_path / "empty", tmp_path / "out")


def test_export_command_says_where_the_models_are(swept, tmp_path):
    result = CliRunner().invoke(main, ["export", str(swept), "--best", "2", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(tmp_path / "out" / name) for name in ("trial-4", "paper")]
