"""Which command of which tool does what to a cluster; nothing is run here."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.description import (
    ClusterDescription,
    KubernetesCluster,
    LaunchedCluster,
    RemoteCluster,
    SlurmCluster,
)
from cluster.files import BATCH, CLUSTER, JOB, LAUNCHER
from cluster.sweep_line import SweepLine, local_command, remote_command, shared_path
from rocore.errors import ConfigError

Command = list[str]
RAY = str(Path(sys.executable).with_name("ray"))


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
            log = shlex.quote(f"{shared_path(self.description, line.out)}.log")
            script = f"mkdir -p $(dirname {log}) && ({remote_command(self.description, line)}) >> {log} 2>&1"
            return [RAY, "exec", "--tmux", self._file(LAUNCHER), script]
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("apply", "--filename", self._file(JOB))
        if isinstance(self.description, SlurmCluster):
            return ["sbatch", self._file(BATCH)]
        return local_command(self.description, line)

    def status(self, out: Path) -> Command:
        """Show how a sweep stands; where its directory can't be read from here, how its job stands."""
        if isinstance(self.description, LaunchedCluster):
            return self._exec(f"{self._rocore()} sweep status {shlex.quote(str(out))}")
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("get", "rayjobs,rayclusters,pods", "--selector=app=rocore-tune")
        if isinstance(self.description, SlurmCluster):
            return ["squeue", f"--name={self.description.name}"]
        return [sys.executable, "-m", "rocore", "sweep", "status", str(out)]

    def logs(self, out: Path) -> Command:
        """Follow what a sweep prints."""
        if isinstance(self.description, LaunchedCluster):
            return self._exec(f"tail -n 200 -F {shlex.quote(str(out))}.log")
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl(
                "logs", "--follow", "--tail=200", f"--selector=ray.io/originated-from-cr-name={self._job()}"
            )
        raise ConfigError(
            f"only the logs of ssh, aws, gcp and kubernetes are fetched, but `kind` is {self.description.kind}; "
            "read what the sweep printed where it was started (slurm: NAME-JOBID.log)"
        )

    def stop(self, out: Path) -> Command:
        """Stop a sweep cleanly, to be gone on with."""
        if isinstance(self.description, LaunchedCluster):
            pattern = shlex.quote(f"rocore sweep .*{out}")
            return self._exec(f"pkill -TERM -o -f {pattern}")
        if isinstance(self.description, KubernetesCluster):
            return self._kubectl("delete", "rayjob", self._job())
        if isinstance(self.description, SlurmCluster):
            return ["scancel", "--signal=TERM", "--batch", f"--name={self.description.name}"]
        raise ConfigError(
            f"only sweeps on remote clusters are stopped this way, but `kind` is {self.description.kind}; press "
            "Ctrl-C where the sweep runs"
        )

    def collect(self, source: Path, target: Path) -> Command:
        """Copy a sweep directory from the shared folder; repeated, it copies what has changed."""
        if isinstance(self.description, LaunchedCluster):
            return [RAY, "rsync-down", self._file(LAUNCHER), f"{source}/", str(target)]
        raise ConfigError(
            f"only ssh, aws and gcp clusters are copied from, but `kind` is {self.description.kind}; copy {source} "
            "from a machine that sees it, for example with `rsync --archive --checksum`"
        )

    def _exec(self, script: str) -> Command:
        return [RAY, "exec", self._file(LAUNCHER), script]

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
