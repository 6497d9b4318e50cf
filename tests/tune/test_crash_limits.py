"""A search that a limit ends, with a trial of the user's own, on a real Ray that is killed on the way."""

import pytest

from tune.config import load_sweep
from tune.journal import read_events
from tune.own_trials import add_trial
from tune.replay import check_record
from tune.status import read_status

from .conftest import SPACE
from .crashes import Driver, read_results

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_search_killed_given_a_trial_and_ended_by_a_limit_is_compared_and_replayed(sweep_file, tmp_path):
    out = tmp_path / "out"
    search = {"num_trials": 40, "stop_after": 3, "space": SPACE}
    driver = Driver(out, "run", sweep_file(search=search, resources={"max_concurrent_trials": 2}))
    assert driver.wait_for_events(14)
    assert driver.kill("driver")
    driver.wait()
    point = add_trial(out, {"loss.pair_margin": 0.5})
    driver = Driver(out, "resume")
    assert driver.wait() == 0, driver.log.read_text()
    results, events = read_results(out), read_events(out / "journal.jsonl")
    trials = results["search"]["trials"]
    assert results["search"]["ended_by"]["key"] == "stop_after"
    assert len(trials) < 40
    assert [(e["gpus"], e["packs"]) for e in events if e["event"] == "hold"] == [(0.0, 0)] * 2
    assert [trial["params"] for trial in trials if trial["is_added"]] == [point]
    # The best there is.
    assert results["search"]["best_trial"] == next(trial["number"] for trial in trials if trial["is_added"])
    assert (results["status"], read_status(out).is_complete) == ("complete", True)
    agreement = check_record(load_sweep(out / "config.yaml"), events)
    assert agreement.num_same_proposals == agreement.num_proposals == len(trials)
    assert agreement.num_same_decisions == agreement.num_decisions
    assert Driver(out, "resume").wait() == 0
    assert read_results(out)["search"]["trials"] == trials
