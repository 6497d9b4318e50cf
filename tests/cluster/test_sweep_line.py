"""Command lines of sweeps: what wins, and which paths a node can't see."""

import re
from pathlib import Path

import pytest

from cluster.description import ExistingCluster, LocalCluster, SlurmCluster
from cluster.sweep_line import SweepLine, arguments, local_command, remote_command, sweep_name
from rocore.errors import ConfigError
from tune.config import ResourcesConfig

MINE = LocalCluster(name="mine", kind="local", cpus_per_trial=0.5, gpus_per_trial=1)
FAR = SlurmCluster(
    name="far",
    kind="slurm",
    nodes=1,
    cpus_per_node=1,
    time_limit="1:00:00",
    project="/my project",
    shared="/shared",
)
HERE_AND_THERE = ExistingCluster(name="grown", kind="existing", address="10.0.0.5:6379", shared="/shared")
PACKAGED = ExistingCluster(name="theirs", kind="existing", jobs="http://127.0.0.1:8265")


def test_arguments_let_the_user_change_shares_but_not_the_address():
    overrides = ("resources.cpus_per_trial=2", "resources.address=elsewhere:1")
    assert arguments(MINE, SweepLine(Path("a.yaml"), None, overrides))[2:] == [
        *("--set", "resources.cpus_per_trial=0.5", "--set", "resources.gpus_per_trial=1"),
        *("--set", "resources.cpus_per_trial=2", "--set", "resources.address=elsewhere:1"),
        *("--set", "resources.address=null"),
    ]


def test_local_command_sets_keys_that_a_sweep_has():
    command = local_command(MINE, SweepLine(Path("a.yaml")))
    keys = {setting.partition("=")[0].removeprefix("resources.") for setting in command[6::2]}
    assert keys <= set(ResourcesConfig.model_fields)


@pytest.mark.parametrize("out", [None, "/home/me/a"])
def test_local_command_whose_directory_trials_elsewhere_can_not_see_is_refused(out):
    with pytest.raises(
        ConfigError, match="--out must be a folder below /shared, which every node sees, or a"
    ):
        local_command(HERE_AND_THERE, SweepLine(Path("a.yaml"), out))


def test_local_command_takes_a_relative_path_inside_the_shared_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    description = HERE_AND_THERE.model_copy(update={"shared": str(tmp_path)})
    assert f"{tmp_path}/sweeps/a" in local_command(description, SweepLine(Path("a.yaml"), "sweeps/a"))


def test_remote_command_goes_on_where_the_sweep_has_begun():
    command = remote_command(FAR, SweepLine(Path("a.yaml"), "/shared/a", ("x=[1, 2]",)))
    assert command == (
        "cd '/my project' && exec '/my project/.venv/bin/rocore' sweep a.yaml --out /shared/a "
        "--set 'x=[1, 2]' --set resources.address=auto --continue"
    )


def test_remote_command_of_a_packaged_project_runs_where_ray_has_unpacked_it():
    command = remote_command(PACKAGED, SweepLine(Path("configs/a.yaml"), "s3://bucket/a"))
    assert command == (
        "exec python -m rocore sweep configs/a.yaml --out s3://bucket/a --set resources.address=auto --continue"
    )


@pytest.mark.parametrize("out", [None, "sweeps/a", "/shared", "/sharedelsewhere/a", "/shared/../home/a"])
def test_remote_command_whose_directory_a_node_can_not_see_is_refused(out):
    with pytest.raises(
        ConfigError, match="--out must be a folder below /shared, which every node sees, or a URL"
    ):
        remote_command(FAR, SweepLine(Path("a.yaml"), out))


def test_remote_command_without_a_shared_folder_needs_a_url():
    with pytest.raises(
        ConfigError, match=r"--out must be a URL, as the description names no `shared` folder, but is /x/a"
    ):
        remote_command(PACKAGED, SweepLine(Path("a.yaml"), "/x/a"))


@pytest.mark.parametrize("config", ["/home/me/a.yaml", "../a.yaml"])
def test_remote_command_whose_config_a_node_can_not_see_is_refused(config):
    with pytest.raises(ConfigError, match="CONFIG must be a path inside the project or below /shared"):
        remote_command(FAR, SweepLine(Path(config), "/shared/a"))


def test_sweep_name_is_the_same_for_the_same_directory_alone():
    assert sweep_name("/shared/sweeps/a") == sweep_name("/shared//sweeps/a/") == "rocore-a-3f284233"
    assert sweep_name("/shared/a") != sweep_name("/shared/b/../a")
    assert sweep_name("s3://bucket/a") == sweep_name("s3://bucket/a/") != sweep_name("s3://other/a")


@pytest.mark.parametrize("out", ["/x/Main Sweep_of_2026, the second and last", "/x/...", "/x/-a-"])
def test_sweep_name_is_one_that_kubernetes_and_slurm_take(out):
    name = sweep_name(out)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 32


@pytest.mark.parametrize(
    ("out", "override"),
    [
        ("s3://KEY:hunter2@bucket/a", "seed=1"),
        (None, "data.root=s3://KEY:hunter2@bucket/a"),
        ("/shared/a", "search.others=[s3://bucket/a, 's3://bucket/b?secret_key=hunter2']"),
    ],
)
def test_line_with_credentials_is_refused_before_anything_is_written(out, override):
    with pytest.raises(ConfigError, match="must not hold credentials") as caught:
        SweepLine(Path("a.yaml"), out, (override,))
    assert "hunter2" not in str(caught.value)


def test_line_with_the_address_of_a_ray_is_left_to_the_sweep():
    assert SweepLine(Path("a.yaml"), None, ("resources.address=ray://head:10001",)).out is None
