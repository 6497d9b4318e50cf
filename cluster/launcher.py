"""The file of Ray's cluster launcher, for machines of one's own, EC2 and Compute Engine; knows no Ray itself."""

import shlex
from typing import Any

from cluster.description import (
    AwsCluster,
    CloudCluster,
    GcpCluster,
    LaunchedCluster,
    SshCluster,
)
from cluster.groups import InstanceGroup
from cluster.sweep_line import STOP_WAIT_S

PORT = 6379
TOKEN = "~/.ray/auth_token"  # noqa: S105 - where it lies, not what it is
"""Ray's authentication token, on this machine and on every node; `ray get-auth-token --generate` makes one."""
HEAD = "head"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""The roles of a service account alone say what it may do."""
LIBRARIES = {"aws": "boto3", "gcp": "google-api-python-client"}
"""What the head's Ray starts machines with."""


def launcher_config(description: LaunchedCluster) -> dict[str, Any]:
    """Return the launcher's configuration.

    The head takes no trials where machines come and go: it must outlive them.
    """
    path = f"{description.project}/.venv/bin:$PATH"
    activate = f"export PATH={path} RAY_AUTH_MODE=token RAY_JOB_STOP_WAIT_TIME_S={STOP_WAIT_S}"
    host = "0.0.0.0" if description.expose else "127.0.0.1"  # noqa: S104 - asked for, and warned of
    start = f"ray start --head --port={PORT} --dashboard-host={host} --autoscaling-config=~/ray_bootstrap_config.yaml"
    if isinstance(description, CloudCluster):
        start += " --num-cpus=0 --num-gpus=0"
    return {
        "cluster_name": description.name,
        **_machines(description),
        "file_mounts": {TOKEN: TOKEN},
        # Ray fills the file in here and again on the head: what stands under `setup_commands` would run twice a worker.
        "setup_commands": [],
        "head_setup_commands": [*description.setup, *_head_setup(description)],
        "worker_setup_commands": list(description.setup),
        "head_start_ray_commands": [f"{activate}; ray stop; ulimit -n 65536; {start}"],
        "worker_start_ray_commands": [
            f"{activate}; ray stop; ulimit -n 65536; ray start --address=$RAY_HEAD_IP:{PORT}"
        ],
    }


def _head_setup(description: LaunchedCluster) -> list[str]:
    """Give the head's Ray the cloud's library, if it lacks it; Ray's own default takes the first `pip` on PATH."""
    if not isinstance(description, CloudCluster):
        return []
    python = shlex.quote(f"{description.project}/.venv/bin/python")
    return [f"{python} -m pip install --quiet {LIBRARIES[description.kind]}"]


def _machines(description: LaunchedCluster) -> dict[str, Any]:
    auth = {"ssh_user": description.ssh_user}
    if description.ssh_private_key is not None:
        auth["ssh_private_key"] = description.ssh_private_key
    if isinstance(description, SshCluster):
        workers = list(description.workers)
        provider = {"type": "local", "head_ip": description.head, "worker_ips": workers}
        return {
            "provider": provider,
            "auth": auth,
            "min_workers": len(workers),
            "max_workers": len(workers),
        }
    assert isinstance(description, CloudCluster)
    node_config = _aws_node if isinstance(description, AwsCluster) else _gcp_node
    head = InstanceGroup(instance=description.head, max_nodes=1)
    types = {
        name: {
            "min_workers": group.min_nodes,
            "max_workers": group.max_nodes,
            "resources": _resources(group),
            "node_config": node_config(description, group),
        }
        for name, group in description.groups.items()
    }
    node = node_config(description, head)
    if isinstance(description, GcpCluster):
        # Ray's own account, which starts machines and may use storage, stays the head's.
        node.pop("serviceAccounts", None)
    # What Ray finds out about the machine, on aws, would win over --num-cpus=0.
    types[HEAD] = {"max_workers": 0, "resources": {"CPU": 0, "GPU": 0}, "node_config": node}
    return {
        "provider": _provider(description),
        "auth": auth,
        "max_workers": sum(group.max_nodes for group in description.groups.values()),
        "idle_timeout_minutes": description.idle_minutes,
        "head_node_type": HEAD,
        "available_node_types": types,
    }


def _resources(group: InstanceGroup) -> dict[str, int]:
    gpus = group.num_accelerators if group.gpus is None and group.accelerator is not None else group.gpus
    known = {"CPU": group.cpus, "GPU": gpus}
    return {**{name: amount for name, amount in known.items() if amount is not None}, **group.resources}


def _provider(description: CloudCluster) -> dict[str, Any]:
    provider: dict[str, Any] = {
        "type": description.kind,
        "region": description.region,
        "cache_stopped_nodes": False,
    }
    if description.zone is not None:
        provider["availability_zone"] = description.zone
    if isinstance(description, GcpCluster):
        provider["project_id"] = description.project_id
    return provider


def _aws_node(description: CloudCluster, group: InstanceGroup) -> dict[str, Any]:
    disk = {"VolumeSize": description.disk_gib, "VolumeType": "gp3"}
    node: dict[str, Any] = {
        "InstanceType": group.instance,
        "ImageId": description.image,
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
    }
    if group.spot:
        node["InstanceMarketOptions"] = {"MarketType": "spot"}
    assert isinstance(description, AwsCluster)
    if description.key_name is not None:
        node["KeyName"] = description.key_name
    if description.instance_profile is not None:
        key = "Arn" if description.instance_profile.startswith("arn:") else "Name"
        node["IamInstanceProfile"] = {key: description.instance_profile}
    return node


def _gcp_node(description: CloudCluster, group: InstanceGroup) -> dict[str, Any]:
    disk = {"diskSizeGb": description.disk_gib, "sourceImage": description.image}
    node: dict[str, Any] = {
        "machineType": group.instance,
        "disks": [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": disk}],
    }
    if group.accelerator is not None:
        node["guestAccelerators"] = [
            {"acceleratorType": group.accelerator, "acceleratorCount": group.num_accelerators}
        ]
    if group.spot:
        node["scheduling"] = {
            "preemptible": True,
            "automaticRestart": False,
            "onHostMaintenance": "TERMINATE",
        }
    elif group.accelerator is not None or group.gpus:
        node["scheduling"] = {"onHostMaintenance": "TERMINATE"}  # machines with GPUs can't move
    assert isinstance(description, GcpCluster)
    if description.service_account is not None:
        node["serviceAccounts"] = [{"email": description.service_account, "scopes": [SCOPE]}]
    return node
