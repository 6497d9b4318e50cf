"""Experiments with the small engine, with Ray taken out."""

import json
from contextlib import contextmanager

import pytest

from tune.experiments.config import load_experiment
from tune.experiments.preparation import Facts
from tune.specification import record_of

FACTS = Facts(
    data=({"format": "builtin", "num_known_relations": 6, "files": {}, "settings": ["paper"]},),
    environment={"packages": {}},
    fingerprints={"encoder of paper": "ff"},
    synthetic=True,
    warnings=("a note",),
)
SETTINGS = {"paper": {}, "wide": {"loss.pair_margin": 3.0}, "deep": {"encoder.output_layer": 5}}
BASE = {"encoder": {"output_layer": 4}, "train": {"pretrain_epochs": 1, "max_epochs": 3}}


@pytest.fixture
def experiment_file(tmp_path):
    """Return a function that writes an experiment's file with changes to its tree and returns its path."""

    def write(**changes):
        tree = {"base": BASE, "seeds": {"number": 3}, "settings": SETTINGS, "reference": "paper"} | changes
        path = tmp_path / "small.yaml"
        path.write_text(json.dumps({key: value for key, value in tree.items() if value is not ...}))
        return path

    return write


@pytest.fixture
def make_experiment(experiment_file):
    """Return a function that makes a checked experiment."""
    return lambda overrides=None, **changes: load_experiment(experiment_file(**changes), overrides or {})


@pytest.fixture
def no_ray(monkeypatch):
    """Return a function that lets runs end at once, as `end` says: a score, a cause of failure, or an exception."""

    @contextmanager
    def no_session(resources, log_folder):
        yield

    def install(end):
        started = []

        def run_all(experiment, specs, ledger, trainable):
            for spec in specs:
                record = ledger.records.get(spec["name"])
                if record is None or record.is_running:
                    started.append(spec)
                    finish(ledger, spec, end(spec))

        monkeypatch.setattr("tune.ray_backend.ray_session", no_session)
        monkeypatch.setattr("tune.ray_backend.run_all", run_all)
        return started

    def finish(ledger, spec, outcome):
        name = ledger.start(record_of(spec)).name
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, str):
            ledger.end(name, "failed", outcome)
            return
        metrics = {"novel_test.b3_f1": outcome, "novel_test.ari": outcome / 2}
        row = {"epoch": 4, "phase": "joint", "objective": 0.0, "seconds": 2.0, "finished": True}
        ledger.report(name, {**row, "stop_reason": "converged", "metrics": metrics})
        ledger.end(name, "complete")

    return install


@pytest.fixture
def facts():
    """What a preparation returned."""
    return FACTS


def score(spec):
    """A figure that the seed moves by much, and the setting by a little more in each."""
    gain = {"paper": 0.0, "wide": 0.2, "deep": 0.001}[spec["name"].partition("-")[0]]
    return 0.5 + 0.03 * spec["seed"] ** 2 + gain + 0.002 * ((spec["seed"] * 7 + len(spec["name"])) % 3)


@pytest.fixture
def score_of():
    """What a run scores."""
    return score
