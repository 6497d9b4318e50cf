import json

import pytest

from rocore.config import dump_config
from rocore.errors import CheckpointError
from tune.replay import check_record, read_sweep, recorded_curves, replay_sweep
from tune.simulation import Method, simulate

EPOCHS = 4


def curves(params):
    return [(5.0 - params["loss.pair_margin"]) / 5.0 * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)]


def events_of(records):
    """Return the journal of trials that ran one after the other."""
    events = [{"event": "session", "at": 0.0}]
    for record in records:
        asked = {"number": record.number, "role": "search", "seed": record.seed, "params": record.params}
        events.append({"event": "ask", "at": 0.0, "name": record.name, **asked})
        events.append({"event": "start", "at": 0.0, "name": record.name})
        for row in record.curve:
            report = {**row, "joint_epoch": row["epoch"], "metrics": None, "finished": row["epoch"] == EPOCHS}
            events.append({"event": "report", "at": 0.0, "name": record.name, **report})
        events.append({"event": "end", "at": 0.0, "name": record.name, "state": record.state, "error": None})
    return events


@pytest.fixture
def sweep(make_sweep):
    return Method("tpe", "asha").of(make_sweep(), seed=0)


@pytest.fixture
def records(sweep):
    return simulate(sweep, curves, max_trials=14)[0]


def test_record_of_the_same_search_agrees(sweep, records):
    agreement = check_record(sweep, events_of(records))
    num_decisions = sum(
        record.epochs if record.state == "pruned" else record.epochs - 1 for record in records
    )
    assert (agreement.num_proposals, agreement.num_same_proposals) == (14, 14)
    assert (agreement.num_decisions, agreement.num_same_decisions) == (num_decisions, num_decisions)
    assert agreement.first_difference is None
    assert agreement.text.startswith("14 of 14 proposals and")


def test_record_of_another_seed_differs_from_the_first_proposal_after_the_papers(make_sweep, records):
    other = Method("tpe", "asha").of(make_sweep(), seed=1)
    agreement = check_record(other, events_of(records))
    assert agreement.num_same_proposals == 1
    assert agreement.num_same_decisions == agreement.num_decisions
    assert agreement.first_difference.startswith("0001 was proposed as {")


def test_record_of_other_rungs_differs_in_decisions(make_sweep, records):
    other = Method("tpe", "none").of(make_sweep(), seed=0)
    agreement = check_record(other, events_of(records))
    stopped = [record for record in records if record.state == "pruned"]
    assert agreement.num_same_proposals == 14
    assert agreement.num_decisions - agreement.num_same_decisions == len(stopped) > 0
    assert agreement.first_difference.startswith(f"{stopped[0].name} was stopped after epoch")


def test_record_that_was_cut_off_shows_no_decision_about_its_last_epoch(sweep, records):
    events = events_of(records)[:4]
    assert [event["event"] for event in events] == ["session", "ask", "start", "report"]
    assert check_record(sweep, events).num_decisions == 0


def test_recorded_curves_hold_joint_epochs_of_trials_that_did_not_fail():
    rows = [
        {"phase": "pretrain", "objective": 0.0},
        {"phase": "joint", "objective": 0.4},
        {"phase": "joint", "objective": 0.5},
    ]
    trials = [
        {"params": {"a": 1}, "state": "complete", "curve": rows},
        {"params": {"a": 2}, "state": "failed", "curve": rows},
        {"params": {"a": 3}, "state": "pruned", "curve": rows[:1]},
    ]
    (curve,) = recorded_curves(trials, num_epochs=4)
    assert (curve.params, curve.objectives) == ({"a": 1}, (0.4, 0.5))


def test_recorded_curves_of_trials_that_converged_stay_where_they_ended():
    rows = [{"phase": "joint", "objective": 0.4}, {"phase": "joint", "objective": 0.5}]
    trial = {"params": {}, "state": "complete", "stop_reason": "converged", "curve": rows}
    (curve,) = recorded_curves([trial], num_epochs=4)
    assert curve.objectives == (0.4, 0.5, 0.5, 0.5)


@pytest.fixture
def directory(sweep, records, tmp_path, monkeypatch):
    monkeypatch.setattr("tune.simulation.NUM_RANDOM", 20)
    monkeypatch.setattr("tune.surrogate.NUM_TREES", 4)
    root = tmp_path / "sweep"
    root.mkdir()
    (root / "config.yaml").write_text(dump_config(sweep.config))
    results = {"search": {"trials": [record.as_json() for record in records]}}
    (root / "results.json").write_text(json.dumps(results))
    (root / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events_of(records)))
    return root


def test_replay_writes_what_it_found(directory):
    said = []
    lines = replay_sweep(directory, num_seeds=2, echo=said.append)
    assert len(said) == 6
    assert lines[0].startswith("14 of 14 proposals")
    assert any(line.split()[0] == "gp" for line in lines)
    tree = json.loads((directory / "replay.json").read_text())
    assert tree["record"]["num_same_proposals"] == 14
    assert tree["surrogate"]["num_trials"] == 14
    assert [row["method"] for row in tree["methods"]] == [
        "random",
        "random + asha",
        "tpe",
        "tpe + asha",
        "gp",
        "gp + asha",
    ]
    assert all(0 <= row["regret"] <= row["regret_half"] for row in tree["methods"])
    assert (directory / "replay.svg").read_text().startswith("<?xml")


def test_replay_without_a_journal_says_so(directory):
    (directory / "journal.jsonl").unlink()
    lines = replay_sweep(directory, num_seeds=1, echo=lambda _: None)
    assert lines[0].startswith("no journal.jsonl")
    assert json.loads((directory / "replay.json").read_text())["record"] is None


def test_replay_of_no_sweep_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"must be a sweep directory with results\.json"):
        read_sweep(tmp_path)
