import subprocess
import sys

import pytest

from rocore.errors import ConfigError
from tune.config import ResourcesConfig
from tune.ray_backend import check_resources, ray_session


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


def test_account_of_a_lost_process_by_ray_stays_off_the_terminal():
    show = 'print_to_stdstream({"lines": ["A worker died"], "pid": "raylet", "is_err": False}, ignore_prefix=False)'
    code = f"import tune.ray_backend; from ray._private.worker import print_to_stdstream; {show}"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == ("", "")


def test_session_on_rays_client_is_refused_before_anything_starts(tmp_path):
    resources = ResourcesConfig(address="ray://head:10001")
    with (
        pytest.raises(ConfigError, match="must be host:port of a Ray that this machine is a node of"),
        ray_session(resources, tmp_path),
    ):
        pytest.fail("begun")
