"""What a cluster lacks, and what of it is open to others."""

from pathlib import Path

import pytest

from cluster.checks import answers, missing, warnings
from cluster.description import ExistingCluster, load_description

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"


def existing(**keys):
    return ExistingCluster.model_validate({"name": "mine", "kind": "existing", **keys})


def test_missing_names_tools_libraries_credentials_and_token(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("cluster.checks.importlib.util.find_spec", lambda _: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    lacking = missing(load_description(str(CONFIGS / "aws.yaml")))
    for part, found in zip(("ssh", "rsync", "boto3", "AWS_PROFILE", "get-auth-token"), lacking, strict=True):
        assert part in found


def test_missing_where_everything_is_there_is_empty(monkeypatch, tmp_path):
    (tmp_path / "kubectl").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", "somewhere")
    assert missing(load_description(str(CONFIGS / "kubernetes.yaml"))) == []


def test_missing_names_what_ray_jobs_need(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("cluster.checks.importlib.util.find_spec", lambda _: None)
    library, token = missing(existing(jobs="http://127.0.0.1:8265"))
    assert "ray[default] with its aiohttp" in library
    assert "RAY_AUTH_MODE is token, but ~/.ray/auth_token isn't there" in token


@pytest.mark.parametrize("source", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_missing_where_the_token_is_there_is_empty(monkeypatch, tmp_path, source):
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv(source, str(tmp_path / "token"))
    assert missing(existing(jobs="http://127.0.0.1:8265")) == []


def test_modules_of_ray_jobs_are_installed():
    assert missing(existing(jobs="http://127.0.0.1:8265")) == []


@pytest.mark.parametrize(
    ("keys", "mode", "tls", "said"),
    [
        ({"address": "127.0.0.1:6379", "jobs": "http://localhost:8265"}, "", "", []),
        ({"jobs": "https://head:8265"}, "token", "", []),
        ({"jobs": "http://head:8265"}, "token", "", ["`jobs` isn't on this machine and speaks plain http"]),
        (
            {"jobs": "http://10.0.0.5:8265"},
            "",
            "",
            ["speaks plain http", "`jobs` can be reached from elsewhere and RAY_AUTH_MODE isn't token"],
        ),
        ({"address": "head:6379"}, "token", "1", []),
        ({"address": "head:6379"}, "token", "", ["`address` isn't on this machine and RAY_USE_TLS isn't 1"]),
        (
            {"address": "head:6379", "jobs": "https://head:1"},
            "disabled",
            "1",
            ["`address` and `jobs` can be reached from elsewhere"],
        ),
    ],
)
def test_existing_ray_that_others_reach_or_overhear_is_warned_of(monkeypatch, keys, mode, tls, said):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.setenv("RAY_USE_TLS", tls)
    found = warnings(existing(**keys))
    assert len(found) == len(said)
    for warning, part in zip(found, said, strict=True):
        assert part in warning


def test_slurm_where_shellcheck_is_absent_is_a_note_and_nothing_that_is_missing(monkeypatch, tmp_path):
    for tool in ("sbatch", "squeue", "scancel"):
        (tmp_path / tool).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    description = load_description(str(CONFIGS / "slurm.yaml"))
    assert missing(description) == []
    (note,) = warnings(description)
    assert "shellcheck isn't on PATH" in note
    (tmp_path / "shellcheck").touch(mode=0o755)
    assert warnings(description) == []


@pytest.mark.parametrize(
    ("command", "num_warnings"),
    [
        ("export A=1", 1),
        ("module load cuda", 1),
        ("cd /opt/rocore-tune && make setup", 0),
        ("sudo mount a:/b /c", 0),
    ],
)
def test_setup_of_launched_machines_that_does_not_reach_ray_is_warned_of(command, num_warnings):
    found = warnings(load_description(str(CONFIGS / "ssh.yaml"), {"setup": [command]}))
    assert len(found) == num_warnings
    assert all("Ray starts in another one; write it into ~/.bashrc" in warning for warning in found)


def test_answers_says_which_ray_takes_jobs(monkeypatch):
    asked = []
    monkeypatch.setattr("cluster.checks.connect", lambda address, timeout_s: asked.append(address))
    monkeypatch.setattr("cluster.checks._ray_there", lambda url: "Ray 2.60.0")
    found = answers(existing(address="head:6379", jobs="http://[::1]:8265"), timeout_s=1)
    assert found == ["head:6379 answers", "http://[::1]:8265 takes jobs: Ray 2.60.0"]
    assert asked == ["head:6379", "[::1]:8265"]
