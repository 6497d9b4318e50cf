"""Checkpoints: whole or refused, and never code."""

import errno
import json

import pytest

from rocore.errors import CheckpointError, UnreadableError
from rocore.training.state import CLUSTERS, MODEL, OPTIMIZER, STATE, load_state

FILES = (MODEL, OPTIMIZER, CLUSTERS, STATE)


@pytest.fixture
def checkpoint(config_of, trainer_of, tmp_path):
    """A checkpoint after the first joint epoch."""
    trainer = trainer_of(config_of())
    trainer.run_epoch()
    trainer.run_epoch()
    trainer.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_checkpoint_holds_safetensors_and_json_alone(checkpoint):
    assert sorted(path.name for path in checkpoint.iterdir()) == sorted(FILES)
    assert json.loads((checkpoint / STATE).read_text())["epoch"] == 2


@pytest.mark.parametrize("name", FILES)
def test_checkpoint_without_one_of_its_files_is_refused(name, checkpoint, config_of, trainer_of):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match="can't be read: FileNotFoundError"):
        trainer_of(config_of()).load(checkpoint)


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["first-byte", "middle", "last-byte"])
@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, CLUSTERS])
def test_checkpoint_with_a_flipped_byte_is_refused(name, where, checkpoint, config_of, trainer_of):
    content = bytearray((checkpoint / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    (checkpoint / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"must be whole, but {name} doesn't have its checksum"):
        trainer_of(config_of()).load(checkpoint)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_checkpoint_with_a_torn_state_is_refused(share, checkpoint, config_of, trainer_of):
    text = (checkpoint / STATE).read_text()
    (checkpoint / STATE).write_text(text[: int(share * len(text))])
    with pytest.raises(CheckpointError, match="can't be read: JSONDecodeError"):
        trainer_of(config_of()).load(checkpoint)


@pytest.mark.parametrize(
    "overrides",
    [{"model.relation_size": 8}, {"data.builtin.num_known_relations": 5}, {"incremental.enabled": True}],
    ids=str,
)
def test_checkpoint_of_another_shape_is_refused(overrides, checkpoint, config_of, trainer_of):
    with pytest.raises(
        CheckpointError, match="must come from this configuration, but its weights don't fit: "
    ):
        trainer_of(config_of(overrides)).load(checkpoint)


def test_checkpoint_that_is_absent_is_refused(config_of, trainer_of, tmp_path):
    with pytest.raises(CheckpointError, match="can't be read"):
        trainer_of(config_of()).load(tmp_path / "nothing")


def test_checkpoint_follows_the_umask(checkpoint):
    plain = checkpoint / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in checkpoint.iterdir()} == {plain.stat().st_mode}


def test_checkpoint_that_this_user_may_not_read_is_called_so(checkpoint, monkeypatch):
    def bar(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("rocore.training.state._digest", bar)
    with pytest.raises(
        UnreadableError, match=rf"must be readable, but .*{MODEL}: Permission denied; have its owner"
    ):
        load_state(checkpoint)
