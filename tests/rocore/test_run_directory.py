"""Files of a run directory: whole or as before, two checkpoints, one owner."""

import json
import logging
import os

import numpy as np
import pytest

from rocore.config import Config, dump_config, make_config, override
from rocore.errors import CheckpointError, ConfigError, UnreadableError
from rocore.evaluation import Prediction
from rocore.run_directory import KEPT_CHECKPOINTS, RunDirectory, write_atomically, write_json
from rocore.training.trainer import EpochReport


class CountingTrainer:
    """Saves and loads nothing but its epoch."""

    def __init__(self, epoch=0):
        self.epoch = epoch

    def save(self, folder):
        folder.mkdir(parents=True)
        (folder / "epoch").write_text(str(self.epoch))

    def load(self, folder):
        try:
            self.epoch = int((folder / "epoch").read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder.name} can't be read") from error


@pytest.fixture
def directory(tmp_path):
    return opened(tmp_path / "run")


def opened(folder, config=None, *, resume=False):
    """Open a run directory and leave it."""
    directory = RunDirectory(folder)
    with directory.opened_for(config or Config(), resume=resume):
        return directory


def begin(directory):
    """Leave what one epoch leaves."""
    directory.append_epoch(report(1), {})
    directory.save_checkpoint(CountingTrainer(1))
    return directory


def report(epoch, phase="joint"):
    return EpochReport(epoch, phase, {"pair": 1.5}, None, 0.25, {"steps": 0.5})


def test_opened_for_writes_the_configuration(directory):
    assert directory.load_config() == Config()
    assert [path.name for path in directory.folder.iterdir()] == ["config.yaml"]


def test_opened_for_makes_parents_and_takes_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/b/c"):
        opened(tmp_path / name, resume=False)
        assert (tmp_path / name / "config.yaml").is_file()


def test_opened_for_of_a_used_folder_is_refused(directory):
    with pytest.raises(
        ConfigError, match=r"must be new, but .* holds a run; add --resume .* or name another with --out"
    ):
        opened(begin(directory).folder)


@pytest.mark.parametrize("resume", [False, True])
def test_opened_for_of_a_folder_with_other_files_is_refused(resume, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"must be new or empty, but .* holds notes.txt; name another with --out"
    ):
        opened(tmp_path, resume=resume)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("resume", [False, True])
def test_opened_for_after_a_kill_in_its_first_write_begins(resume, tmp_path):
    (tmp_path / ".config.yaml.123.tmp").write_text("seed: ")
    opened(tmp_path, resume=resume)
    assert RunDirectory(tmp_path).load_config() == Config()


@pytest.mark.parametrize(
    "overrides",
    [
        {"train.device": "cpu"},
        {"train.num_threads": 3},
        {"cache.root": "elsewhere"},
        {"cache.store": "s3://b/c"},
    ],
    ids=str,
)
def test_opened_for_resumption_elsewhere_is_taken_and_changes_nothing(overrides, directory):
    before = directory.config_file.read_text()
    opened(begin(directory).folder, override(Config(), overrides), resume=True)
    assert directory.config_file.read_text() == before


@pytest.mark.parametrize(
    "overrides",
    [{"seed": 1}, {"train.max_epochs": 31}, {"data.builtin.seed": 1}, {"encoder.name": "other"}],
    ids=str,
)
def test_opened_for_resumption_of_another_run_is_refused(overrides, directory):
    with pytest.raises(
        ConfigError, match=r"differs from the one given; run `rocore train .*config.yaml --out .* --resume`"
    ):
        opened(begin(directory).folder, override(Config(), overrides), resume=True)


def test_load_config_of_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"must hold config\.yaml, but .* doesn't; give the --out of a `rocore train`"
    ):
        RunDirectory(tmp_path).load_config()


@pytest.mark.parametrize("content", [None, "", "{"])
def test_read_run_of_an_absent_or_torn_file_says_so(content, directory):
    if content is not None:
        directory.run_file.write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json must be readable, but "):
        directory.read_run()


def test_dump_config_of_a_full_configuration_is_taken_as_it_is(tmp_path):
    config = make_config(
        {
            "data": {"format": "jsonl", "known": ["a.jsonl", "b é.jsonl"], "novel": "c.jsonl"},
            "train": {"learning_rate": 1e-5, "dropout": None},
        }
    )
    opened(tmp_path / "run", config, resume=False)
    assert RunDirectory(tmp_path / "run").load_config() == config
    assert (tmp_path / "run" / "config.yaml").read_text() == dump_config(config)


def test_save_checkpoint_keeps_the_newest_two(directory):
    for epoch in range(1, 13):
        directory.save_checkpoint(CountingTrainer(epoch))
        assert len(directory.checkpoint_folders()) == min(epoch, KEPT_CHECKPOINTS)
    assert [path.name for path in directory.checkpoint_folders()] == ["epoch-0011", "epoch-0012"]
    assert len(list(directory.checkpoints.iterdir())) == KEPT_CHECKPOINTS


def test_save_checkpoint_over_leftovers_of_a_killed_one_is_whole(directory):
    directory.save_checkpoint(CountingTrainer(1))
    for name in ("epoch-0002", ".epoch-0002.tmp"):
        (directory.checkpoints / name).mkdir()
        (directory.checkpoints / name / "junk").write_text("")
    directory.save_checkpoint(CountingTrainer(2))
    assert [path.name for path in (directory.checkpoints / "epoch-0002").iterdir()] == ["epoch"]
    assert not list(directory.checkpoints.glob(".*"))


def test_load_checkpoint_takes_the_newest(directory):
    for epoch in (1, 2, 3):
        directory.save_checkpoint(CountingTrainer(epoch))
    trainer = CountingTrainer()
    assert directory.load_checkpoint(trainer) is True
    assert trainer.epoch == 3


def test_load_checkpoint_passes_a_broken_one_over_and_says_so(directory, caplog):
    for epoch in (1, 2):
        directory.save_checkpoint(CountingTrainer(epoch))
    (directory.checkpoints / "epoch-0002" / "epoch").unlink()
    trainer = CountingTrainer()
    with caplog.at_level(logging.WARNING):
        assert directory.load_checkpoint(trainer) is True
    assert trainer.epoch == 1
    assert caplog.messages == ["epoch-0002 can't be read; the one before is taken"]


def test_load_checkpoint_without_a_whole_one_loads_none(directory):
    trainer = CountingTrainer()
    assert directory.load_checkpoint(trainer) is False
    directory.save_checkpoint(CountingTrainer(1))
    (directory.checkpoints / "epoch-0001" / "epoch").write_text("")
    assert directory.load_checkpoint(trainer) is False
    assert trainer.epoch == 0


def test_append_epoch_adds_a_line_with_losses_and_metrics(directory):
    directory.append_epoch(report(1, "pretrain"), {})
    directory.append_epoch(report(2), {"novel_test.b3_f1": 0.5})
    rows = [json.loads(line) for line in directory.epochs_file.read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["pretrain", "joint"]
    assert rows[1]["losses"] == {"pair": 1.5}
    assert rows[1]["metrics"] == {"novel_test.b3_f1": 0.5}


@pytest.mark.parametrize(("num_epochs", "tail"), [(2, ""), (3, ""), (3, '{"epoch": 4, "ph'), (0, "")])
def test_keep_epochs_drops_later_lines_and_a_torn_one(num_epochs, tail, directory):
    for epoch in (1, 2, 3):
        directory.append_epoch(report(epoch), {})
    with directory.epochs_file.open("a") as file:
        file.write(tail)
    kept = directory.keep_epochs(num_epochs)
    assert [row["epoch"] for row in kept] == list(range(1, num_epochs + 1))
    directory.append_epoch(report(num_epochs + 1), {})
    lines = directory.epochs_file.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, num_epochs + 2))


def test_keep_epochs_where_there_are_none_keeps_none(directory):
    assert directory.keep_epochs(5) == []
    assert not directory.epochs_file.exists()


def test_write_predictions_gives_a_line_for_each_row_in_order(directory):
    prediction = Prediction(np.array([2, 0]), np.array([0.87654321, 1.0], dtype=np.float32))
    directory.write_predictions(np.array([7, 3]), prediction)
    assert [json.loads(line) for line in directory.predictions_file.read_text().splitlines()] == [
        {"index": 7, "cluster": 2, "probability": 0.876543},
        {"index": 3, "cluster": 0, "probability": 1.0},
    ]


def test_write_predictions_of_another_number_of_rows_is_refused(directory):
    prediction = Prediction(np.array([2, 0]), np.array([0.5, 1.0], dtype=np.float32))
    with pytest.raises(ValueError, match="argument 2 is longer"):
        directory.write_predictions(np.array([7]), prediction)
    assert not directory.predictions_file.exists()


def test_write_atomically_that_fails_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": "é"})

    def fail(_descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, "other")
    assert path.read_text() == '{\n "a": "é"\n}\n'


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "left", ["config.yaml", "run.json", "splits.json", "epochs.jsonl", "checkpoints/.epoch-0001.tmp"]
)
def test_opened_for_where_no_epoch_was_trained_begins_anew_with_another_configuration(
    left, resume, directory
):
    path = directory.folder / left
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.touch()
    other = override(Config(), {"seed": 5})
    assert opened(directory.folder, other, resume=resume).load_config() == other
    assert not directory.run_file.exists()


def test_opened_for_keeps_a_configuration_that_the_user_wrote(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3  # mine\n")
    with pytest.raises(ConfigError, match=r"must be new or empty, but .* holds config\.yaml; name another"):
        opened(tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "seed: 3  # mine\n"


@pytest.mark.parametrize("resume", [False, True])
def test_opened_for_while_another_trains_there_is_refused(resume, directory):
    with (
        directory.opened_for(Config(), resume=False),
        pytest.raises(
            ConfigError, match=rf"one process at a time may train .*, but process {os.getpid()} on "
        ),
    ):
        opened(directory.folder, resume=resume)
    assert [path.name for path in directory.folder.iterdir()] == ["config.yaml"]


def test_load_config_of_data_that_have_moved_takes_their_new_place(directory):
    assert directory.load_config({"data.root": "elsewhere"}).data.root == "elsewhere"
    assert directory.load_config({"encoder.name": "moved"}).encoder.name == "moved"
    with pytest.raises(
        ConfigError, match=r"must stay what it is, but --set seed would change it; set only .*data\.root"
    ):
        directory.load_config({"seed": 3})


@pytest.mark.parametrize("name", ["journal.jsonl", "results.json"])
def test_load_config_of_a_sweep_directory_says_that_it_is_one(name, directory):
    (directory.folder / name).touch()
    with pytest.raises(
        CheckpointError, match=r"must be a run directory, but is a sweep's; `rocore sweep status "
    ):
        directory.load_config()


def test_load_checkpoint_that_this_user_may_not_read_is_not_passed_over(directory):
    class Barred(CountingTrainer):
        def load(self, folder):
            raise UnreadableError(f"{folder.name} must be readable")

    directory.save_checkpoint(CountingTrainer(1))
    with pytest.raises(UnreadableError, match="epoch-0001 must be readable"):
        directory.load_checkpoint(Barred())
