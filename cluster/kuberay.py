"""Manifests for KubeRay (ray.io/v1): a RayCluster, and a RayJob that runs one sweep on a cluster of its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.description import KubernetesCluster, PodGroup
from cluster.sweep_line import SweepLine, remote_command

API = "ray.io/v1"
POD = {
    "serviceAccountName": None,
    "restartPolicy": None,
    "nodeSelector": {"*": None},
    "volumes": [{"name": None, "persistentVolumeClaim": {"claimName": None}}],
    "containers": [
        {
            "name": None,
            "image": None,
            "env": [
                {"name": None, "value": None, "valueFrom": {"secretKeyRef": {"name": None, "key": None}}}
            ],
            "lifecycle": {"preStop": {"exec": {"command": [None]}}},
            "resources": {"requests": {"*": None}, "limits": {"*": None}},
            "volumeMounts": [{"name": None, "mountPath": None}],
        }
    ],
}
TEMPLATE = {"metadata": {"labels": {"*": None}}, "spec": POD}
CLUSTER_SPEC = {
    "rayVersion": None,
    "enableInTreeAutoscaling": None,
    "headGroupSpec": {"serviceType": None, "rayStartParams": {"*": None}, "template": TEMPLATE},
    "workerGroupSpecs": [
        {
            "groupName": None,
            "replicas": None,
            "minReplicas": None,
            "maxReplicas": None,
            "rayStartParams": {"*": None},
            "template": TEMPLATE,
        }
    ],
}
HEADER = {
    "apiVersion": None,
    "kind": None,
    "metadata": {"name": None, "namespace": None, "labels": {"*": None}},
}
FIELDS: Mapping[str, Any] = {
    "RayCluster": {**HEADER, "spec": CLUSTER_SPEC},
    "RayJob": {
        **HEADER,
        "spec": {
            "entrypoint": None,
            "shutdownAfterJobFinishes": None,
            "ttlSecondsAfterFinished": None,
            "backoffLimit": None,
            "submissionMode": None,
            "rayClusterSpec": CLUSTER_SPEC,
        },
    },
}
"""The published fields that our manifests may have; None is a plain value, "*" any key, items of a list are alike."""


def ray_cluster(description: KubernetesCluster, ray_version: str) -> dict[str, Any]:
    """Return a cluster that stays until it is deleted."""
    return {
        **_header(description, "RayCluster", description.name),
        "spec": _cluster_spec(description, ray_version),
    }


def ray_job(description: KubernetesCluster, ray_version: str, line: SweepLine) -> dict[str, Any]:
    """Return a job that starts a cluster, runs a sweep on it, or goes on with it, and gives the cluster back.

    Raises:
        ConfigError: If a path of the sweep isn't one that every pod sees.
    """
    command = remote_command(description, line).replace("'", "'\"'\"'")
    return {
        **_header(description, "RayJob", f"{description.name}-sweep"),
        "spec": {
            "entrypoint": f"bash -c '{command}'",
            "shutdownAfterJobFinishes": True,
            "backoffLimit": 2,  # each try goes on with the sweep
            "rayClusterSpec": _cluster_spec(description, ray_version),
        },
    }


def unknown_fields(manifest: Mapping[str, Any]) -> list[str]:
    """Return the dotted paths of fields that KubeRay doesn't publish, so that it would drop or refuse them."""
    known = FIELDS.get(str(manifest.get("kind")))
    return [f"kind {manifest.get('kind')}"] if known is None else list(_unknown(manifest, known, ""))


def _unknown(found: Any, known: Any, path: str) -> Iterator[str]:
    if isinstance(known, list) and isinstance(found, list):
        for index, item in enumerate(found):
            yield from _unknown(item, known[0], f"{path}[{index}]")
    elif isinstance(known, Mapping) and isinstance(found, Mapping):
        for key, value in found.items():
            below = f"{path}.{key}".removeprefix(".")
            if key in known or "*" in known:
                yield from _unknown(value, known.get(key, known.get("*")), below)
            else:
                yield below
    elif known is not None or isinstance(found, (Mapping, list)):
        yield path


def _header(description: KubernetesCluster, kind: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name, "namespace": description.namespace, "labels": {"app": "rocore-tune"}},
    }


def _cluster_spec(description: KubernetesCluster, ray_version: str) -> dict[str, Any]:
    return {
        "rayVersion": ray_version,
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {
            # Reached by port-forward alone; no trial runs beside the sweep's own process.
            "serviceType": "ClusterIP",
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
            "template": _template(description, description.head, "ray-head"),
        },
        "workerGroupSpecs": [
            {
                "groupName": name,
                "replicas": group.min_nodes,
                "minReplicas": group.min_nodes,
                "maxReplicas": group.max_nodes,
                "rayStartParams": {},
                "template": _template(description, group, "ray-worker"),
            }
            for name, group in description.groups.items()
        ],
    }


def _template(description: KubernetesCluster, group: PodGroup, container: str) -> dict[str, Any]:
    amounts: dict[str, Any] = {"cpu": f"{group.cpus:g}", "memory": f"{group.memory_gib:g}Gi"}
    if group.gpus:
        amounts["nvidia.com/gpu"] = group.gpus
    secret = {"secretKeyRef": {"name": description.token_secret, "key": "token"}}
    pod: dict[str, Any] = {
        "containers": [
            {
                "name": container,
                "image": description.image,
                "env": [
                    {"name": "RAY_AUTH_MODE", "value": "token"},
                    {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "120"},
                    {"name": "RAY_AUTH_TOKEN", "valueFrom": secret},
                ],
                "resources": {"requests": amounts, "limits": amounts},
                "volumeMounts": [{"name": "shared", "mountPath": description.shared}],
            }
        ],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": description.volume_claim}}],
    }
    if description.service_account is not None:
        pod["serviceAccountName"] = description.service_account
    if group.node_selector:
        pod["nodeSelector"] = dict(group.node_selector)
    return {"spec": pod}
