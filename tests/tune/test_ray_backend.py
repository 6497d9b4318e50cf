import subprocess
import sys

import pytest

from rocore.errors import ConfigError
from tune.config import ResourcesConfig
from tune.ray_backend import check_resources, check_temporary, ray_session


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


@pytest.mark.parametrize("set_by", ["TMPDIR", "resources.temp_dir"])
def test_temporary_folder_that_is_too_long_for_sockets_is_refused_with_what_helps(
    set_by, tmp_path, monkeypatch
):
    long = tmp_path / ("x" * 60)
    monkeypatch.setattr("tempfile.tempdir", str(long))
    resources = ResourcesConfig(temp_dir=None if set_by == "TMPDIR" else str(long))
    with pytest.raises(
        ConfigError, match=r"at most 4\d bytes .*; set `resources\.temp_dir` to a short folder"
    ):
        check_temporary(resources)
    check_temporary(ResourcesConfig(temp_dir="/tmp/r"))
    check_temporary(ResourcesConfig(temp_dir=str(long), address="auto"))


@pytest.mark.parametrize("place", ["file", "file/x", "/proc/x"])
def test_temporary_folder_that_cannot_be_written_is_refused(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match=r"`resources\.temp_dir`, or TMPDIR, must be a folder that can be written"
    ):
        check_temporary(ResourcesConfig(temp_dir=str(tmp_path / place)))


def test_temporary_folder_where_the_system_has_none_is_asked_for(monkeypatch):
    def find_none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", find_none)
    with pytest.raises(ConfigError, match=r"No usable temporary directory found; set `resources\.temp_dir`"):
        check_temporary(ResourcesConfig())
