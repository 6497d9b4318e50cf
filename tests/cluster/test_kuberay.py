"""Manifests for KubeRay: what they say of pods, and which ones are refused."""

import copy
from pathlib import Path

import pytest
import yaml

from cluster.checks import check_files
from cluster.description import load_description
from cluster.kuberay import ray_cluster, ray_job, wrong_fields
from cluster.sweep_line import SweepLine
from rocore.errors import ConfigError

KUBERNETES = str(Path(__file__).parents[2] / "configs" / "cluster" / "kubernetes.yaml")
LINE = SweepLine(Path("a.yaml"), "/mnt/rocore/a")


def manifest(**keys):
    return ray_cluster(load_description(KUBERNETES, keys), "2.60.0")


def containers(tree):
    spec = tree["spec"].get("rayClusterSpec", tree["spec"])
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"]["containers"][0] for group in groups]


def changed(tree, path, value):
    """Return a copy with one value changed; None takes its key away."""
    tree = copy.deepcopy(tree)
    *above, last = path
    inner = tree
    for key in above:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return tree


def test_pods_take_their_environment_from_the_named_secret():
    description = load_description(KUBERNETES, {"env_from_secret": "rocore-store"})
    job = ray_job(description, "2.60.0", LINE)
    for container in (*containers(job), *containers(ray_cluster(description, "2.60.0"))):
        assert container["envFrom"] == [{"secretRef": {"name": "rocore-store"}}]
    assert wrong_fields(job) == []
    assert all("envFrom" not in container for container in containers(manifest()))


def test_pods_with_custom_resources_say_so_as_the_autoscaler_reads_it():
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _get_ray_resources_from_group_spec,
    )

    groups = {"big": {"cpus": 4, "memory_gib": 16, "resources": {"big_disk": 2}}}
    (group,) = manifest(groups=groups)["spec"]["workerGroupSpecs"]
    assert group["rayStartParams"] == {"resources": '"{\\"big_disk\\": 2}"'}
    found = _get_ray_resources_from_group_spec(group, is_head=False)
    assert (found["CPU"], found["big_disk"]) == (4, 2)


WORKER = ("spec", "workerGroupSpecs", 0)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("specs",), {}, "specs isn't known"),
        ((*WORKER, "maxReplica"), 3, "spec.workerGroupSpecs[0].maxReplica isn't known"),
        (("spec", "rayVersion"), {"a": 1}, "spec.rayVersion isn't a string: {'a': 1}"),
        ((*WORKER, "replicas"), "x", "spec.workerGroupSpecs[0].replicas isn't a number: 'x'"),
        ((*WORKER, "replicas"), True, "spec.workerGroupSpecs[0].replicas isn't a number: True"),
        ((*WORKER, "maxReplicas"), None, "spec.workerGroupSpecs[0].maxReplicas isn't there"),
        ((*WORKER, "rayStartParams"), {"num-cpus": 0}, "rayStartParams.num-cpus isn't a string: 0"),
        (("spec", "workerGroupSpecs"), {}, "spec.workerGroupSpecs isn't a list: {}"),
        (("spec", "headGroupSpec"), [], "spec.headGroupSpec isn't a map: []"),
        (("spec", "headGroupSpec"), None, "spec.headGroupSpec isn't there"),
        (("spec", "enableInTreeAutoscaling"), "yes", "isn't true or false: 'yes'"),
        (("spec",), None, "spec isn't there"),
        (("kind",), "RayService", "kind RayService isn't known"),
    ],
)
def test_manifest_that_kuberay_would_drop_or_refuse_says_what_is_wrong(path, value, said):
    (found,) = wrong_fields(changed(manifest(), path, value))
    assert said in found


def test_job_without_a_cluster_of_its_own_is_refused():
    job = ray_job(load_description(KUBERNETES), "2.60.0", LINE)
    text = yaml.safe_dump(changed(job, ("spec", "rayClusterSpec"), None))
    with pytest.raises(ConfigError, match=r"what KubeRay publishes, but spec\.rayClusterSpec isn't there"):
        check_files({"rayjob.yaml": text})
