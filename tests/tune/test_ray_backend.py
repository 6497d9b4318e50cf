import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from rocore.errors import ConfigError
from tune.config import ResourcesConfig
from tune.ray_backend import ListSearcher, check_resources, concurrency, make_scheduler


@pytest.mark.parametrize(
    ("resources", "available", "number"),
    [
        ({"cpus_per_trial": 1}, {"CPU": 2.0}, 2),
        ({"cpus_per_trial": 2}, {"CPU": 5.0}, 2),
        ({"cpus_per_trial": 4}, {"CPU": 2.0}, 1),
        ({"cpus_per_trial": 1, "gpus_per_trial": 0.5}, {"CPU": 16.0, "GPU": 1.0}, 2),
        ({"cpus_per_trial": 1, "max_concurrent_trials": 7}, {"CPU": 2.0}, 7),
    ],
)
def test_concurrency_is_what_the_resources_hold(resources, available, number):
    assert concurrency(ResourcesConfig(**resources), available) == number


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpus_per_trial": 3}, r"`resources.cpus_per_trial` must be at most what is here, 2 CPUs, but is 3"),
        ({"gpus_per_trial": 1}, r"`resources.gpus_per_trial` must be at most what is here, 0 GPUs, but is 1"),
    ],
)
def test_share_that_a_machine_can_not_give_is_refused(resources, message):
    with pytest.raises(ConfigError, match=message):
        check_resources(ResourcesConfig(**resources), {"CPU": 2.0})


def test_cluster_may_still_grow():
    check_resources(ResourcesConfig(cpus_per_trial=64, address="auto"), {"CPU": 2.0})


@pytest.mark.parametrize(
    ("max_epochs", "grace", "rungs"), [(4, 1, [4, 2, 1]), (15, 3, [12, 6, 3]), (4, 50, [4])]
)
def test_scheduler_counts_joint_epochs_from_the_grace_period_on(make_sweep, max_epochs, grace, rungs):
    scheduler = make_scheduler(make_sweep({"scheduler.grace_epochs": grace, "train.max_epochs": max_epochs}))
    assert isinstance(scheduler, ASHAScheduler)
    assert (scheduler._time_attr, scheduler._max_t) == ("joint_epoch", max_epochs)
    assert [milestone for milestone, _ in scheduler._brackets[0]._rungs] == rungs


def test_scheduler_never_stops_a_trial_in_pretraining(make_sweep):
    scheduler = make_scheduler(make_sweep())
    for index, objective in enumerate((0.9, 0.0)):
        trial = type("Trial", (), {"trial_id": str(index)})
        scheduler.on_trial_add(None, trial)
        result = {"joint_epoch": 0, "objective": objective}
        assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"


def test_scheduler_none_is_first_in_first_out(make_sweep):
    scheduler = make_scheduler(make_sweep({"scheduler.name": "none"}))
    assert type(scheduler) is FIFOScheduler


def test_list_searcher_gives_every_specification_once_and_goes_on_after_a_snapshot(tmp_path):
    specs = [{"name": "one"}, {"name": "two"}]
    searcher = ListSearcher(specs)
    assert searcher.suggest("a") == {"spec": specs[0]}
    searcher.save(str(tmp_path / "snapshot"))
    again = ListSearcher(specs)
    again.restore(str(tmp_path / "snapshot"))
    assert again.suggest("b") == {"spec": specs[1]}
    assert again.suggest("c") == Searcher.FINISHED
