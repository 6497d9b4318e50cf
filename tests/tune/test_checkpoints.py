from contextlib import suppress

import pytest

from rocore import Storage
from tune.checkpoints import (
    CheckpointTimes,
    LocalCheckpoints,
    StoredCheckpoints,
    attempt_name,
    keep_newest,
    newest_first,
)
from tune.records import TrialRecord


@pytest.fixture(params=["local", "file", "s3"])
def folder(request, tmp_path):
    """Checkpoints of a trial, and of one whose name begins alike."""
    names = (
        "0001/checkpoint_000003",
        "0001/checkpoint_000002",
        "0001.2/checkpoint_000000",
        "00011/checkpoint_000009",
    )
    if request.param == "local":
        for name in names:
            (tmp_path / name).mkdir(parents=True)
        return LocalCheckpoints(tmp_path)
    url = f"file://{tmp_path}" if request.param == "file" else request.getfixturevalue("bucket")
    storage = Storage.at(f"{url}/ray/search")
    for name in names:
        storage.write(f"{name}/scores.json", b"[]")
    return StoredCheckpoints(storage)


def record(state="running"):
    return TrialRecord("0001", 1, {}, state=state, num_starts=3)


def names(places):
    return ["/".join(place.split("/")[-2:]) for place in places]


def test_attempts_have_folders_of_their_own():
    assert [attempt_name("0001", attempt) for attempt in range(3)] == ["0001", "0001.1", "0001.2"]


def test_checkpoints_come_newest_first_over_all_attempts(folder):
    assert names(newest_first(folder, record())) == [
        "0001.2/checkpoint_000000",
        "0001/checkpoint_000003",
        "0001/checkpoint_000002",
    ]


def test_checkpoints_of_a_trial_that_never_ran_are_none(folder):
    assert newest_first(folder, TrialRecord("0001", 1, {})) == []


@pytest.mark.parametrize(
    ("state", "number", "left"), [("complete", 1, 1), ("failed", 0, 0), ("running", 0, 3)]
)
def test_keep_newest_touches_only_trials_that_ended(folder, state, number, left):
    keep_newest(folder, [record(state)], number)
    kept = newest_first(folder, record())
    assert len(kept) == left
    assert names(kept)[:1] == ["0001.2/checkpoint_000000"][:left]
    assert names(folder.of_attempt("00011")) == ["00011/checkpoint_000009"]


def due_after(times, pass_time, took, trained):
    with times.writing():
        pass_time(took)
    pass_time(trained)
    return times.due()


@pytest.mark.parametrize(
    ("share", "took", "just_enough"),
    [(0.1, 2.0, 18.0), (0.5, 2.0, 2.0), (1.0, 2.0, 0.0), (0.1, 100.0, 300.0)],
)
def test_checkpoint_is_due_after_its_share_of_training_or_five_minutes(share, took, just_enough, pass_time):
    times = CheckpointTimes(share)
    assert due_after(times, pass_time, took, just_enough + 0.01)
    if just_enough:
        assert not due_after(times, pass_time, took, just_enough - 0.01)


def test_checkpoint_is_due_after_the_first_epoch_however_short(pass_time):
    assert CheckpointTimes(0.1).due()


def test_checkpoint_that_could_not_be_written_is_due_still(pass_time):
    times = CheckpointTimes(0.1)
    with suppress(OSError), times.writing():
        pass_time(50.0)
        raise OSError("full")
    assert times.due()
