"""What a cluster lacks before it can be started, found without touching it."""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from cluster.address import connect, is_loopback, split_address, split_jobs_url
from cluster.description import ClusterDescription, ExistingCluster, LaunchedCluster, SlurmCluster
from cluster.files import BATCH, LAUNCHER
from cluster.kuberay import wrong_fields
from cluster.launcher import TOKEN
from cluster.ray_launcher import check_launcher_config
from rocore.errors import ConfigError

ASKING = ("aiohttp", "aiohttp_cors", "opencensus", "virtualenv")
"""Modules of ray[default]."""
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
SHELL_ALONE = re.compile(r"(export|module|source|\.|ulimit|cd|conda activate)\s[^;&|]*")
"""Commands that change nothing but the shell that they run in."""


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
        elif wrong := wrong_fields(yaml.safe_load(text)):
            raise ConfigError(
                f"{name} must be what KubeRay publishes, but {'; '.join(wrong)}; please report it"
            )


def missing(description: ClusterDescription) -> list[str]:
    """Return what starting the cluster needs and this machine lacks, each with what to do."""
    return [*_tools(description), *_credentials(description), *_token(description)]


def warnings(description: ClusterDescription) -> list[str]:
    """Return what nobody should want without having thought about it, and which checks can't be made here."""
    if isinstance(description, LaunchedCluster):
        return list(_launched_warnings(description))
    if isinstance(description, SlurmCluster) and shutil.which("shellcheck") is None:
        return [
            f"the program shellcheck isn't on PATH, so that only the syntax of {BATCH} is checked; install it to have "
            "`setup` looked through, too"
        ]
    return list(_open_ways(description)) if isinstance(description, ExistingCluster) else []


def answers(description: ExistingCluster, *, timeout_s: float) -> list[str]:
    """Return what of an existing Ray answers.

    Raises:
        ClusterError: If something doesn't, or wants a token that this machine hasn't.
    """
    found = []
    if description.address is not None:
        connect(description.address, timeout_s=timeout_s)
        found.append(f"{description.address} answers")
    if description.jobs is not None:
        host, port = split_jobs_url(description.jobs)
        connect(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", timeout_s=timeout_s)
        found.append(f"{description.jobs} takes jobs: {_ray_there(description.jobs)}")
    return found


def _ray_there(url: str) -> str:
    from cluster.ray_jobs import Jobs
    from cluster.ray_launcher import ray_version

    there, here = Jobs(url).ray_version(), ray_version()
    return f"Ray {there}" + (f" (here it is {here})" if there != here else "")


def _launched_warnings(description: LaunchedCluster) -> Iterator[str]:
    if description.expose:
        yield (
            "`expose` lets the dashboard listen beyond its machine: whoever reaches it and has the token runs code "
            "there; prefer `ray dashboard`, which opens a tunnel"
        )
    for command in description.setup:
        if SHELL_ALONE.fullmatch(command.strip()):
            yield (
                f"{command!r} of `setup` changes its own shell alone, and Ray starts in another one; write it into "
                "~/.bashrc of the machines"
            )


def _open_ways(description: ExistingCluster) -> Iterator[str]:
    """Say what of an existing Ray can be overheard, or used by whoever reaches it."""
    open_ways = []
    if description.address is not None and not is_loopback(split_address(description.address)[0]):
        open_ways.append("address")
        if os.environ.get("RAY_USE_TLS", "0") in ("0", ""):
            yield (
                "`address` isn't on this machine and RAY_USE_TLS isn't 1: whoever is on the way reads what is sent, "
                "the token included; use it in a network that you trust, or `jobs` through a tunnel"
            )
    if description.jobs is not None and not is_loopback(split_jobs_url(description.jobs)[0]):
        open_ways.append("jobs")
        if description.jobs.startswith("http:"):
            yield (
                "`jobs` isn't on this machine and speaks plain http: whoever is on the way reads what is sent, the "
                "token included; open a tunnel (ssh -L 8265:127.0.0.1:8265 HEAD) and name http://127.0.0.1:8265, or "
                "use https"
            )
    if open_ways and os.environ.get("RAY_AUTH_MODE") != "token":
        yield (
            f"`{'` and `'.join(open_ways)}` can be reached from elsewhere and RAY_AUTH_MODE isn't token here: a Ray "
            "that takes work without a token runs code for whoever reaches it; start it with RAY_AUTH_MODE=token, and "
            "set that here, too"
        )


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
    if isinstance(description, ExistingCluster) and description.jobs is not None:
        lacking = [module for module in ASKING if importlib.util.find_spec(module) is None]
        if lacking:
            yield f"ray[default] with its {', '.join(lacking)}, for Ray Jobs; .venv/bin/pip install 'ray[default]'"


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
    if isinstance(description, ExistingCluster) and os.environ.get("RAY_AUTH_MODE") == "token":
        named = os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN
        if not os.environ.get("RAY_AUTH_TOKEN") and not Path(named).expanduser().is_file():
            yield f"Ray's authentication token: RAY_AUTH_MODE is token, but {named} isn't there; copy it from the head"
