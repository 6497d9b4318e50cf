"""Several drivers on one study, with a real Ray each; one is killed on the way."""

import pytest

from tune.config import load_sweep
from tune.journal import FILE, read_events
from tune.replay import check_record

from .conftest import SPACE
from .crashes import Driver, read_results, wait_for_ends

pytestmark = [pytest.mark.ray, pytest.mark.slow]
NUM_TRIALS = 8


def test_two_drivers_learn_from_each_other_and_one_may_be_killed(sweep_file, tmp_path):
    outs = [tmp_path / "one", tmp_path / "two"]
    drivers = []
    for seed, out in zip((0, 50), outs, strict=True):
        path = sweep_file(
            seed=seed,
            search={"num_trials": NUM_TRIALS, "space": SPACE, "others": [str(other) for other in outs]},
            resources={"max_concurrent_trials": 1},
        )
        drivers.append(Driver(out, "run", path, epoch_s=0.2))
        wait_for_ends(out, 2)
    assert drivers[1].kill("driver")
    drivers[1].wait()
    drivers[1] = Driver(outs[1], "resume", epoch_s=0.2)
    for driver, out in zip(drivers, outs, strict=True):
        assert driver.wait() == 0, driver.log.read_text()
        assert len(read_results(out)["search"]["trials"]) == NUM_TRIALS
    learned = [[event for event in read_events(out / FILE) if event["event"] == "learn"] for out in outs]
    assert {event["sweep"] for event in learned[1]} == {str(outs[0])}
    assert len({event["trial"] for event in learned[1]}) == len(learned[1]) >= 2
    for out in outs:
        agreement = check_record(load_sweep(out / "config.yaml"), read_events(out / FILE))
        assert agreement.num_same_proposals == agreement.num_proposals == NUM_TRIALS
