"""Limits of the search, over interruptions and resumes, with Ray taken out."""

import json

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.errors import ConfigError, SweepInterrupted
from tune.advice import advise
from tune.journal import read_events
from tune.limits import find_reached
from tune.records import LimitReached, Records, read_records
from tune.replay import check_record
from tune.report.results import Results
from tune.report.sections_search import search_section
from tune.status import as_tree, read_status

from .without_ray import EPOCHS, take_ray_out

NO_STOPS = {"scheduler.name": "none", "search.num_trials": 6}
MINUTES = 1 / 60


@pytest.fixture
def without(monkeypatch, tmp_path):
    return take_ray_out(monkeypatch, tmp_path / "out")


def trials(without):
    return json.loads((without.out / "results.json").read_text())["search"]["trials"]


def search_of(without):
    return json.loads((without.out / "results.json").read_text())["search"]


def limits_noted(without):
    return [event for event in read_events(without.out / "journal.jsonl") if event["event"] == "limit"]


def test_search_ends_by_its_hours_lets_running_trials_finish_and_goes_on_to_the_comparison(
    make_sweep, without
):
    # Two at a time, four minutes each: at minute 8 the last two begin, and at minute 12 none.
    without.workers = 2
    sweep = make_sweep({**NO_STOPS, "search.num_trials": 9, "search.max_hours": 9 * MINUTES})
    without.run(sweep)
    assert [(trial["state"], trial["epochs"]) for trial in trials(without)] == [("complete", EPOCHS)] * 6
    assert search_of(without)["ended_by"] == {
        "key": "max_hours",
        "most": 9 * MINUTES,
        "used": pytest.approx(12 * MINUTES, abs=1e-3),
    }
    assert json.loads((without.out / "results.json").read_text())["status"] == "complete"
    assert len(limits_noted(without)) == 1


def test_search_with_next_to_no_time_tries_the_papers_configuration(make_sweep, without):
    without.run(make_sweep({**NO_STOPS, "search.max_hours": 1e-9}))
    assert [trial["state"] for trial in trials(without)] == ["complete"]
    assert json.loads((without.out / "results.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("epochs", [1, 4, 5, 7])
def test_hours_count_over_interruptions_and_not_the_pauses_between(make_sweep, without, epochs):
    without.epochs_left = epochs
    with pytest.raises(SweepInterrupted):
        without.run(make_sweep({**NO_STOPS, "search.max_hours": 9 * MINUTES}))
    without.epochs_left = None
    without.resume()
    # At minute 8 the third begins, the fourth never.
    assert len(trials(without)) == 3
    assert {trial["state"] for trial in trials(without)} == {"complete"}
    before = (without.out / "journal.jsonl").read_text()
    without.resume()
    added = (without.out / "journal.jsonl").read_text().removeprefix(before)
    assert [json.loads(line)["event"] for line in added.splitlines()] == ["session"]


def test_gpu_hours_are_the_shares_of_trials_for_as_long_as_they_hold_them(make_sweep, without):
    without.workers, without.epochs_left = 2, 3
    keys = {**NO_STOPS, "resources.gpus_per_trial": 0.5, "search.max_gpu_hours": 7 * MINUTES}
    with pytest.raises(SweepInterrupted):
        without.run(make_sweep(keys))
    assert read_records(without.out).gpu_seconds(9.0) == pytest.approx(2 * 0.5 * 3 * 60)
    without.epochs_left = None
    # Another share counts from here on.
    without.resume(overrides={"resources.gpus_per_trial": 1.0})
    # 3 minutes of one GPU; then two trials with one each: 3 + 2 = 5 at the fourth minute, 5 + 8 at the eighth.
    assert len(trials(without)) == 4
    assert search_of(without)["ended_by"]["key"] == "max_gpu_hours"
    assert search_of(without)["ended_by"]["used"] == pytest.approx(13 * MINUTES, abs=1e-3)


def test_gpus_of_packs_are_held_while_any_trial_runs_and_those_of_older_journals_are_taken_as_now():
    records, at = Records(), 0.0
    ask = {"event": "ask", "role": "search", "seed": 0, "params": {}}
    for seconds, event in (
        (0, {"event": "session"}),
        (9, {**ask, "name": "0000", "number": 0}),
        (0, {"event": "start", "name": "0000"}),
        (10, {"event": "end", "name": "0000", "state": "complete", "error": None}),
        (99, {"event": "session"}),
        (9, {"event": "hold", "gpus": 2.0, "packs": 3}),
        (9, {**ask, "name": "0001", "number": 1}),
        (0, {"event": "start", "name": "0001"}),
        (5, {"event": "lose", "name": "0001", "error": "gone"}),
        (9, {"event": "start", "name": "0001"}),
        (99, {"event": "session"}),
    ):
        at += seconds
        records.apply({**event, "at": at})
    assert records.gpu_seconds(0.5) == pytest.approx(0.5 * 10 + 3 * 2.0 * 5)
    records.apply({"event": "hold", "gpus": 1.0, "packs": 0, "at": at})
    records.apply({"event": "start", "name": "0001", "at": at})
    assert records.gpu_seconds(0.5, since=7.0) == pytest.approx(35 + 7)


def test_search_ends_after_trials_without_a_gain_and_stays_so_when_a_later_one_gains(make_sweep, without):
    scores = [0.3, 0.2, 0.5, 0.5, 0.1, 0.4, 0.9]
    without.score = lambda spec: scores[spec["number"]] if spec["role"] == "search" else 0.5
    without.epochs_left = 4 * EPOCHS + 2
    with pytest.raises(SweepInterrupted):
        without.run(make_sweep({**NO_STOPS, "search.num_trials": 12, "search.stop_after": 3}))
    without.epochs_left = None
    without.resume()
    assert [trial["objective"] for trial in trials(without)] == scores[:6]
    assert search_of(without)["ended_by"] == {"key": "stop_after", "most": 3.0, "used": 3.0}


def test_search_that_ended_is_not_begun_again_by_a_gain_of_a_trial_that_still_ran(make_sweep):
    sweep, records = make_sweep({"search.stop_after": 2}), Records()
    records.apply({"event": "limit", "at": 0.0, "key": "stop_after", "most": 2, "used": 2})
    assert records.num_without_gain == 0
    assert find_reached(sweep, records) == LimitReached("stop_after", 2, 2)
    assert find_reached(make_sweep({"search.stop_after": 3}), records) is None


def count(*ends):
    """Return the trials without a gain after ends by (state, objective)."""
    records = Records()
    for number, (state, objective) in enumerate(ends):
        name = f"{number:04d}"
        ask = {"name": name, "number": number, "role": "search", "seed": 0, "params": {}}
        row = {"epoch": 1, "phase": "joint", "seconds": 1.0, "finished": state == "complete", "metrics": None}
        records.apply({"event": "ask", "at": 0.0, **ask})
        records.apply({"event": "report", "at": 0.0, "name": name, "objective": objective, **row})
        records.apply({"event": "end", "at": 0.0, "name": name, "state": state, "error": None})
    return records.num_without_gain


@pytest.mark.parametrize(
    ("ends", "number"),
    [
        ([("pruned", 0.1), ("pruned", 0.2)], 0),
        ([("complete", 0.5), ("pruned", 0.9)], 1),
        ([("complete", 0.5), ("failed", 0.9), ("complete", 0.5)], 1),
        ([("complete", 0.5), ("pruned", 0.1), ("complete", 0.6)], 0),
    ],
)
def test_trials_without_a_gain_are_those_that_ended_well_since_the_best_complete_one(ends, number):
    assert count(*ends) == number


def test_search_with_a_limit_raised_goes_on(make_sweep, without):
    without.run(make_sweep({**NO_STOPS, "search.max_hours": 7 * MINUTES}))
    assert len(trials(without)) == 2
    without.resume(overrides={"search.max_hours": 15 * MINUTES})
    assert len(trials(without)) == 4
    without.resume(overrides={"search.max_hours": None})
    assert len(trials(without)) == 6
    assert search_of(without)["ended_by"] is None
    events = read_events(without.out / "journal.jsonl")
    agreement = check_record(make_sweep(NO_STOPS), events)
    assert agreement.num_same_proposals == agreement.num_proposals == 6


def test_extension_of_a_search_at_its_limit_is_refused_before_work_and_adds_what_it_says(make_sweep, without):
    without.run(make_sweep({**NO_STOPS, "search.max_hours": 7 * MINUTES}))
    with pytest.raises(
        ConfigError, match=r"`search\.max_hours` = .* is reached .*--set search\.max_hours=null"
    ):
        without.resume(num_more=3)
    without.resume(num_more=3, overrides={"search.max_hours": None})
    assert len(trials(without)) == 2 + 3


def test_status_and_report_name_the_limit(make_sweep, without):
    without.run(make_sweep({**NO_STOPS, "search.max_hours": 7 * MINUTES}))
    status = read_status(without.out)
    assert status.is_complete
    assert status.ended_by.key == "max_hours"
    assert as_tree(status)["phases"]["search"]["most"] == 2
    assert as_tree(status)["ended_by"]["key"] == "max_hours"
    shown = CliRunner().invoke(main, ["sweep", "status", str(without.out)]).stdout
    assert "the search has ended: `search.max_hours` = 0.116667 is reached (0.13 hours)" in shown
    section = search_section(Results(json.loads((without.out / "results.json").read_text())))
    assert (
        "It ended before its last trial: `search.max_hours` = 0.116667 is reached" in section.blocks[0].text
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"search.max_hours": 0}, "search.max_hours"),
        (
            {"search.stop_after": 5},
            r"`search.stop_after` must be at most `search.num_trials` - 2, .* is 5 of 6",
        ),
        (
            {"search.stop_after": 2, "objective.second": "training_seconds"},
            "counts trials by a single objective, but `objective.second` is training_seconds",
        ),
        ({"search.max_gpu_hours": 1}, "needs trials that hold a GPU, but `resources.gpus_per_trial` is 0"),
        (
            {
                "search.max_gpu_hours": 5,
                "search.max_hours": 2,
                "resources.gpus_per_trial": 0.5,
                "resources.max_concurrent_trials": 4,
            },
            r"must be at most what `search.max_hours` leaves time for, 4 with 4 times 0.5 GPUs for 2 h, but is 5",
        ),
    ],
)
def test_limits_that_can_never_act_are_refused(make_sweep, keys, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(keys)


def test_limit_below_the_random_start_of_tpe_is_warned_of(make_sweep):
    warnings = advise(make_sweep({"search.num_trials": 20, "search.stop_after": 5}))
    assert any(
        "`search.stop_after` = 5 may end the search before tpe has learnt" in line for line in warnings
    )


def test_limit_reached_is_noted_once(make_sweep, without):
    without.run(make_sweep({**NO_STOPS, "search.max_hours": 7 * MINUTES}))
    without.resume()
    assert len(limits_noted(without)) == 1
    assert read_records(without.out).limit == LimitReached(
        "max_hours", 7 * MINUTES, pytest.approx(8 * MINUTES, abs=1e-3)
    )
