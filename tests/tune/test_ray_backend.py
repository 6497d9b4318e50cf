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


def test_scheduler_grants_pretraining_and_the_grace_epochs(make_sweep):
    scheduler = make_scheduler(make_sweep({"scheduler.grace_epochs": 2}))
    assert isinstance(scheduler, ASHAScheduler)
    assert (scheduler._time_attr, scheduler._max_t) == ("epoch", 5)
    assert [milestone for milestone, _ in scheduler._brackets[0]._rungs] == [3]


def test_scheduler_with_a_grace_beyond_the_budget_stops_nobody_early(make_sweep):
    scheduler = make_scheduler(make_sweep({"scheduler.grace_epochs": 50}))
    assert [milestone for milestone, _ in scheduler._brackets[0]._rungs] == [5]


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
