"""Manifests for KubeRay (ray.io/v1): a RayCluster, and a RayJob that runs one sweep on a cluster of its own."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.description import KubernetesCluster
from cluster.groups import PodGroup
from cluster.kubectl import CONTAINER, SWEEP, labels
from cluster.sweep_line import STOP_WAIT_S, SweepLine, remote_command, shared_path, sweep_name

API = "ray.io/v1"
STRING, NUMBER, FLAG, QUANTITY = "a string", "a number", "true or false", "a number or a string"
POD = {
    "serviceAccountName": STRING,
    "restartPolicy": STRING,
    "nodeSelector": {"*": STRING},
    "volumes": [{"name!": STRING, "persistentVolumeClaim": {"claimName!": STRING}}],
    "containers!": [
        {
            "name!": STRING,
            "image!": STRING,
            "env": [{"name!": STRING, "value": STRING}],
            "envFrom": [{"secretRef": {"name!": STRING}}],
            "resources": {"requests": {"*": QUANTITY}, "limits": {"*": QUANTITY}},
            "volumeMounts": [{"name!": STRING, "mountPath!": STRING}],
        }
    ],
}
TEMPLATE = {"metadata": {"labels": {"*": STRING}}, "spec!": POD}
START_PARAMS = {"*": STRING}
CLUSTER_SPEC = {
    "rayVersion": STRING,
    "authOptions": {"mode": STRING},
    "enableInTreeAutoscaling": FLAG,
    "headGroupSpec!": {"serviceType": STRING, "rayStartParams": START_PARAMS, "template!": TEMPLATE},
    "workerGroupSpecs": [
        {
            "groupName!": STRING,
            "replicas": NUMBER,
            "minReplicas!": NUMBER,
            "maxReplicas!": NUMBER,
            "rayStartParams": START_PARAMS,
            "template!": TEMPLATE,
        }
    ],
}
HEADER = {
    "apiVersion!": STRING,
    "kind!": STRING,
    "metadata!": {"name!": STRING, "namespace": STRING, "labels": {"*": STRING}},
}
FIELDS: Mapping[str, Any] = {
    "RayCluster": {**HEADER, "spec!": CLUSTER_SPEC},
    "RayJob": {
        **HEADER,
        "spec!": {
            "entrypoint!": STRING,
            "jobId": STRING,
            "shutdownAfterJobFinishes": FLAG,
            "ttlSecondsAfterFinished": NUMBER,
            "backoffLimit": NUMBER,
            "submissionMode": STRING,
            "rayClusterSpec!": CLUSTER_SPEC,
        },
    },
}
"""The fields of KubeRay's published API that our manifests have, with their types; "!" marks one that must be there (in
our manifests, which select no running cluster), "*" is any key, items of a list are alike. Compared by hand with its
reference (docs/reference/api.md there); `authOptions` came with KubeRay 1.5.1."""


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


def wrong_fields(manifest: Mapping[str, Any]) -> list[str]:
    """Return what KubeRay would drop or refuse of a manifest: unknown fields, missing ones, values of another type."""
    known = FIELDS.get(str(manifest.get("kind")))
    return (
        [f"kind {manifest.get('kind')} isn't known"] if known is None else list(_wrong(manifest, known, ""))
    )


def _wrong(found: Any, known: Any, path: str) -> Iterator[str]:
    if isinstance(known, str):
        if not _is_plain(found, known):
            yield f"{path} isn't {known}: {found!r}"
    elif isinstance(known, list):
        if not isinstance(found, list):
            yield f"{path} isn't a list: {found!r}"
        else:
            for index, item in enumerate(found):
                yield from _wrong(item, known[0], f"{path}[{index}]")
    elif not isinstance(found, Mapping):
        yield f"{path} isn't a map: {found!r}"
    else:
        yield from _wrong_keys(found, known, path)


def _wrong_keys(found: Mapping[str, Any], known: Mapping[str, Any], path: str) -> Iterator[str]:
    types = {key.removesuffix("!"): below for key, below in known.items()}
    for key, value in found.items():
        below = f"{path}.{key}".removeprefix(".")
        if key in types or "*" in types:
            yield from _wrong(value, types.get(key, types.get("*")), below)
        else:
            yield f"{below} isn't known"
    for key in known:
        if key.endswith("!") and key[:-1] not in found:
            yield f"{path}.{key[:-1]} isn't there".removeprefix(".")


def _is_plain(found: Any, wanted: str) -> bool:
    if isinstance(found, bool) or wanted == FLAG:
        return isinstance(found, bool) and wanted == FLAG
    return (wanted != STRING and isinstance(found, int | float)) or (
        wanted != NUMBER and isinstance(found, str)
    )


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
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", **_custom(description.head)},
            "template": _template(description, description.head, CONTAINER, pod_labels),
        },
        "workerGroupSpecs": [
            {
                "groupName": name,
                "replicas": group.min_nodes,
                "minReplicas": group.min_nodes,
                "maxReplicas": group.max_nodes,
                "rayStartParams": _custom(group),
                "template": _template(description, group, "ray-worker", pod_labels),
            }
            for name, group in description.groups.items()
        ],
    }


def _custom(group: PodGroup) -> dict[str, str]:
    """Return custom resources as Ray's autoscaler and the operator's shell read them: JSON, escaped and in quotes."""
    if not group.resources:
        return {}
    inner = json.dumps(group.resources).replace('"', '\\"')
    return {"resources": f'"{inner}"'}


def _template(
    description: KubernetesCluster, group: PodGroup, container: str, pod_labels: Mapping[str, str]
) -> dict[str, Any]:
    amounts: dict[str, Any] = {"cpu": f"{group.cpus:g}", "memory": f"{group.memory_gib:g}Gi"}
    if group.gpus:
        amounts["nvidia.com/gpu"] = group.gpus
    main: dict[str, Any] = {
        "name": container,
        "image": description.image,
        "env": [{"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(STOP_WAIT_S)}],
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": [{"name": "shared", "mountPath": description.shared}],
    }
    if description.env_from_secret is not None:
        main["envFrom"] = [{"secretRef": {"name": description.env_from_secret}}]
    pod: dict[str, Any] = {
        "containers": [main],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": description.volume_claim}}],
    }
    if description.service_account is not None:
        pod["serviceAccountName"] = description.service_account
    if group.node_selector:
        pod["nodeSelector"] = dict(group.node_selector)
    return {"metadata": {"labels": dict(pod_labels)}, "spec": pod}
