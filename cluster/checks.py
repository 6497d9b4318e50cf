"""What a cluster lacks before it can be started, found without touching it."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from cluster.description import ClusterDescription, LaunchedCluster
from cluster.files import BATCH, LAUNCHER
from cluster.kuberay import unknown_fields
from cluster.launcher import TOKEN
from cluster.ray_launcher import check_launcher_config
from rocore.errors import ConfigError

TOOLS = {
    "ssh": ("ssh", "rsync"),
    "aws": ("ssh", "rsync"),
    "gcp": ("ssh", "rsync"),
    "kubernetes": ("kubectl",),
    "slurm": ("sbatch", "squeue", "scancel"),
}
LIBRARIES = {"aws": ("boto3", "boto3"), "gcp": ("googleapiclient", "google-api-python-client")}
"""Module and package that Ray's launcher needs."""
CREDENTIALS = {
    "aws": (("AWS_ACCESS_KEY_ID", "AWS_PROFILE"), ("~/.aws/credentials", "~/.aws/config")),
    "gcp": (
        ("GOOGLE_APPLICATION_CREDENTIALS",),
        ("~/.config/gcloud/application_default_credentials.json",),
    ),
    "kubernetes": (("KUBECONFIG",), ("~/.kube/config",)),
}
"""Environment variables and files, one of which names who one is."""


def check_files(files: Mapping[str, str]) -> None:
    """Validate rendered files.

    Raises:
        ConfigError: If Ray, KubeRay's published fields or the shell refuse one.
    """
    for name, text in files.items():
        if name == LAUNCHER:
            check_launcher_config(yaml.safe_load(text))
        elif name == BATCH:
            _check_script(text)
        elif unknown := unknown_fields(yaml.safe_load(text)):
            raise ConfigError(
                f"{name} must hold published fields of KubeRay alone, but holds {', '.join(unknown)}; please report it"
            )


def missing(description: ClusterDescription) -> list[str]:
    """Return what starting the cluster needs and this machine lacks, each with what to do."""
    return [*_tools(description), *_credentials(description), *_token(description)]


def warnings(description: ClusterDescription) -> list[str]:
    """Return what nobody should want without having thought about it."""
    if isinstance(description, LaunchedCluster) and description.expose:
        return [
            "`expose` lets the dashboard listen beyond its machine: whoever reaches it and has the token runs code "
            "there; prefer `ray dashboard`, which opens a tunnel"
        ]
    return []


def _check_script(text: str) -> None:
    commands = [["bash", "-n"]]
    if shutil.which("shellcheck"):
        commands.append(["shellcheck", "--severity=error"])
    with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        for command in commands:
            done = subprocess.run([*command, file.name], capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                said = (done.stderr or done.stdout).strip()
                raise ConfigError(
                    f"{command[0]} must accept {BATCH}, but says: {said}; correct the description's `setup`"
                )


def _tools(description: ClusterDescription) -> Iterator[str]:
    for tool in TOOLS.get(description.kind, ()):
        if shutil.which(tool) is None:
            yield f"the program {tool}, on PATH; install it"
    if description.kind in LIBRARIES:
        module, package = LIBRARIES[description.kind]
        if importlib.util.find_spec(module) is None:
            yield f"the Python package {package}, for Ray's launcher; .venv/bin/pip install {package}"


def _credentials(description: ClusterDescription) -> Iterator[str]:
    if description.kind not in CREDENTIALS:
        return
    variables, files = CREDENTIALS[description.kind]
    named = any(os.environ.get(variable) for variable in variables)
    if not named and not any(Path(file).expanduser().exists() for file in files):
        yield f"credentials: set {' or '.join(variables)}, or make {' or '.join(files)}"


def _token(description: ClusterDescription) -> Iterator[str]:
    if isinstance(description, LaunchedCluster) and not Path(TOKEN).expanduser().exists():
        yield f"Ray's authentication token {TOKEN}; run `ray get-auth-token --generate`"
