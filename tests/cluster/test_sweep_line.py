"""Command lines of sweeps: what wins, and which paths a node can't see."""

from pathlib import Path

import pytest

from cluster.description import LocalCluster, SlurmCluster
from cluster.sweep_line import SweepLine, arguments, local_command, remote_command
from rocore.errors import ConfigError
from tune.config import ResourcesConfig

MINE = LocalCluster(name="mine", kind="local", cpus_per_trial=0.5, gpus_per_trial=1)
FAR = SlurmCluster(
    name="far",
    kind="slurm",
    nodes=1,
    cpus_per_node=1,
    time_limit="1:00",
    project="/my project",
    shared="/shared",
)


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


def test_remote_command_goes_on_where_the_sweep_has_begun():
    command = remote_command(FAR, SweepLine(Path("a.yaml"), Path("/shared/a"), ("x=[1, 2]",)))
    assert command == (
        "cd '/my project' && exec '/my project/.venv/bin/rocore' sweep a.yaml --out /shared/a "
        "--set 'x=[1, 2]' --set resources.address=auto --continue"
    )


@pytest.mark.parametrize(
    "out", [None, Path("sweeps/a"), Path("/sharedelsewhere/a"), Path("/shared/../home/a")]
)
def test_remote_command_whose_directory_a_node_can_not_see_is_refused(out):
    with pytest.raises(
        ConfigError, match="--out must be a URL, or a folder below /shared, which every node sees"
    ):
        remote_command(FAR, SweepLine(Path("a.yaml"), out))


def test_remote_command_whose_config_a_node_can_not_see_is_refused():
    with pytest.raises(ConfigError, match="CONFIG must be a path inside the project or below /shared"):
        remote_command(FAR, SweepLine(Path("/home/me/a.yaml"), Path("/shared/a")))
