import pytest

from tune.checkpoints import attempt_name, keep_newest, newest_first
from tune.ledger import TrialRecord


@pytest.fixture
def folder(tmp_path):
    for name in ("0001/checkpoint_000003", "0001/checkpoint_000002", "0001.2/checkpoint_000000"):
        (tmp_path / name).mkdir(parents=True)
    # Those of a trial whose name begins alike.
    (tmp_path / "00011" / "checkpoint_000009").mkdir(parents=True)
    return tmp_path


def record(state="running"):
    return TrialRecord("0001", 1, {}, state=state, num_starts=3)


def names(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_attempts_have_folders_of_their_own():
    assert [attempt_name("0001", attempt) for attempt in range(3)] == ["0001", "0001.1", "0001.2"]


def test_checkpoints_come_newest_first_over_all_attempts(folder):
    assert names(folder, newest_first(folder, record())) == [
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
    assert names(folder, kept)[:1] == ["0001.2/checkpoint_000000"][:left]
    assert (folder / "00011" / "checkpoint_000009").exists()
