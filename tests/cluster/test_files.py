"""Rendered files: valid, complete, and without secrets."""

from pathlib import Path

import pytest
import yaml

from cluster.checks import check_files
from cluster.description import load_description
from cluster.files import rendered
from cluster.launcher import launcher_config
from cluster.ray_launcher import check_launcher_config
from cluster.sweep_line import SweepLine, sweep_name
from rocore.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"
REMOTE = ("ssh", "aws", "gcp", "kubernetes", "slurm")


def files_of(kind):
    description = load_description(str(CONFIGS / f"{kind}.yaml"))
    return rendered(description, SweepLine(Path("a.yaml"), f"{description.shared}/a"))


@pytest.mark.parametrize("kind", REMOTE)
def test_shipped_descriptions_render_files_that_pass_every_check(kind):
    check_files(files_of(kind))


@pytest.mark.parametrize("kind", ["ssh", "aws", "gcp"])
def test_launcher_files_keep_the_dashboard_on_loopback_and_ask_for_a_token(kind):
    tree = yaml.safe_load(files_of(kind)["cluster.yaml"])
    (head,), (worker,) = tree["head_start_ray_commands"], tree["worker_start_ray_commands"]
    assert "--dashboard-host=127.0.0.1" in head
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert tree["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


def test_launcher_file_of_an_exposed_cluster_says_so_to_ray():
    description = load_description(str(CONFIGS / "ssh.yaml"), {"expose": True})
    assert "--dashboard-host=0.0.0.0" in launcher_config(description)["head_start_ray_commands"][0]


def test_aws_file_has_spot_workers_with_bounds_and_a_head_on_demand_without_trials():
    tree = yaml.safe_load(files_of("aws")["cluster.yaml"])
    types = tree["available_node_types"]
    assert types["spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (types["spot"]["min_workers"], types["spot"]["max_workers"], tree["max_workers"]) == (0, 8, 9)
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert "--num-cpus=0" in tree["head_start_ray_commands"][0]


def test_gcp_file_names_accelerators_and_preemption():
    node = yaml.safe_load(files_of("gcp")["cluster.yaml"])["available_node_types"]["spot"]["node_config"]
    assert node["guestAccelerators"] == [{"acceleratorType": "nvidia-tesla-t4", "acceleratorCount": 1}]
    assert node["scheduling"]["preemptible"] is True


@pytest.mark.parametrize(
    "wrong", [{"max_workers": "many"}, {"provider": {}}, {"colour": "red"}, {"head_start_ray_commands": 3}]
)
def test_launcher_file_that_ray_would_refuse_is_refused(wrong):
    tree = yaml.safe_load(files_of("aws")["cluster.yaml"])
    with pytest.raises(ConfigError, match="Ray's launcher must accept the rendered file, but says"):
        check_launcher_config(tree | wrong)


def test_kubernetes_job_runs_the_sweep_on_the_cluster_that_it_describes():
    files = {name: yaml.safe_load(text) for name, text in files_of("kubernetes").items()}
    cluster, job = files["raycluster.yaml"], files["rayjob.yaml"]
    assert (cluster["apiVersion"], cluster["kind"], job["kind"]) == ("ray.io/v1", "RayCluster", "RayJob")
    assert "--out /mnt/rocore/a" in job["spec"]["entrypoint"]
    assert job["spec"]["entrypoint"].endswith("--continue'")
    name = sweep_name("/mnt/rocore/a")
    assert (job["metadata"]["name"], job["spec"]["jobId"]) == (name, f"{name}-1")
    for spec in (cluster["spec"], job["spec"]["rayClusterSpec"]):
        (group,) = spec["workerGroupSpecs"]
        assert (group["minReplicas"], group["maxReplicas"]) == (0, 8)
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 1}
    labels = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["metadata"]["labels"]
    assert labels == {"app": "rocore-tune", "rocore-tune/cluster": "kubernetes", "rocore-tune/sweep": name}


def test_kubernetes_asks_the_operator_for_a_token():
    files = {name: yaml.safe_load(text) for name, text in files_of("kubernetes").items()}
    for spec in (files["raycluster.yaml"]["spec"], files["rayjob.yaml"]["spec"]["rayClusterSpec"]):
        assert spec["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("kind", ["ssh", "aws", "gcp", "kubernetes"])
def test_sweeps_are_given_time_to_stop(kind):
    assert all("RAY_JOB_STOP_WAIT_TIME_S" in text for text in files_of(kind).values())


def test_slurm_job_writes_to_one_log_that_the_login_node_sees():
    script = files_of("slurm")["sweep.sbatch"]
    job = f"slurm_{sweep_name('/scratch/me/rocore/a')}"
    assert f"#SBATCH --job-name={job}\n" in script
    assert f"#SBATCH --output=/scratch/me/rocore/{job}.log\n#SBATCH --open-mode=append\n" in script


def test_slurm_script_that_the_shell_would_refuse_is_refused():
    description = load_description(str(CONFIGS / "slurm.yaml"), {"setup": ["if true; then"]})
    line = SweepLine(Path("a.yaml"), "/scratch/me/rocore/a")
    with pytest.raises(ConfigError, match=r"bash must accept sweep\.sbatch, but says"):
        check_files(rendered(description, line))


def test_slurm_job_without_a_sweep_is_refused():
    with pytest.raises(ConfigError, match="a Slurm job must run a sweep, but none is given"):
        rendered(load_description(str(CONFIGS / "slurm.yaml")), None)


@pytest.mark.parametrize("kind", REMOTE)
def test_rendered_files_hold_no_secret_of_the_environment(kind, monkeypatch, tmp_path):
    secrets = (
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "RAY_AUTH_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
    )
    for name in secrets:
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("s3cret")
    assert "s3cret" not in "".join(files_of(kind).values())
