"""How a sweep stands, from a journal that another process writes."""

import json

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.config import dump_config
from rocore.errors import CheckpointError
from tune.experiments.config import load_experiment
from tune.experiments.run import ExperimentDirectory
from tune.ledger import Ledger
from tune.records import TrialRecord
from tune.status import read_status
from tune.sweep_directory import SweepDirectory

PARAMS = {"loss.center_weight": 0.005, "loss.pair_margin": 2.0, "encoder.output_layer": 4}


def report(epoch, objective, *, finished=False, metrics=None):
    return {
        "epoch": epoch,
        "phase": "joint",
        "objective": objective,
        "seconds": 10.0,
        "finished": finished,
        "metrics": metrics,
    }


@pytest.fixture
def directory(make_sweep, tmp_path):
    """Six trials are planned: one complete, one pruned, one failed, one running, and a journal still open."""
    root = tmp_path / "sweep"
    sweep = make_sweep({"resources.max_concurrent_trials": 1, "racing.num_candidates": 0})
    folder = SweepDirectory(root)
    folder.create()
    folder.write_text("config.yaml", dump_config(sweep.config))
    with Ledger(folder) as ledger:
        ledger.begin({"study": "s", "fingerprints": {}, "files": {}})
        for number in range(4):
            ledger.start(TrialRecord(f"{number:04d}", number, PARAMS))
        ledger.report("0000", report(1, 0.4))
        ledger.report("0000", report(2, 0.5, finished=True))
        ledger.end("0000", "complete")
        ledger.report("0001", report(1, 0.3))
        ledger.end("0001", "pruned")
        ledger.end("0002", "failed", "the loss must be finite, but is nan", "Traceback: ...")
        ledger.report("0003", report(1, 0.6))
        yield root


def test_status_of_a_running_sweep_counts_states_and_names_the_best(directory):
    status = read_status(directory)
    search, final = status.phases
    assert [search.count(state) for state in ("complete", "pruned", "failed", "running")] == [1, 1, 1, 1]
    assert (search.num_left, final.num_left) == (3, 6)
    assert status.best.name == "0000"
    assert not status.is_complete


def test_status_expects_the_time_left_from_what_ended(directory):
    # Search: three trials of (20 + 10 + 0) / 3 s, of which 10 s are done; final: six of half a complete trial.
    assert read_status(directory).left_s == pytest.approx(3 * 10 - 10 + 6 * 20 / 2)


def test_status_before_any_trial_ended_knows_no_time(make_sweep, tmp_path):
    folder = SweepDirectory(tmp_path)
    folder.write_text("config.yaml", dump_config(make_sweep().config))
    with Ledger(folder) as ledger:
        ledger.begin({"study": "s", "fingerprints": {}, "files": {}})
    status = read_status(tmp_path)
    assert (status.left_s, status.best) == (None, None)


def test_status_of_a_finished_sweep_is_complete_with_its_verdict(directory):
    for number in (4, 5):
        with (directory / "journal.jsonl").open("a") as file:
            for event in (
                {
                    "event": "ask",
                    "name": f"000{number}",
                    "number": number,
                    "params": PARAMS,
                    "role": "search",
                    "seed": 0,
                },
                {"event": "end", "name": f"000{number}", "state": "failed", "error": "gone"},
                {"event": "end", "name": "0003", "state": "complete", "error": None},
            ):
                file.write(json.dumps({**event, "at": 0.0}) + "\n")
    (directory / "results.json").write_text(
        json.dumps({"status": "complete", "verdict": {"text": "No difference."}})
    )
    status = read_status(directory)
    assert status.is_complete
    assert (status.verdict, status.left_s) == ("No difference.", 0.0)


def test_status_of_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"must be a sweep directory, or an experiment's, that holds config\.yaml"
    ):
        read_status(tmp_path)


def test_status_command_shows_causes_and_no_stack(directory):
    result = CliRunner().invoke(main, ["sweep", "status", str(directory)])
    assert result.exit_code == 0, result.output
    for line in (
        "search: 1 complete, 1 pruned, 1 failed, 1 running, of at most 6",
        "final comparison: not begun, of at most 6",
        "best so far: trial 0000 with 0.5000  lambda=0.005 sigma=2 layer=4",
        "running: 0003, 1 epochs, 0.6000",
        "failed: 0002 after 0 epochs: the loss must be finite, but is nan",
        "time left: at most about 80 s",
    ):
        assert line in result.stdout
    assert "Traceback" not in result.stdout


def test_status_command_of_a_sweep_that_stands_still_says_how_to_go_on(directory, monkeypatch):
    monkeypatch.setattr("tune.status.time.time", lambda: (directory / "journal.jsonl").stat().st_mtime + 7200)
    result = CliRunner().invoke(main, ["sweep", "status", str(directory)])
    assert (
        f"nothing was written for 2.0 h; if it isn't running any more, go on with: rocore sweep --resume {directory}"
        in (result.stdout)
    )


def test_status_command_as_json_is_for_programs(directory):
    tree = json.loads(CliRunner().invoke(main, ["sweep", "status", str(directory), "--json"]).stdout)
    assert tree["phases"]["search"] == {"most": 6, "running": 1, "complete": 1, "pruned": 1, "failed": 1}
    assert [trial["error"] for trial in tree["failed"]] == ["the loss must be finite, but is nan"]
    assert tree["best"]["name"] == "0000"


def test_status_command_that_watches_ends_with_the_sweep(directory, monkeypatch):
    slept = []

    def finish(seconds):
        slept.append(seconds)
        test_status_of_a_finished_sweep_is_complete_with_its_verdict(directory)

    monkeypatch.setattr("tune.commands.status.time.sleep", finish)
    result = CliRunner().invoke(main, ["sweep", "status", str(directory), "--watch"])
    assert len(slept) == 1
    assert "No difference." in result.stdout


@pytest.mark.parametrize("command", ["experiment", "sweep"])
def test_status_command_shows_an_experiment(command, tmp_path):
    tree = {"base": {}, "seeds": [0, 1], "settings": {"paper": {}, "wide": {"loss.pair_margin": 3.0}}}
    (tmp_path / "small.yaml").write_text(json.dumps({**tree, "resources": {"max_concurrent_trials": 1}}))
    root = tmp_path / "out"
    folder = ExperimentDirectory(root)
    folder.create()
    folder.write_text("config.yaml", dump_config(load_experiment(tmp_path / "small.yaml").config))
    with Ledger(folder) as ledger:
        ledger.begin({"fingerprints": {}, "files": {}})
        for name in ("paper", "wide"):
            ledger.start(TrialRecord(f"{name}-seed0", 0, {}, role="final"))
            ledger.report(f"{name}-seed0", report(1, 0.0))
        ledger.report("paper-seed0", report(2, 0.0, finished=True))
        ledger.end("paper-seed0", "complete")
        shown = CliRunner().invoke(main, [command, "status", str(root)]).stdout
        tree = json.loads(CliRunner().invoke(main, [command, "status", str(root), "--json"]).stdout)
    assert shown.splitlines() == [
        "small: not complete",
        "runs: 1 complete, 1 running, of at most 4",
        "running: wide-seed0, 1 epochs",
        # Three runs of 20 s, 10 s of which are done.
        "time left: at most about 50 s",
    ]
    assert (tree["phases"]["runs"]["most"], tree["left_s"], tree["complete"]) == (4, 50.0, False)


def test_status_command_without_a_sweep_directory_ends_with_2(tmp_path):
    result = CliRunner().invoke(main, ["sweep", "status", str(tmp_path)])
    assert result.exit_code == 2
    assert "give the --out of a sweep" in result.stderr
