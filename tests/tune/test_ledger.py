import json

import pytest

from rocore.errors import ConfigError
from tune.ledger import Ledger, SweepDirectory, TrialRecord, outcome

GOOD = {"objective": 0.5, "finished": True}


@pytest.mark.parametrize(
    ("result", "error", "state"),
    [
        (GOOD, False, "complete"),
        (GOOD | {"finished": False}, False, "pruned"),
        (GOOD | {"finished": False, "done": True}, False, "pruned"),
        (GOOD | {"failed": True}, False, "failed"),
        (GOOD | {"objective": float("nan")}, False, "failed"),
        ({"finished": True}, False, "failed"),
        (GOOD, True, "failed"),
        (None, False, "failed"),
        ({}, True, "failed"),
    ],
)
def test_outcome_is_complete_only_at_the_own_end(result, error, state):
    assert outcome(result, error) == state


def row(epoch, objective=0.1, **more):
    return {"epoch": epoch, "phase": "joint", "objective": objective, "seconds": 2.0} | more


class Recorder:
    def __init__(self):
        self.heard = []

    def started(self, record):
        self.heard.append(("started", record.name))

    def advanced(self, record, scalars):
        self.heard.append(("advanced", record.epochs, scalars))

    def ended(self, record):
        self.heard.append(("ended", record.state))


@pytest.fixture
def ledger(tmp_path):
    directory = SweepDirectory(tmp_path / "sweep")
    directory.create()
    return Ledger(directory, (Recorder(),))


def curve(ledger, name):
    text = (ledger.directory.root / "trials" / name / "curve.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_ledger_writes_the_curve_as_it_grows(ledger):
    ledger.start(TrialRecord("0003", 3, {"a": 1}))
    ledger.report("0003", row(1))
    ledger.report("0003", row(2, 0.4, scalars={"loss/pair": 1.0}))
    ledger.end("0003", "pruned")
    record = ledger.records["0003"]
    assert curve(ledger, "0003") == record.curve == [row(1), row(2, 0.4)]
    assert (record.objective, record.epochs, record.seconds, record.state) == (0.4, 2, 4.0, "pruned")
    assert ledger.listeners[0].heard == [
        ("started", "0003"),
        ("advanced", 1, {}),
        ("advanced", 2, {"loss/pair": 1.0}),
        ("ended", "pruned"),
    ]


def test_ledger_replaces_epochs_that_are_trained_again(ledger):
    ledger.start(TrialRecord("0000", 0, {}))
    for epoch in (1, 2, 3):
        ledger.report("0000", row(epoch, 0.1))
    ledger.start(TrialRecord("0000", 0, {}))
    for epoch in (2, 3):
        ledger.report("0000", row(epoch, 0.9))
    assert [r["objective"] for r in curve(ledger, "0000")] == [0.1, 0.9, 0.9]
    assert ledger.records["0000"].epochs == 3


def test_ledger_keeps_the_cause_of_a_failure(ledger):
    ledger.start(TrialRecord("0001", 1, {}))
    ledger.report("0001", row(1))
    ledger.report("0001", {"failed": True, "error": "loss is nan", "traceback": "in line 3"})
    ledger.end("0001", "failed")
    entry = ledger.records["0001"].as_json()
    assert (entry["state"], entry["error"], entry["objective"], entry["epochs"]) == (
        "failed",
        "loss is nan",
        None,
        1,
    )
    text = (ledger.directory.root / "trials" / "0001" / "error.txt").read_text()
    assert text == "loss is nan\n\nin line 3\n"


def test_ledger_sorts_by_number_and_keeps_roles_apart(ledger):
    for name, number, role in (("0002", 2, "search"), ("paper-seed1", 1, "final"), ("0000", 0, "search")):
        ledger.start(TrialRecord(name, number, {}, role=role))
    assert [record.name for record in ledger.of("search")] == ["0000", "0002"]
    assert [record.is_paper for record in ledger.of("search")] == [True, False]
    assert [record.is_paper for record in ledger.of("final")] == [False]


@pytest.mark.parametrize("content", ["file", "folder"])
def test_directory_in_use_is_refused(tmp_path, content):
    target = tmp_path / "sweep"
    if content == "file":
        target.write_text("x")
    else:
        (target / "trials").mkdir(parents=True)
    with pytest.raises(
        ConfigError, match=r"must be new or empty, but .*sweep isn't; choose another with --out"
    ):
        SweepDirectory(target).check_free()


def test_directory_that_is_empty_is_free(tmp_path):
    SweepDirectory(tmp_path).check_free()
    SweepDirectory(tmp_path / "new").check_free()


def test_write_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        SweepDirectory(tmp_path).write_json("results.json", {"a": float("nan")})
