import subprocess
import sys

import pytest

from rocore.errors import ConfigError
from tune import ray_backend
from tune.config import ResourcesConfig
from tune.ray_backend import ClusterRoom, check_resources, concurrency


@pytest.mark.parametrize(
    ("resources", "available", "number"),
    [
        ({"cpus_per_trial": 1}, {"CPU": 2.0}, 2),
        ({"cpus_per_trial": 2}, {"CPU": 5.0}, 2),
        ({"cpus_per_trial": 4}, {"CPU": 2.0}, 1),
        ({"cpus_per_trial": 1, "gpus_per_trial": 0.5}, {"CPU": 16.0, "GPU": 1.0}, 2),
        ({"cpus_per_trial": 1, "custom": {"a100": 0.5}}, {"CPU": 16.0, "a100": 1.5}, 3),
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


def test_room_follows_the_cluster_and_asks_for_one_more(monkeypatch):
    held = {"CPU": 0.0}
    monkeypatch.setattr(ray_backend.ray, "cluster_resources", lambda: held)
    monkeypatch.setattr(ray_backend, "ROOM_PERIOD_S", -1.0)
    room = ClusterRoom(ResourcesConfig(cpus_per_trial=2, address="auto"))
    assert room() == 2
    held["CPU"] = 6.0
    assert room() == 4
    held["CPU"] = 2.0
    assert room() == 2


def test_cluster_may_still_grow():
    check_resources(ResourcesConfig(cpus_per_trial=64, address="auto"), {"CPU": 2.0})


def test_account_of_a_lost_process_by_ray_stays_off_the_terminal():
    show = 'print_to_stdstream({"lines": ["A worker died"], "pid": "raylet", "is_err": False}, ignore_prefix=False)'
    code = f"import tune.ray_backend; from ray._private.worker import print_to_stdstream; {show}"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == ("", "")
