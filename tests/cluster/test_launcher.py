"""The launcher's file: what machines of clouds have, and what they may do."""

from pathlib import Path

import pytest
from ray.autoscaler._private.util import prepare_config

from cluster.description import load_description
from cluster.launcher import launcher_config
from cluster.ray_launcher import check_launcher_config
from rocore.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"
ARN = "arn:aws:iam::123456789012:instance-profile/rocore-node"
EMAIL = "rocore@my-project.iam.gserviceaccount.com"


def node_types(kind, **keys):
    config = launcher_config(load_description(str(CONFIGS / f"{kind}.yaml"), keys))
    check_launcher_config(config)
    return config["available_node_types"]


@pytest.mark.parametrize(
    ("kind", "group", "resources"),
    [
        ("aws", {"instance": "g5.xlarge"}, {}),
        ("aws", {"instance": "g5.xlarge", "resources": {"big_disk": 2}}, {"big_disk": 2}),
        ("gcp", {"instance": "n2-standard-8", "cpus": 8}, {"CPU": 8}),
        ("gcp", {"instance": "a2-highgpu-1g", "cpus": 12, "gpus": 1}, {"CPU": 12, "GPU": 1}),
        (
            "gcp",
            {"instance": "n1-standard-4", "cpus": 4, "accelerator": "nvidia-tesla-t4", "num_accelerators": 2},
            {"CPU": 4, "GPU": 2},
        ),
    ],
)
def test_group_says_what_a_machine_has_so_that_the_first_one_can_be_asked_for(kind, group, resources):
    types = node_types(kind, groups={"a": {"max_nodes": 3, **group}})
    assert types["a"]["resources"] == resources


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_head_has_nothing_for_trials_even_where_ray_knows_its_machine(kind):
    assert node_types(kind)["head"]["resources"] == {"CPU": 0, "GPU": 0}


@pytest.mark.parametrize(("kind", "library"), [("aws", "boto3"), ("gcp", "google-api-python-client")])
def test_setup_runs_once_on_each_machine_though_ray_fills_the_file_in_here_and_on_the_head(kind, library):
    description = load_description(str(CONFIGS / f"{kind}.yaml"), {"setup": ["mount it"], "project": "/p"})
    here = prepare_config(launcher_config(description))
    there = prepare_config(here)
    assert there["worker_setup_commands"] == here["worker_setup_commands"] == ["mount it"]
    assert here["head_setup_commands"] == [
        "mount it",
        f"/p/.venv/bin/python -m pip install --quiet {library}",
    ]


def test_setup_of_machines_of_ones_own_installs_nothing_more():
    description = load_description(str(CONFIGS / "ssh.yaml"), {"setup": ["mount it"]})
    prepared = prepare_config(launcher_config(description))
    assert prepared["head_setup_commands"] == prepared["worker_setup_commands"] == ["mount it"]


@pytest.mark.parametrize(
    ("group", "scheduling"),
    [
        (
            {"cpus": 4, "spot": True},
            {"preemptible": True, "automaticRestart": False, "onHostMaintenance": "TERMINATE"},
        ),
        ({"cpus": 4, "accelerator": "nvidia-tesla-t4"}, {"onHostMaintenance": "TERMINATE"}),
        ({"cpus": 12, "gpus": 1}, {"onHostMaintenance": "TERMINATE"}),
        ({"cpus": 12}, None),
    ],
)
def test_gcp_machines_that_can_not_move_are_ended_for_maintenance(group, scheduling):
    types = node_types("gcp", groups={"a": {"instance": "i", "max_nodes": 3, **group}})
    assert types["a"]["node_config"].get("scheduling") == scheduling


def test_aws_machines_have_the_key_pair_of_the_private_key():
    types = node_types("aws", ssh_private_key="~/.ssh/k.pem", key_name="k")
    assert {each["node_config"]["KeyName"] for each in types.values()} == {"k"}


@pytest.mark.parametrize("key", ["ssh_private_key", "key_name"])
def test_aws_key_without_its_other_half_is_refused(key):
    with pytest.raises(ConfigError, match="must be given together"):
        load_description(str(CONFIGS / "aws.yaml"), {key: "k"})


def test_group_of_workers_called_head_is_refused():
    with pytest.raises(ConfigError, match="mustn't be called `head`"):
        load_description(str(CONFIGS / "aws.yaml"), {"groups": {"head": {"instance": "i", "max_nodes": 1}}})


@pytest.mark.parametrize(
    ("profile", "rendered"), [(ARN, {"Arn": ARN}), ("rocore-node", {"Name": "rocore-node"})]
)
def test_aws_machines_have_the_instance_profile(profile, rendered):
    for each in node_types("aws", instance_profile=profile).values():
        assert each["node_config"]["IamInstanceProfile"] == rendered
    assert "IamInstanceProfile" not in node_types("aws")["spot"]["node_config"]


def test_gcp_workers_have_the_service_account_and_the_head_keeps_rays():
    types = node_types("gcp", service_account=EMAIL)
    (account,) = types["spot"]["node_config"]["serviceAccounts"]
    assert account == {"email": EMAIL, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
    assert "serviceAccounts" not in types["head"]["node_config"]
