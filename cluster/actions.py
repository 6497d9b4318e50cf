"""Which command of which tool does what to a cluster; nothing is run here."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.description import (
    ClusterDescription,
    ExistingCluster,
    KubernetesCluster,
    LaunchedCluster,
    RemoteCluster,
    SlurmCluster,
)
from cluster.files import BATCH, CLUSTER, JOB, LAUNCHER
from cluster.sweep_line import (
    SweepLine,
    is_url,
    job_command,
    job_name,
    local_command,
    remote_command,
    shared_place,
)
from rocore.errors import ConfigError

Command = list[str]
RAY = str(Path(sys.executable).with_name("ray"))
ROCORE = [sys.executable, "-m", "rocore"]
JOBS = "http://127.0.0.1:8265"
"""Where the jobs of a launched cluster are submitted, on its head."""


@dataclass(frozen=True)
class Actions:
    """The commands for one cluster, whose rendered files lie in `folder`."""

    description: ClusterDescription
    folder: Path

    def up(self) -> Command:
        """Start the cluster."""
        if isinstance(self.description, LaunchedCluster):
            return [RAY, "up", "--yes", self._file(LAUNCHER)]
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("apply", "--filename", self._file(CLUSTER))
        raise self._nothing("start")

    def down(self) -> Command:
        """Give the cluster back."""
        if isinstance(self.description, LaunchedCluster):
            return [RAY, "down", "--yes", self._file(LAUNCHER)]
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("delete", "--ignore-not-found", "--filename", self._file(CLUSTER))
        if isinstance(self.description, SlurmCluster):
            return ["scancel", f"--name={self.description.name}"]
        raise self._nothing("give back")

    def submit(self, line: SweepLine) -> Command:
        """Begin a sweep, or go on with it; on a remote cluster it runs on after the command has ended."""
        if isinstance(self.description, LaunchedCluster):
            out = shared_place(self.description, line.out)
            return self._on_head("submit", out, remote_command(self.description, line))
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("apply", "--filename", self._file(JOB))
        if isinstance(self.description, SlurmCluster):
            return ["sbatch", self._file(BATCH)]
        if jobs := self._jobs():
            command = job_command(jobs, line)
            assert line.out is not None
            taken = [] if jobs.project else ["--package", str(Path.cwd()), "--packages", jobs.packages]
            return [*self._job_tool("submit", line.out), command, *taken]
        return local_command(self.description, line)

    def status(self, out: Path | str) -> Command:
        """Show how a sweep stands; where its directory can't be read from here, how its job stands."""
        if isinstance(self.description, LaunchedCluster):
            return self._on_head(
                "status", out, after=f"{self._rocore()} sweep status {shlex.quote(str(out))}"
            )
        if self._jobs() and not is_url(out) and not Path(out).is_dir():
            return self._job_tool("status", out)
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("get", "rayjobs,rayclusters,pods", "--selector=app=rocore-tune")
        if isinstance(self.description, SlurmCluster):
            return ["squeue", f"--name={self.description.name}"]
        return [*ROCORE, "sweep", "status", str(out)]

    def logs(self, out: Path | str) -> Command:
        """Follow what a sweep prints."""
        if isinstance(self.description, LaunchedCluster):
            return self._on_head("logs", out)
        if self._jobs():
            return self._job_tool("logs", out)
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl(
                "logs", "--follow", "--tail=200", f"--selector=ray.io/originated-from-cr-name={self._job()}"
            )
        if isinstance(self.description, SlurmCluster):
            newest = f"$(ls -t {shlex.quote(self.description.name)}-*.log | head -n 1)"
            return ["bash", "-c", f'exec tail -n 200 -F "{newest}"']
        raise ConfigError(
            f"only the logs of jobs are followed, but a sweep on {self.description.name} runs in the foreground; read "
            "what it printed there"
        )

    def stop(self, out: Path | str) -> Command:
        """Stop a sweep cleanly, to be gone on with."""
        if isinstance(self.description, LaunchedCluster):
            return self._on_head("stop", out)
        if self._jobs():
            return self._job_tool("stop", out)
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("delete", "rayjob", self._job())
        if isinstance(self.description, SlurmCluster):
            return ["scancel", "--signal=TERM", "--batch", f"--name={self.description.name}"]
        raise ConfigError(
            f"only sweeps on remote clusters are stopped this way, but `kind` is {self.description.kind}; press "
            "Ctrl-C where the sweep runs"
        )

    def collect(self, source: Path | str, target: Path) -> Command:
        """Copy a sweep directory here and check every file; repeated, it copies what has changed."""
        if isinstance(self.description, LaunchedCluster) and not is_url(source):
            checksums = self.folder / "manifest.json"
            read = [
                RAY,
                "exec",
                self._file(LAUNCHER),
                f"{self._rocore()} sweep manifest {shlex.quote(str(source))}",
            ]
            copy = [RAY, "rsync-down", self._file(LAUNCHER), f"{source}/", str(target)]
            check = [*ROCORE, "sweep", "manifest", str(target), "--check", str(checksums)]
            # What the launcher itself says stands around the list.
            only_list = f"sed -n '/^{{/,/^}}/p' > {shlex.quote(str(checksums))}"
            return [
                "bash",
                "-c",
                f"{shlex.join(read)} | {only_list} && {shlex.join(copy)} && {shlex.join(check)}",
            ]
        if not is_url(source) and not Path(source).is_dir():
            raise ConfigError(
                f"a sweep is copied from a URL or from a folder that this machine sees, but {source} is neither; run "
                "`rocore sweep collect` on a machine that sees it"
            )
        return [*ROCORE, "sweep", "collect", str(source), "--to", str(target)]

    def _jobs(self) -> ExistingCluster | None:
        """Return the description, where sweeps are jobs of somebody else's Ray."""
        found = self.description if isinstance(self.description, ExistingCluster) else None
        return found if found is not None and found.jobs is not None else None

    def _job_tool(self, verb: str, out: Path | str) -> Command:
        jobs = self._jobs()
        assert jobs is not None
        return [sys.executable, "-m", "cluster.ray_jobs", verb, str(jobs.jobs), job_name(out)]

    def _on_head(self, verb: str, out: Path | str, *arguments: str, after: str = "") -> Command:
        """Return the command that runs the job tool on a launched cluster's head, where the jobs' port is."""
        assert isinstance(self.description, LaunchedCluster)
        python = f"{self.description.project}/.venv/bin/python"
        tool = shlex.join([python, "-m", "cluster.ray_jobs", verb, JOBS, job_name(out), *arguments])
        script = f"cd {shlex.quote(self.description.project)} && export RAY_AUTH_MODE=token && {tool}"
        return [RAY, "exec", self._file(LAUNCHER), f"{script} && {after}" if after else script]

    def _kubectl(self, *arguments: str) -> Command:
        assert isinstance(self.description, KubernetesCluster)
        return ["kubectl", "--namespace", self.description.namespace, *arguments]

    def _job(self) -> str:
        return f"{self.description.name}-sweep"

    def _rocore(self) -> str:
        assert isinstance(self.description, RemoteCluster)
        return shlex.quote(f"{self.description.project}/.venv/bin/rocore")

    def _file(self, name: str) -> str:
        return str(self.folder / name)

    def _nothing(self, what: str) -> ConfigError:
        return ConfigError(
            f"there must be something to {what}, but a {self.description.kind} cluster comes with its sweep, or is "
            "somebody else's; go on with `rocore cluster submit`"
        )
