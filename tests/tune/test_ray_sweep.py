"""One whole sweep on a Ray of its own, with a small engine: every way in which a trial can end."""

import json
import re
from collections import Counter
from pathlib import Path

import optuna
import pytest
import ray

from tune.journal import read_events
from tune.preparation import Facts
from tune.replay import check_record
from tune.sweep import run_sweep

pytestmark = pytest.mark.ray

GOOD, POOR, LOST, BROKEN, DIVERGED = 1.0, 3.0, 1.5, 3.5, 3.95
"""Margins by what becomes of a trial; the paper's is 2.0."""
NAMES = {
    "loss.pair_margin": {"distribution": "categorical", "choices": [2.0, GOOD, POOR, LOST, BROKEN, DIVERGED]}
}
FACTS = Facts(
    data={"format": "builtin", "num_known_relations": 16, "num_novel_relations": 8, "files": {}},
    encoder={"name": "minilm"},
    environment={"packages": {}},
    synthetic=True,
    warnings=("a note",),
)


@pytest.fixture
def trainable(losing_trainer, make_trainable):
    class Trainer(losing_trainer):
        lost = LOST

        def run_epoch(self):
            if self.config.loss.pair_margin == BROKEN and self.epoch == 1:
                raise RuntimeError("the disk is on fire")
            return super().run_epoch()

        def load(self, folder):
            super().load(folder)
            with (Path(self.config.data.root) / "went-on").open("a") as file:
                file.write(f"{self.config.loss.pair_margin} from {self.epoch}\n")

    return make_trainable(Trainer)


@pytest.fixture
def sweep(make_sweep, tmp_path):
    overrides = {
        "data.root": str(tmp_path),
        "resources.max_concurrent_trials": 1,
        "search.searcher": "random",
        "seed": 2,
        "racing.num_candidates": 4,
        "racing.num_pairs": 3,
        "racing.min_pairs": 2,
    }
    search = {"num_trials": 14, "space": NAMES}
    return make_sweep(overrides, search=search, paper={"loss.pair_margin": 2.0})


def check_trials(trials, by_margin, out):
    """Each number once, the paper first; every way to end is told as it was."""
    # The seed of the random search meets every margin.
    assert set(by_margin) == {2.0, GOOD, POOR, LOST, BROKEN, DIVERGED}
    assert [trial["number"] for trial in trials] == list(range(14))
    assert [trial["is_paper"] for trial in trials] == [True] + [False] * 13
    assert trials[0]["params"] == {"loss.pair_margin": 2.0}

    # A NaN and any other exception fail, with their cause, and aren't tried again.
    assert {trial["state"] for trial in by_margin[DIVERGED] + by_margin[BROKEN]} == {"failed"}
    assert {trial["error"] for trial in by_margin[BROKEN]} == {"the disk is on fire"}
    assert all("must be finite" in trial["error"] for trial in by_margin[DIVERGED])
    assert {trial["objective"] for trial in by_margin[DIVERGED]} == {None}
    assert {trial["epochs"] for trial in by_margin[DIVERGED]} == {1}
    error = out / "trials" / f"{by_margin[BROKEN][0]['number']:04d}" / "error.txt"
    assert "Traceback" in error.read_text()

    # The scheduler stopped some of the poor ones; those weren't counted as complete.
    assert Counter(trial["state"] for trial in by_margin[POOR])["pruned"] > 0
    assert {trial["epochs"] for trial in trials if trial["state"] == "complete"} == {5}
    assert all(trial["epochs"] < 5 for trial in trials if trial["state"] == "pruned")

    # A lost process goes on from its checkpoint: no epoch is missing or twice.
    assert (out.parent / "lost-once").exists()
    assert set((out.parent / "went-on").read_text().splitlines()) == {f"{LOST} from 1"}
    for trial in by_margin[LOST] + by_margin[GOOD]:
        assert [row["epoch"] for row in trial["curve"]] == list(range(1, trial["epochs"] + 1))


def check_study(sweep, trials, out):
    """The study agrees with the directory, and the journal with what searcher and scheduler would do again."""
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'study.db'}")
    names = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    assert {t.number: t.state.name for t in study.trials} == {t["number"]: names[t["state"]] for t in trials}
    assert {t.number: t.value for t in study.trials} == {t["number"]: t["objective"] for t in trials}
    agreement = check_record(sweep, read_events(out / "journal.jsonl"))
    assert agreement.num_same_proposals == agreement.num_proposals == 14
    assert agreement.num_same_decisions == agreement.num_decisions > 14


def check_race(race):
    """It ran the best and the paper's on shared pairs of its own, the worst only as long as it had to."""
    entries = race["configurations"]
    assert [pair["seed"] for pair in race["pairs"]] == [3, 4, 5]
    assert [entry["params"]["loss.pair_margin"] for entry in entries] == [GOOD, LOST, 2.0, POOR]
    assert [len(list(filter(None, entry["values"]))) for entry in entries] == [3, 3, 3, 2]
    assert entries[3]["dropped"]["num_pairs"] == 2


def check_final(results):
    """The best is the best, and it is compared with the paper's over seeds of its own."""
    assert "paper" in [entry["name"] for entry in results["final"]]
    assert {tuple(entry["seeds"]) for entry in results["final"]} == {(6, 7)}
    assert results["verdict"]["difference"] == pytest.approx(0.2)
    assert (results["status"], results["schema"]) == ("complete", 1)


def check_directory(results, out):
    """Reports are there; checkpoints went with their trials, but for one model of each configuration."""
    for name in ("config.yaml", "environment.json", "report.html", "report.md", "results.csv"):
        assert (out / name).stat().st_size > 0
    assert "pair_margin: 1.0" in (out / "best_config.yaml").read_text()
    assert list((out / "ray").glob("*/*/checkpoint_*")) == []
    snapshots = list((out / "ray").glob("*/experiment_state-*.json"))
    assert {path.parent.name: json.loads(path.read_text()) for path in snapshots} == {
        role: {"trial_data": []} for role in ("search", "race", "final")
    }
    kept = {path.parent.name for path in (out / "final").glob("*/checkpoints")}
    assert kept == {f"{entry['name']}-seed{min(entry['seeds'])}" for entry in results["final"]}


def check_terminal(captured):
    """Nothing but our own lines."""
    assert captured.err == ""
    # Ray itself tells of a lost process, where it was imported before us.
    lines = [line for line in captured.out.splitlines() if "(raylet)" not in line]
    assert all(re.match(r"\[\d+/\d+\] |\d{4} lost its process and goes on after", line) for line in lines)


def test_sweep_tells_the_truth_about_every_trial(sweep, trainable, tmp_path, capsys):
    said, out = [], tmp_path / "out"
    result = run_sweep(sweep, out, echo=said.append, trainable=trainable, prepare=lambda _: FACTS)
    check_terminal(capsys.readouterr())
    assert "note: a note" in said
    assert not ray.is_initialized()
    results = json.loads((out / "results.json").read_text())
    trials = results["search"]["trials"]
    by_margin = {}
    for trial in trials:
        by_margin.setdefault(trial["params"]["loss.pair_margin"], []).append(trial)
    check_trials(trials, by_margin, out)
    check_study(sweep, trials, out)
    check_race(results["race"])
    check_final(results)
    check_directory(results, out)
    assert results["search"]["best_trial"] == by_margin[GOOD][0]["number"]
    assert results["final"][0]["name"] == result.best_name
