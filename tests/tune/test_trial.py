"""One trial in this process, without a running Ray."""

import pytest
import ray.tune as ray_tune

from rocore.errors import StorageAwayError
from tune.specification import search_spec
from tune.trial import Trial


@pytest.fixture
def make_trial(make_sweep, engine):
    class FakeTrial(Trial):
        def engine(self):
            return engine

    def make(margin=2.0, **more):
        params = {"loss.pair_margin": margin}
        # Without Ray's own constructor, which looks for a node.
        trial = FakeTrial.__new__(FakeTrial)
        trial.config = {"spec": {**search_spec(make_sweep(), 1, params), **more}}
        trial.setup(trial.config)
        return trial

    return make


@pytest.fixture
def checkpoints(make_trial, tmp_path):
    """Checkpoints of epochs 1 to 3, newest first."""
    trial, folders = make_trial(), []
    for epoch in (1, 2, 3):
        trial.step()
        folders.insert(0, tmp_path / f"checkpoint-{epoch}")
        folders[0].mkdir()
        trial.save_checkpoint(str(folders[0]))
    return folders


def go_on(make_trial, checkpoints):
    return make_trial(checkpoints=[str(path) for path in checkpoints]).step()


def test_trial_goes_on_from_its_newest_checkpoint(make_trial, checkpoints):
    trial = make_trial()
    uninterrupted = [trial.step() for _ in range(4)][-1]
    assert go_on(make_trial, checkpoints) | {"seconds": 0} == uninterrupted | {"seconds": 0}


@pytest.mark.parametrize("name", ["scores.json", "fold-1/fake.json"])
def test_trial_falls_back_to_the_checkpoint_before_a_torn_one(make_trial, checkpoints, name):
    (checkpoints[0] / name).unlink()
    assert go_on(make_trial, checkpoints)["epoch"] == 3


def test_trial_whose_checkpoints_are_all_torn_begins_anew(make_trial, checkpoints):
    for path in checkpoints:
        (path / "scores.json").write_text("[0.1, 0.")
    assert go_on(make_trial, checkpoints)["epoch"] == 1


def test_trial_whose_checkpoint_cannot_be_fetched_does_not_begin_anew(make_trial, checkpoints, monkeypatch):
    def away(*_):
        raise StorageAwayError("the store was asked for 180 s")

    monkeypatch.setattr("rocore.Storage.fetch", away)
    result = go_on(make_trial, [f"file://{path}" for path in checkpoints])
    assert (result["failed"], result["store_away"], result["error"]) == (
        True,
        True,
        "the store was asked for 180 s",
    )


def test_trial_on_a_store_saves_its_checkpoint_as_often_as_it_takes(make_trial, monkeypatch):
    tried = []

    def save(_, folder):
        tried.append(folder)
        if len(tried) < 3:
            raise OSError("AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7")
        return "saved"

    monkeypatch.setattr("ray.tune.Trainable.save", save)
    trial = make_trial()
    trial.config = {"spec": {"folder": "s3://bucket/sweeps/a/final/paper-seed1"}}
    assert trial.save("here") == "saved"
    assert tried == ["here"] * 3
    trial.config = {"spec": {"folder": "/sweeps/a"}}
    tried.clear()
    with pytest.raises(OSError, match="NETWORK"):
        trial.save("here")


@pytest.mark.parametrize("objective", [float("nan"), float("inf")])
def test_trial_with_an_objective_that_is_not_finite_fails(make_trial, engine, monkeypatch, objective):
    monkeypatch.setattr("tune.objective.PseudoNovelRun.score", lambda *_: objective)
    trial = make_trial()
    trial.step()
    result = trial.step()
    assert (result["failed"], result["done"], result["disk_full"]) == (True, True, False)
    assert "the objective must be finite" in result["error"]


def test_trial_out_of_memory_fails_with_its_cause(make_trial, monkeypatch):
    def hungry(*_):
        raise MemoryError("2 GiB asked for")

    monkeypatch.setattr("tune.objective.Run.run_epoch", hungry)
    assert make_trial().step()["error"] == "2 GiB asked for"


def test_trial_says_that_the_disk_is_full(make_trial, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tune.objective.Run.run_epoch", full)
    assert make_trial().step()["disk_full"]


def test_trial_asks_for_a_checkpoint_once_it_has_trained_long_beside_the_last(
    make_trial, pass_time, monkeypatch, tmp_path
):
    monkeypatch.setattr(ray_tune.Trainable, "save", lambda self, folder: pass_time(2.0))
    trial = make_trial(checkpoint_share=0.1, folder=str(tmp_path))
    asked = [trial.step()["should_checkpoint"]]
    trial.save()
    for _ in range(3):
        pass_time(6.5)
        asked.append(trial.step()["should_checkpoint"])
    assert asked == [True, False, False, True]
