import pickle

import pytest
from ray.tune.search import Searcher

from tune.ledger import Ledger
from tune.ray_searcher import LedgerSearcher
from tune.sweep_directory import SweepDirectory

DONE = {"objective": 0.5, "finished": True}


def spec(number):
    return {"name": f"{number:04d}", "role": "search", "number": number, "params": {"a": number}, "seed": 0}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(SweepDirectory(tmp_path / "sweep")) as ledger:
        yield ledger


def make(ledger, waiting=(), new=()):
    proposals = iter([spec(number) for number in new])
    return LedgerSearcher(ledger, "search", [spec(n) for n in waiting], lambda: next(proposals, None))


def test_searcher_continues_what_was_cut_off_before_anything_new(ledger, tmp_path):
    searcher = make(ledger, waiting=(1,), new=(2,))
    assert [searcher.suggest(each)["spec"]["name"] for each in "ab"] == ["0001", "0002"]
    assert list(ledger.records) == ["0001", "0002"]


def test_searcher_proposes_nothing_while_there_is_no_room(ledger, tmp_path):
    searcher = make(ledger, new=(0, 1))
    searcher.room = lambda: 1
    assert searcher.suggest("a") is not None
    assert searcher.suggest("b") is None
    assert list(ledger.records) == ["0000"]
    searcher.room = lambda: 2
    assert searcher.suggest("b")["spec"]["name"] == "0001"


def test_searcher_is_finished_only_when_nothing_runs(ledger, tmp_path):
    searcher = make(ledger, new=(0,))
    searcher.suggest("a")
    # The running trial may lose its process and come again.
    assert searcher.suggest("b") is None
    searcher.on_trial_complete("a", DONE)
    assert searcher.suggest("b") == Searcher.FINISHED
    assert ledger.records["0000"].state == "complete"


def test_searcher_gives_a_lost_trial_again_with_its_checkpoints(ledger, tmp_path):
    searcher = make(ledger, new=(0, 1))
    first = searcher.suggest("a")["spec"]
    trials = ledger.directory.root / "ray" / "search"
    assert (first["attempt"], first["checkpoints"]) == (0, [])
    for index in (0, 1):
        (trials / "0000" / f"checkpoint_00000{index}").mkdir(parents=True)
    searcher.on_trial_complete("a", error=True)
    assert ledger.records["0000"].state == "running"
    searcher.wait(first)
    again = searcher.suggest("b")["spec"]
    assert (again["name"], again["attempt"]) == ("0000", 1)
    assert again["checkpoints"] == [str(trials / "0000" / f"checkpoint_00000{index}") for index in (1, 0)]


def test_searcher_is_stored_by_ray_without_the_ledger(ledger, tmp_path):
    searcher = make(ledger)
    assert vars(pickle.loads(pickle.dumps(searcher))) == {}
    searcher.save_to_dir(str(tmp_path))
    assert list(tmp_path.glob("searcher*")) == []
