"""Manifests for KubeRay (ray.io/v1): a RayCluster, and a RayJob that runs one sweep on a cluster of its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.description import KubernetesCluster, PodGroup
from cluster.kubectl import CONTAINER, SWEEP, labels
from cluster.sweep_line import STOP_WAIT_S, SweepLine, remote_command, shared_path, sweep_name

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
            "env": [{"name": None, "value": None}],
            "resources": {"requests": {"*": None}, "limits": {"*": None}},
            "volumeMounts": [{"name": None, "mountPath": None}],
        }
    ],
}
TEMPLATE = {"metadata": {"labels": {"*": None}}, "spec": POD}
CLUSTER_SPEC = {
    "rayVersion": None,
    "authOptions": {"mode": None},
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
            "jobId": None,
            "shutdownAfterJobFinishes": None,
            "ttlSecondsAfterFinished": None,
            "backoffLimit": None,
            "submissionMode": None,
            "rayClusterSpec": CLUSTER_SPEC,
        },
    },
}
"""The fields of KubeRay's published API that our manifests have; None is a plain value, "*" any key, items of a list
are alike. Compared by hand with its reference (docs/reference/api.md there); `authOptions` came with KubeRay 1.5.1."""


def ray_cluster(description: KubernetesCluster, ray_version: str) -> dict[str, Any]:
    """Return a cluster that stays until it is deleted."""
    return {
        **_header(description, "RayCluster", description.name.lower()),
        "spec": _cluster_spec(description, ray_version),
    }


def ray_job(description: KubernetesCluster, ray_version: str, line: SweepLine) -> dict[str, Any]:
    """Return a job that starts a cluster, runs a sweep on it, or goes on with it, and gives the cluster back.

    Raises:
        ConfigError: If a path of the sweep isn't one that every pod sees.
    """
    name = sweep_name(shared_path(description, line.out))
    command = remote_command(description, line).replace("'", "'\"'\"'")
    return {
        **_header(description, "RayJob", name),
        "spec": {
            "entrypoint": f"bash -c '{command}'",
            "jobId": f"{name}-1",  # a cluster of its own knows no other attempt
            "shutdownAfterJobFinishes": True,
            "backoffLimit": 2,  # each try goes on with the sweep
            "rayClusterSpec": _cluster_spec(description, ray_version, {SWEEP: name}),
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
        "metadata": {"name": name, "namespace": description.namespace, "labels": labels(description)},
    }


def _cluster_spec(
    description: KubernetesCluster, ray_version: str, more_labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    pod_labels = {**labels(description), **(more_labels or {})}
    return {
        "rayVersion": ray_version,
        # The operator makes a secret with a token, and hands it to every container, the submitter's and the
        # autoscaler's included; it needs the token itself to ask how the job stands.
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {
            # Reached by port-forward alone; no trial runs beside the sweep's own process.
            "serviceType": "ClusterIP",
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
            "template": _template(description, description.head, CONTAINER, pod_labels),
        },
        "workerGroupSpecs": [
            {
                "groupName": name,
                "replicas": group.min_nodes,
                "minReplicas": group.min_nodes,
                "maxReplicas": group.max_nodes,
                "rayStartParams": {},
                "template": _template(description, group, "ray-worker", pod_labels),
            }
            for name, group in description.groups.items()
        ],
    }


def _template(
    description: KubernetesCluster, group: PodGroup, container: str, pod_labels: Mapping[str, str]
) -> dict[str, Any]:
    amounts: dict[str, Any] = {"cpu": f"{group.cpus:g}", "memory": f"{group.memory_gib:g}Gi"}
    if group.gpus:
        amounts["nvidia.com/gpu"] = group.gpus
    pod: dict[str, Any] = {
        "containers": [
            {
                "name": container,
                "image": description.image,
                "env": [{"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(STOP_WAIT_S)}],
                "resources": {"requests": amounts, "limits": dict(amounts)},
                "volumeMounts": [{"name": "shared", "mountPath": description.shared}],
            }
        ],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": description.volume_claim}}],
    }
    if description.service_account is not None:
        pod["serviceAccountName"] = description.service_account
    if group.node_selector:
        pod["nodeSelector"] = dict(group.node_selector)
    return {"metadata": {"labels": dict(pod_labels)}, "spec": pod}
