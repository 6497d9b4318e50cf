import json

import pytest

from rocore.errors import CheckpointError, ConfigError
from tune.ledger import MAX_LOST_PROCESSES, Ledger
from tune.records import TrialRecord, outcome, read_records
from tune.remote.copy import has_tried
from tune.sweep_directory import SweepDirectory

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
    return {
        "epoch": epoch,
        "phase": "joint",
        "objective": objective,
        "seconds": 2.0,
        "finished": False,
    } | more


class Recorder:
    def __init__(self):
        self.heard = []

    def started(self, record):
        self.heard.append(("started", record.name))

    def advanced(self, record, scalars):
        self.heard.append(("advanced", record.epochs, scalars))

    def ended(self, record):
        self.heard.append(("ended", record.state))


def open_ledger(tmp_path):
    return Ledger(SweepDirectory(tmp_path / "sweep"), (Recorder(),))


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path) as ledger:
        yield ledger


def run(ledger, name="0003", number=3, epochs=2, state="complete"):
    ledger.start(TrialRecord(name, number, {"a": number}))
    for epoch in range(1, epochs + 1):
        ledger.report(name, row(epoch, epoch / 10, finished=epoch == epochs and state == "complete"))
    if state != "running":
        ledger.end(name, state)


def events(ledger):
    return [json.loads(line) for line in ledger.journal.path.read_text().splitlines()]


def test_ledger_keeps_the_curve_as_it_grows_and_tells_listeners(ledger):
    ledger.start(TrialRecord("0003", 3, {"a": 1}))
    ledger.report("0003", row(1))
    ledger.report("0003", row(2, 0.4, scalars={"loss/pair": 1.0}))
    ledger.end("0003", "pruned")
    record = ledger.records["0003"]
    assert [(point["epoch"], point["objective"]) for point in record.curve] == [(1, 0.1), (2, 0.4)]
    assert (record.objective, record.epochs, record.seconds, record.state) == (0.4, 2, 4.0, "pruned")
    assert ledger.listeners[0].heard == [
        ("started", "0003"),
        ("advanced", 1, {}),
        ("advanced", 2, {"loss/pair": 1.0}),
        ("ended", "pruned"),
    ]
    assert [event["event"] for event in events(ledger)] == ["ask", "start", "report", "report", "end"]


def test_ledger_opened_again_is_the_same(tmp_path):
    with open_ledger(tmp_path) as before:
        before.begin({"study": "s-1"})
        run(before, "0000", 0)
        run(before, "0001", 1, state="pruned")
        run(before, "0002", 2, epochs=0, state="failed")
        run(before, "0003", 3, state="running")
        before.lose("0003", "gone", again=True)
    with open_ledger(tmp_path) as after:
        assert after.records == before.records
        assert after.state.begin == before.state.begin
        assert after.state.seconds == before.state.seconds
        assert after.state.history == before.state.history
        assert after.listeners[0].heard == []
    assert read_records(tmp_path / "sweep").by_name == before.records


def test_ledger_counts_an_epoch_once_as_it_was_first_told(ledger):
    run(ledger, epochs=3, state="running")
    ledger.start(ledger.records["0003"])
    for epoch in (2, 3, 4):
        ledger.report("0003", row(epoch, 0.9))
    record = ledger.records["0003"]
    assert [point["objective"] for point in record.curve] == [0.1, 0.2, 0.3, 0.9]
    assert record.num_starts == 2


def test_ledger_counts_an_end_once(ledger):
    run(ledger)
    ledger.end("0003", "failed", "too late")
    ledger.report("0003", row(9))
    assert not ledger.lose("0003", "gone", again=True)
    record = ledger.records["0003"]
    assert (record.state, record.error, record.epochs) == ("complete", None, 2)
    assert [event["event"] for event in events(ledger)].count("end") == 1


def test_ledger_asks_once(ledger):
    for _ in range(2):
        ledger.ask(TrialRecord("0003", 3, {}))
    assert [event["event"] for event in events(ledger)] == ["ask"]


def test_ledger_lets_a_lost_trial_go_on_as_long_as_it_gets_anywhere(ledger):
    run(ledger, epochs=1, state="running")
    for epoch in range(2, 2 + 2 * MAX_LOST_PROCESSES):
        assert ledger.lose("0003", "killed", again=True)
        ledger.report("0003", row(epoch))
    assert ledger.records["0003"].state == "running"
    assert all(ledger.lose("0003", "killed", again=True) for _ in range(MAX_LOST_PROCESSES))
    assert not ledger.lose("0003", "killed", again=True)
    assert (ledger.records["0003"].state, ledger.records["0003"].error) == ("failed", "killed")


def test_ledger_holds_the_loss_of_nodes_against_no_trial(ledger):
    run(ledger, epochs=1, state="running")
    assert all(
        ledger.lose("0003", "node gone", again=True, with_node=True) for _ in range(MAX_LOST_PROCESSES + 3)
    )
    assert ledger.lose("0003", "killed", again=True)
    assert ledger.records["0003"].state == "running"


def test_ledger_counts_sessions_and_lost_processes(tmp_path):
    for _ in range(3):
        with open_ledger(tmp_path) as ledger:
            ledger.begin({"study": "s-1"})
            run(ledger, epochs=1, state="running")
    with open_ledger(tmp_path) as ledger:
        ledger.lose("0003", "killed", again=True)
        ledger.lose("0003", "node gone", again=True, with_node=True)
        assert ledger.state.history == {
            "sessions": 3,
            "lost_processes": 2,
            "lost_with_node": 1,
            "learned": 0,
        }


def test_ledger_lets_a_trial_without_memory_fail_at_once(ledger):
    run(ledger, state="running")
    assert not ledger.lose("0003", "out of memory", again=False)
    assert ledger.records["0003"].state == "failed"


def test_ledger_forgets_a_loss_when_the_trial_ends_well(ledger):
    run(ledger, state="running")
    ledger.lose("0003", "killed", again=True)
    ledger.end("0003", "complete")
    assert ledger.records["0003"].error is None


def test_ledger_keeps_the_cause_of_a_failure(ledger):
    ledger.start(TrialRecord("0001", 1, {}))
    ledger.report("0001", row(1))
    ledger.end("0001", "failed", "loss is nan", "in line 3")
    entry = ledger.records["0001"].as_json()
    assert (entry["state"], entry["error"], entry["objective"], entry["epochs"]) == (
        "failed",
        "loss is nan",
        None,
        1,
    )
    text = (ledger.directory.root / "trials" / "0001" / "error.txt").read_text()
    assert text == "loss is nan\n\nin line 3\n"


def test_ledger_leaves_pauses_between_sessions_out_of_its_seconds(tmp_path):
    lines = [
        {"event": "begin", "at": 60},
        {"event": "session", "at": 60},
        {"event": "settle", "precision": "bf16", "at": 100},
        {"event": "ask", "name": "0000", "number": 0, "params": {}, "role": "search", "seed": 0, "at": 103},
        {"event": "session", "at": 900},
        {"event": "start", "name": "0000", "at": 902},
        {"event": "end", "name": "0000", "state": "failed", "error": "x", "at": 907},
        {"event": "ask", "name": "p", "number": 1, "params": {}, "role": "final", "seed": 1, "at": 908},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = read_records(tmp_path)
    assert records.seconds == {"search": 10, "final": 1}
    assert records.precision == "bf16"


@pytest.mark.parametrize(
    "line", ['{"event": "end", "name": "9", "state": "failed", "at": 1}', '{"event": "dance", "at": 1}']
)
def test_ledger_refuses_events_that_follow_from_nothing(tmp_path, line):
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    with pytest.raises(CheckpointError, match=r"journal.jsonl, line 1 must follow from the lines before it"):
        read_records(tmp_path)
    with pytest.raises(CheckpointError, match="line 1 must follow"):
        Ledger(SweepDirectory(tmp_path))


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
    messages = {
        "file": r"--out must be a folder that can be written, but .*sweep is a file",
        "folder": r"must be new or empty, but .*sweep isn't; choose another with --out, or .* --resume",
    }
    with pytest.raises(ConfigError, match=messages[content]):
        SweepDirectory(target).check_free()


def test_directory_that_is_empty_is_free(tmp_path):
    SweepDirectory(tmp_path).check_free()
    SweepDirectory(tmp_path / "new").check_free()


def test_write_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        SweepDirectory(tmp_path).write_json("results.json", {"a": float("nan")})


def test_directory_of_a_sweep_that_tried_nothing_is_free_and_begins_anew(tmp_path):
    directory = SweepDirectory(tmp_path / "sweep")
    with Ledger(directory) as ledger:
        ledger.begin({"study": "one", "files": {}})
        ledger.settle("fp32")
    (directory.root / "config.yaml").write_text("")
    (directory.root / "ray").mkdir()
    directory.check_free()
    assert not has_tried(directory.root)
    with Ledger(directory) as ledger:
        ledger.begin({"study": "two", "files": {}})
        assert (ledger.state.begin["study"], ledger.state.precision) == ("two", None)
        ledger.ask(TrialRecord("0000", 0, {}))
    assert has_tried(directory.root)
    with Ledger(directory) as ledger:
        ledger.begin({"study": "three", "files": {}})
        assert ledger.state.begin["study"] == "two"
    with pytest.raises(ConfigError, match=r"must be new or empty, but .* rocore sweep --resume"):
        directory.check_free()


@pytest.mark.parametrize("name", ["notes.txt", "results.json", "trials"])
def test_directory_of_a_sweep_that_tried_nothing_with_something_else_in_it_is_refused(name, tmp_path):
    with Ledger(SweepDirectory(tmp_path)) as ledger:
        ledger.begin({"study": "one", "files": {}})
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="must be new or empty"):
        SweepDirectory(tmp_path).check_free()


def test_directory_of_a_sweep_that_another_process_runs_is_refused(ledger):
    with pytest.raises(ConfigError, match="one process at a time may run a sweep"):
        ledger.directory.check_free()
