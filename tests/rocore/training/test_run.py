"""A whole run in its directory: what it writes, what it refuses, and how it goes on after a crash anywhere."""

import json
import random
from importlib import import_module
from pathlib import Path

import pytest

from rocore.config import load_config, override, with_absolute_paths
from rocore.data import load_data, load_splits
from rocore.encoder import native
from rocore.encoder.tokens import TokenBank
from rocore.errors import CheckpointError, ConfigError, DivergedError
from rocore.run_directory import RunDirectory
from rocore.training import run as run_module
from rocore.training.run import evaluate_run, save_run, train_run
from rocore.training.trainer import Trainer

SEVEN = {"b3_precision", "b3_recall", "b3_f1", "homogeneity", "completeness", "v_measure", "ari"}
MODES = pytest.mark.parametrize("incremental", [False, True], ids=["standard", "incremental"])


@pytest.fixture(scope="module")
def runs(config_of, tmp_path_factory):
    """Finished run directories by mode."""
    folders = {}
    for incremental in (False, True):
        folders[incremental] = tmp_path_factory.mktemp("runs") / "run"
        train_run(config_of({"incremental.enabled": incremental}), folders[incremental])
    return folders


def metrics_of(folder):
    """metrics.json without timing."""
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics.pop("timing")
    return metrics


def predictions_of(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def epochs_of(folder):
    """epochs.jsonl without seconds."""
    rows = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    return [{**row, "seconds": None} for row in rows]


def found_by(folder):
    """Everything that a resumed run must share with an uninterrupted one."""
    return metrics_of(folder), predictions_of(folder), epochs_of(folder)


def test_run_directory_holds_the_configuration_as_it_was(runs, config_of):
    written = load_config(runs[True] / "config.yaml")
    assert written == with_absolute_paths(config_of({"incremental.enabled": True}))
    assert Path(written.data.root).is_absolute()


@MODES
def test_run_directory_holds_metrics_by_group_and_timing(incremental, runs):
    metrics = json.loads((runs[incremental] / "metrics.json").read_text())
    groups = ("novel_test", "all_test") if incremental else ("novel_test",)
    assert all(set(metrics[group]) == SEVEN for group in groups)
    accuracies = {"known_accuracy", "novel_accuracy_hungarian"}
    assert accuracies & set(metrics) == (accuracies if incremental else set())
    assert ("all_test" in metrics) is incremental
    assert (metrics["gold"], metrics["synthetic"]) == (True, True)
    assert (metrics["epochs"], metrics["stop_reason"]) == (3, "max_epochs")
    timing = metrics["timing"]
    assert set(timing) == {
        *("prepare", "pretrain_epochs", "pretrain_epoch_mean", "joint_epochs", "joint_epoch_mean")
    }
    assert all(seconds > 0 for seconds in timing.values())
    assert timing["joint_epochs"] == pytest.approx(2 * timing["joint_epoch_mean"])


@MODES
def test_run_directory_holds_a_prediction_for_each_novel_test_instance_in_split_order(incremental, runs):
    splits = load_splits(runs[incremental] / "splits.json")
    predictions = predictions_of(runs[incremental])
    assert [row["index"] for row in predictions] == splits.novel_test.tolist()
    assert all(set(row) == {"index", "cluster", "probability"} for row in predictions)
    assert {row["cluster"] for row in predictions} <= {0, 1, 2}
    assert all(1 / 3 <= row["probability"] <= 1 for row in predictions)


def test_run_directory_holds_what_a_reader_needs_and_nothing_that_runs(runs):
    run = json.loads((runs[False] / "run.json").read_text())
    assert (len(run["known_relations"]), run["num_novel_relations"], run["synthetic"]) == (4, 3, True)
    assert set(run["fingerprints"]) == {"encoder", "known", "novel"}
    assert run["attention"] == ("tensors" if native.library() is None else "C")
    files = [path for path in runs[False].rglob("*") if path.is_file()]
    suffixes = {path.suffix for path in files if path.parent.name != "tensorboard"}
    assert suffixes == {".yaml", ".json", ".jsonl", ".safetensors"}
    assert [path.name for path in RunDirectory(runs[False]).checkpoint_folders()] == [
        "epoch-0002",
        "epoch-0003",
    ]


def test_run_directory_holds_tensorboard_scalars_of_every_epoch(runs):
    read = scalars_of(runs[False])
    epochs = epochs_of(runs[False])
    assert {"loss/pair", "loss/center", "pseudo_label_change", "silhouette", "novel_test.b3_f1"} <= set(read)
    assert read["loss/center"] == {
        row["epoch"]: pytest.approx(row["losses"]["center"], rel=1e-6) for row in epochs
    }
    assert read["novel_test.b3_f1"] == {
        row["epoch"]: pytest.approx(row["metrics"]["novel_test.b3_f1"], rel=1e-6) for row in epochs[1:]
    }


def scalars_of(folder):
    """Values by step, by tag; a step that was logged twice fails."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    read = {}
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps))
        read[tag] = {event.step: event.value for event in events.Scalars(tag)}
    return read


@MODES
def test_evaluate_run_recomputes_the_metrics_and_writes_nothing(incremental, runs):
    before = {path: path.stat().st_mtime_ns for path in runs[incremental].rglob("*")}
    epoch, metrics = evaluate_run(runs[incremental])
    expected = metrics_of(runs[incremental])
    assert epoch == 3
    assert {**expected, **run_module.nested(metrics)} == expected
    assert set(metrics) >= {f"novel_test.{name}" for name in SEVEN}
    assert {path: path.stat().st_mtime_ns for path in runs[incremental].rglob("*")} == before


def test_train_run_repeats_itself(runs, config_of, tmp_path):
    train_run(config_of(), tmp_path / "again")
    assert found_by(tmp_path / "again") == found_by(runs[False])


def test_train_run_in_a_used_directory_is_refused_and_changes_nothing(runs, config_of):
    before = {path: path.stat().st_mtime_ns for path in runs[False].rglob("*")}
    with pytest.raises(
        ConfigError, match=r"holds a run; add --resume to go on with it, or name another with --out"
    ):
        train_run(config_of(), runs[False])
    assert {path: path.stat().st_mtime_ns for path in runs[False].rglob("*")} == before


def test_train_run_resumed_with_another_configuration_is_refused(runs, config_of):
    with pytest.raises(ConfigError, match=r"must be resumed with its own configuration.* --resume`"):
        train_run(config_of({"train.learning_rate": 0.5}), runs[False], resume=True)


def test_train_run_resumed_at_its_end_finds_the_same(runs, config_of, tmp_path):
    folder = tmp_path / "run"
    train_run(config_of(), folder)
    seen = []
    result = train_run(
        config_of(), folder, resume=True, on_start=lambda _prepared, epochs: seen.append(epochs),
        on_epoch=lambda *_report: seen.append("epoch"),
    )  # fmt: skip
    assert seen == [3]
    assert result.stop_reason == "max_epochs"
    assert found_by(folder) == found_by(runs[False])


def test_train_run_resumed_where_nothing_was_begun_starts(runs, config_of, tmp_path):
    train_run(config_of(), tmp_path / "new", resume=True)
    assert found_by(tmp_path / "new") == found_by(runs[False])


def age_events(folder):
    """Name event files as those of an earlier second: within one second their order is that of process ids."""
    for path in folder.glob("tensorboard/*"):
        path.rename(path.with_name(path.name.replace("tfevents.", "tfevents.0", 1)))


class Crash(BaseException):
    """Stands for a kill: nothing catches it."""


def crash_in(monkeypatch, owner, name, *, call, before):
    """Make the nth call of a function the last thing that happens, or (`before`) never happen."""
    real, calls = getattr(owner, name), []

    def wrapper(*args, **options):
        calls.append(name)
        if len(calls) == call and before:
            raise Crash
        result = real(*args, **options)
        if len(calls) == call:
            raise Crash
        return result

    monkeypatch.setattr(owner, name, wrapper)


CRASHES = {
    "before-describe": (RunDirectory, "describe", 1, True),
    "in-pretraining": (Trainer, "run_epoch", 1, True),
    "after-epochs-line-1": (RunDirectory, "append_epoch", 1, False),
    "in-first-checkpoint": ("rocore.training.state", "_digest", 2, True),
    "before-checkpoint-2": (Trainer, "save", 2, True),
    "checkpoint-2-not-renamed": (Trainer, "save", 2, False),
    "in-checkpoint-3": ("rocore.training.state", "_digest", 8, True),
    "after-checkpoint-2": (RunDirectory, "save_checkpoint", 2, False),
    "before-predictions": (RunDirectory, "write_predictions", 1, True),
    "before-metrics": (RunDirectory, "write_predictions", 1, False),
}


@pytest.mark.parametrize("place", CRASHES)
def test_train_run_killed_anywhere_goes_on_to_the_same_numbers(place, runs, config_of, tmp_path, monkeypatch):
    owner, name, call, before = CRASHES[place]
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        if isinstance(owner, str):
            owner = import_module(owner)
        crash_in(patch, owner, name, call=call, before=before)
        with pytest.raises(Crash):
            train_run(config_of(), folder)
    assert not (folder / "metrics.json").exists()
    age_events(folder)
    train_run(config_of(), folder, resume=True)
    assert found_by(folder) == found_by(runs[False])
    assert scalars_of(folder)["loss/center"].keys() == {1, 2, 3}
    assert not list((folder / "checkpoints").glob(".*"))


def test_train_run_with_a_torn_last_line_and_a_broken_newest_checkpoint_goes_on(
    runs, config_of, tmp_path, caplog
):
    folder = tmp_path / "run"
    train_run(config_of(), folder)
    with (folder / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 4, "pha')
    (folder / "checkpoints" / "epoch-0003" / "model.safetensors").write_bytes(b"torn")
    train_run(config_of(), folder, resume=True)
    assert "doesn't have its checksum; the one before is taken" in caplog.text
    assert found_by(folder) == found_by(runs[False])


def test_train_run_that_diverges_keeps_a_checkpoint_to_go_on_from(config_of, tmp_path, monkeypatch):
    config = config_of()
    real = TokenBank.batch
    with monkeypatch.context() as patch:
        crash_in(patch, Trainer, "run_epoch", call=2, before=False)
        with pytest.raises(Crash):
            train_run(config, tmp_path / "run")
    wild = override(config, {"train.learning_rate": 1e30, "train.pretrain_epochs": 2})
    with pytest.raises(DivergedError, match=r"every loss must be finite.* lower `train.learning_rate`"):
        train_run(wild, tmp_path / "wild")
    assert TokenBank.batch is real
    assert not (tmp_path / "wild" / "metrics.json").exists()
    assert train_run(config, tmp_path / "run", resume=True).stop_reason == "max_epochs"


@pytest.fixture
def write_pools(config_of, tmp_path):
    """Write the built-in corpus as JSONL, novel relations through a function, and return the configuration."""

    def write(relation=lambda name: name, name="pools"):
        from rocore.data.builtin import generate

        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for role, instances in zip(("known", "novel"), generate(config_of().data.builtin), strict=True):
            rows = [
                {
                    "text": instance.sentence.text,
                    "head": instance.sentence.head,
                    "tail": instance.sentence.tail,
                    "relation": instance.relation if role == "known" else relation(instance.relation),
                }
                for instance in instances
            ]
            (folder / f"{role}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files = {"format": "jsonl", "root": str(folder), "known": "known.jsonl", "novel": "novel.jsonl"}
        return config_of({"data": {**files, "num_novel_relations": 3, "novel_test_size": 0.3}})

    return write


def test_train_run_without_gold_says_so_and_predicts(write_pools, tmp_path):
    folder = tmp_path / "run"
    result = train_run(write_pools(lambda _name: None), folder)
    assert result.metrics["gold"] is False
    assert "novel_test" not in metrics_of(folder)
    assert len(predictions_of(folder)) == 9
    assert all(row["metrics"] == {} for row in epochs_of(folder))
    assert evaluate_run(folder) == (3, {})


def test_train_run_with_absent_or_shuffled_gold_predicts_the_same(write_pools, tmp_path):
    rng = random.Random(0)
    labels = {
        "gold": lambda name: name,
        "none": lambda _name: None,
        "shuffled": lambda _name: f"novel {rng.randrange(3)}",
    }
    found = {}
    for name, relation in labels.items():
        train_run(write_pools(relation, name), tmp_path / f"run-{name}")
        weights = (tmp_path / f"run-{name}" / "checkpoints" / "epoch-0003" / "model.safetensors").read_bytes()
        found[name] = predictions_of(tmp_path / f"run-{name}"), weights
    assert found["gold"] == found["none"] == found["shuffled"]


def test_run_directory_of_cut_data_says_what_they_were_cut_to(write_pools, tmp_path):
    cuts = {"data.subset": {"num_known_relations": 3, "num_labeled": 20}, "data.num_novel_relations": 3}
    train_run(override(write_pools(), cuts), tmp_path / "run")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    counts = {"num_known_relations": 3, "num_unlabeled": 30}
    assert run["cuts"] == [
        {"key": "files", **counts, "num_known_relations": 4, "num_labeled": 40},
        {"key": "data.subset.num_known_relations", **counts, "num_labeled": 30},
        {"key": "data.subset.num_labeled", **counts, "num_labeled": 20},
    ]
    assert set(run["fingerprints"]) == {"encoder", "known", "novel", "cut"}
    assert len(run["known_relations"]) == 3


def test_train_run_resumed_with_another_cut_is_refused(write_pools, tmp_path):
    config = override(write_pools(), {"data.subset.num_labeled": 20})
    train_run(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="a run must be resumed with its own configuration"):
        train_run(override(config, {"data.subset.num_labeled": 21}), tmp_path / "run", resume=True)


@pytest.mark.parametrize("incremental", [False, True])
def test_run_of_a_cut_that_drew_its_known_test_otherwise_is_refused(incremental, config_of, tmp_path):
    """Older versions drew known test instances from the cut: going on would mix splits. Others are none the worse."""
    keys = {"data.subset.num_labeled": 20, "incremental.enabled": incremental}
    folder = tmp_path / "run"
    train_run(config_of(keys), folder)
    run = json.loads((folder / "run.json").read_text())
    run["fingerprints"]["cut"] = load_data(config_of(keys).data).corpus.cut_fingerprint
    (folder / "run.json").write_text(json.dumps(run))
    if not incremental:
        assert evaluate_run(folder)[0]
        return
    for use in (evaluate_run, lambda folder: train_run(config_of(keys), folder, resume=True)):
        with pytest.raises(CheckpointError, match=r"data and encoder must be those .* but changed: cut"):
            use(folder)


def test_train_run_resumed_on_changed_data_is_refused(write_pools, tmp_path, monkeypatch):
    config = write_pools()
    with monkeypatch.context() as patch:
        crash_in(patch, RunDirectory, "save_checkpoint", call=2, before=False)
        with pytest.raises(Crash):
            train_run(config, tmp_path / "run")
    path = tmp_path / "pools" / "known.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(
        CheckpointError, match=r"must be those that .* but changed: known, known.jsonl; restore them"
    ):
        train_run(config, tmp_path / "run", resume=True)
    path.write_text("\n".join(lines) + "\n")
    assert train_run(config, tmp_path / "run", resume=True).metrics["epochs"] == 3


def test_evaluate_run_on_changed_sentences_is_refused(write_pools, tmp_path):
    train_run(write_pools(), tmp_path / "run")
    path = tmp_path / "pools" / "novel.jsonl"
    path.write_text(path.read_text().replace(".", "!", 1))
    with pytest.raises(CheckpointError, match="but changed: novel; restore them"):
        evaluate_run(tmp_path / "run")


def test_evaluate_run_with_gold_that_came_later_scores(write_pools, tmp_path):
    train_run(write_pools(lambda _name: None), tmp_path / "run")
    write_pools()
    _, metrics = evaluate_run(tmp_path / "run")
    assert {name.removeprefix("novel_test.") for name in metrics} == SEVEN


def test_save_run_of_a_training_elsewhere_leaves_a_run_directory_that_evaluates(
    config_of, prepared_of, tmp_path
):
    config = config_of()
    prepared = prepared_of(config)
    trainer = Trainer(config, prepared.task)
    while not trainer.finished:
        trainer.run_epoch()
    save_run(tmp_path / "kept", trainer, prepared)
    written = json.loads((tmp_path / "kept" / "metrics.json").read_text())
    assert (written["epochs"], written["stop_reason"]) == (3, "max_epochs")
    epoch, metrics = evaluate_run(tmp_path / "kept")
    assert epoch == 3
    assert metrics["novel_test.b3_f1"] == written["novel_test"]["b3_f1"]
    assert (tmp_path / "kept" / "predictions.jsonl").is_file()
