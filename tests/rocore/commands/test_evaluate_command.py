"""`rocore evaluate`: the same metrics anew, and clear words about folders that are no run."""

import json
import shutil

import pytest

from rocore.config import BuiltinConfig
from rocore.data.builtin import generate

from .conftest import write_relations


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the standard run, to be damaged."""
    return shutil.copytree(trained["standard"], tmp_path / "copy")


@pytest.mark.parametrize("mode", ["standard", "incremental"])
def test_evaluate_json_repeats_the_metrics_of_the_run(mode, trained, run):
    result = run("evaluate", trained[mode], "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    metrics = json.loads((trained[mode] / "metrics.json").read_text())
    assert found.pop("epoch") == metrics["epochs"] == 3
    groups = {"novel_test", "all_test", "known_accuracy", "novel_accuracy_hungarian"}
    assert found == {name: value for name, value in metrics.items() if name in groups}
    assert set(found) == ({"novel_test"} if mode == "standard" else groups)


def test_evaluate_shows_a_line_for_each_metric(trained, run):
    result = run("evaluate", trained["standard"])
    assert result.exit_code == 0
    metrics = json.loads((trained["standard"] / "metrics.json").read_text())["novel_test"]
    head, *lines = result.stdout.splitlines()
    assert head == f"{trained['standard']}, epoch 3"
    assert dict(line.split() for line in lines) == {
        f"novel_test.{name}": f"{value:.4f}" for name, value in metrics.items()
    }


def test_evaluate_of_an_unfinished_run_takes_the_newest_whole_checkpoint(folder, run):
    (folder / "metrics.json").unlink()
    (folder / "checkpoints" / "epoch-0003" / "state.json").unlink()
    result = run("evaluate", folder, "--json")
    assert result.exit_code == 0
    row = json.loads((folder / "epochs.jsonl").read_text().splitlines()[1])
    found = json.loads(result.stdout)
    assert found["epoch"] == row["epoch"] == 2
    assert {f"novel_test.{name}": value for name, value in found["novel_test"].items()} == row["metrics"]


def test_evaluate_of_a_folder_that_is_no_run_says_so(run, tmp_path):
    result = run("evaluate", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: a run directory must hold config.yaml, but ")
    assert "give the --out of a `rocore train`" in result.stderr


@pytest.mark.parametrize("name", ["run.json", "checkpoints"])
def test_evaluate_of_a_run_without_what_it_needs_says_so(name, folder, run):
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = run("evaluate", folder)
    assert result.exit_code == 2
    expected = {"run.json": "run.json must be readable, but ", "checkpoints": "must hold a whole checkpoint"}
    assert expected[name] in result.stderr


def test_evaluate_with_another_encoder_is_refused(folder, run):
    description = json.loads((folder / "run.json").read_text())
    description["fingerprints"]["encoder"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(description))
    result = run("evaluate", folder)
    assert result.exit_code == 2
    assert "but changed: encoder; restore them, or train in another folder" in result.stderr


def test_evaluate_of_a_run_whose_data_have_moved_takes_their_new_place(run, write_config, tmp_path):
    pools = generate(BuiltinConfig(num_known_relations=4, num_novel_relations=3, instances_per_relation=8))
    (tmp_path / "data").mkdir()
    for name, instances in zip(("known", "novel"), pools, strict=True):
        write_relations(tmp_path / "data" / f"{name}.jsonl", instances)
    data = {"format": "jsonl", "root": str(tmp_path / "data"), "known": "known.jsonl", "novel": "novel.jsonl"}
    config = write_config(tmp_path / "c.yaml", data=data, train={"max_epochs": 1})
    assert run("train", config, "--out", tmp_path / "run").exit_code == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    assert "set it with --set data.root=FOLDER" in run("evaluate", tmp_path / "run").stderr
    moved = run("evaluate", tmp_path / "run", "--json", "--set", f"data.root={tmp_path / 'moved'}")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert json.loads(moved.stdout)["novel_test"] == metrics["novel_test"]
    known = tmp_path / "moved" / "known.jsonl"
    known.write_text("".join(known.read_text().splitlines(keepends=True)[:-1]))
    changed = run("evaluate", tmp_path / "run", "--set", f"data.root={tmp_path / 'moved'}")
    assert "but changed: known" in changed.stderr


@pytest.mark.parametrize("key", ["seed=3", "train.max_epochs=9", "model.hidden_size=64"])
def test_evaluate_with_a_key_that_says_what_was_trained_is_refused(key, trained, run):
    result = run("evaluate", trained["standard"], "--set", key)
    assert result.exit_code == 2
    assert "a trained run must stay what it is, but --set " in result.stderr
