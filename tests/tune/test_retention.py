"""Which models stay while a sweep goes on."""

import pytest

from tune.checkpoints import newest_first
from tune.ledger import Ledger
from tune.records import TrialRecord
from tune.retention import Retention
from tune.sweep_directory import SweepDirectory

REPORT = {"epoch": 1, "phase": "joint", "objective": 0.5, "seconds": 1.0, "finished": True, "metrics": {}}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(SweepDirectory(tmp_path)) as made:
        yield made


def start(ledger, name, role, seed=0, number=0):
    """Start a trial that leaves a checkpoint with Tune and, in the final comparison, a model."""
    record = TrialRecord(name, number, {}, role=role, seed=seed)
    ledger.start(record)
    root = ledger.directory.root
    (root / "ray" / role / name / "checkpoint_000001").mkdir(parents=True)
    if role == "final":
        (ledger.directory.folder(record) / "checkpoints" / "epoch-0001").mkdir(parents=True)


def end(ledger, name, state="complete"):
    if state != "failed":
        ledger.report(name, REPORT)
    ledger.end(name, state, "broken")


def models(ledger):
    return sorted(path.parent.name for path in ledger.directory.root.glob("final/*/checkpoints"))


def test_retention_removes_a_search_trials_checkpoints_as_it_ends(ledger):
    ledger.listeners = (Retention(ledger, []),)
    for number in range(2):
        start(ledger, f"{number:04d}", "search", number=number)
    end(ledger, "0000")
    folder = ledger.directory.checkpoints("search")
    assert newest_first(folder, ledger.records["0000"]) == []
    assert len(newest_first(folder, ledger.records["0001"])) == 1


def test_retention_keeps_the_first_seed_of_kept_configurations_alone(ledger):
    ledger.listeners = (Retention(ledger, ["trial-4", "paper"]),)
    for seed in (1, 2):
        for name in ("trial-4", "paper", "trial-7"):
            start(ledger, f"{name}-seed{seed}", "final", seed=seed)
    for name in ("trial-4", "paper", "trial-7"):
        end(ledger, f"{name}-seed1")
    # What still runs is left alone.
    assert models(ledger) == ["paper-seed1", "paper-seed2", "trial-4-seed1", "trial-4-seed2", "trial-7-seed2"]
    for name in ("trial-4", "paper", "trial-7"):
        end(ledger, f"{name}-seed2")
    assert models(ledger) == ["paper-seed1", "trial-4-seed1"]
    assert list(ledger.directory.root.glob("ray/final/*/checkpoint_*")) == []


def test_retention_where_seeds_end_out_of_order_keeps_the_lowest(ledger):
    ledger.listeners = (Retention(ledger, ["paper"]),)
    for seed in (1, 2):
        start(ledger, f"paper-seed{seed}", "final", seed=seed)
    end(ledger, "paper-seed2")
    assert models(ledger) == ["paper-seed1", "paper-seed2"]
    end(ledger, "paper-seed1")
    assert models(ledger) == ["paper-seed1"]


def test_retention_where_the_first_seed_fails_keeps_the_next(ledger):
    ledger.listeners = (Retention(ledger, ["paper"]),)
    for seed in (1, 2):
        start(ledger, f"paper-seed{seed}", "final", seed=seed)
    end(ledger, "paper-seed1", "failed")
    end(ledger, "paper-seed2")
    assert models(ledger) == ["paper-seed2"]


def test_retention_that_keeps_none_leaves_none(ledger):
    ledger.listeners = (Retention(ledger, []),)
    start(ledger, "paper-seed1", "final", seed=1)
    end(ledger, "paper-seed1")
    assert models(ledger) == []
