"""Which commands of which tools do what to a cluster, in their order; nothing is run here."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.collection import Source
from cluster.description import (
    ClusterDescription,
    ExistingCluster,
    JobsCluster,
    KubernetesCluster,
    LaunchedCluster,
    SlurmCluster,
    SshCluster,
)
from cluster.files import BATCH, CLUSTER, JOB, LAUNCHER
from cluster.kubectl import in_head, kubectl, selector, stop_script, submit_script
from cluster.places import runs_elsewhere
from cluster.slurm import job_name, log_file
from cluster.sources import FolderSource, HeadSource, PodSource
from cluster.sweep_line import SweepLine, local_command, remote_command, rocore_program, sweep_name
from rocore.errors import ConfigError

Command = list[str]
RAY = str(Path(sys.executable).with_name("ray"))
HEAD_FOLDER = ".ray"
"""Where a package lies on a launched head, below its user's home; Ray's token is there, too."""


@dataclass(frozen=True)
class Actions:
    """The commands for one cluster.

    Attributes:
        description: The cluster.
        folder: Holds its rendered files.
        package: The zip of the project, where it travels.
    """

    description: ClusterDescription
    folder: Path
    package: Path | None = None

    def up(self) -> list[Command]:
        """Start the cluster."""
        if isinstance(self.description, LaunchedCluster):
            return [[RAY, "up", "--yes", self._file(LAUNCHER)]]
        if isinstance(self.description, KubernetesCluster):
            return [kubectl(self.description, "apply", "--filename", self._file(CLUSTER))]
        raise self._nothing("start")

    def down(self) -> list[Command]:
        """Give the cluster back."""
        if isinstance(self.description, LaunchedCluster):
            down = [RAY, "down", "--yes", self._file(LAUNCHER)]
            # Machines of one's own stay on, and Ray's launcher looks for `ray` on the login's PATH alone. Workers end
            # without their head by themselves.
            stop = f"{self._on_path()} && ray stop"
            own = isinstance(self.description, SshCluster)
            return [[RAY, "exec", self._file(LAUNCHER), stop], down] if own else [down]
        if isinstance(self.description, KubernetesCluster):
            sweeps = ("rayjobs", f"--selector={selector(self.description)}")
            return [
                kubectl(self.description, "delete", *sweeps),
                kubectl(self.description, "delete", "--ignore-not-found", "--filename", self._file(CLUSTER)),
            ]
        if isinstance(self.description, SlurmCluster):
            ours = f"awk '$2 ~ /^{job_name(self.description)}/ {{print $1}}'"
            return [_shell(f"squeue --me --noheader --format='%i %j' | {ours} | xargs -r scancel")]
        raise self._nothing("give back")

    def submit(self, line: SweepLine) -> list[Command]:
        """Begin a sweep, or go on with it; away from here it runs on after the commands have ended."""
        description = self.description
        if isinstance(description, KubernetesCluster):
            assert line.out is not None
            return [_shell(submit_script(description, line.out, self._file(JOB)))]
        if isinstance(description, SlurmCluster):
            assert line.out is not None
            job = job_name(description, line.out)
            return [
                _shell(
                    f'if [ -n "$(squeue --me --noheader --name={job})" ]; then '
                    f'echo "error: a sweep must not run twice, but the job {job} is queued or runs; follow it with '
                    "'rocore cluster logs', or stop it\" >&2; exit 4; fi; "
                    f"exec sbatch {shlex.quote(self._file(BATCH))}"
                )
            ]
        if isinstance(description, JobsCluster) and runs_elsewhere(description):
            command = remote_command(description, line)
            assert line.out is not None
            return self._job("submit", line.out, command)
        return [local_command(description, line)]

    def status(self, out: str) -> list[Command]:
        """Show how the job of a sweep and the sweep itself stand."""
        description = self.description
        here = [sys.executable, "-m", "rocore", "sweep", "status", out]
        if isinstance(description, KubernetesCluster):
            objects = kubectl(
                description, "get", "rayjobs,rayclusters,pods", f"--selector={selector(description)}"
            )
            ask = f"{rocore_program(description)} sweep status {shlex.quote(out)}"
            return [objects, _shell(in_head(description, ask))]
        if isinstance(description, SlurmCluster):
            return [["squeue", "--me", f"--name={job_name(description, out)}"], here]
        if isinstance(description, JobsCluster) and runs_elsewhere(description):
            ask = f"{rocore_program(description)} sweep status {shlex.quote(out)}"
            return self._job("status", out, ask)
        return [here]

    def logs(self, out: str) -> list[Command]:
        """Follow what a sweep prints."""
        description = self.description
        if isinstance(description, KubernetesCluster):
            return [kubectl(description, "logs", "--follow", "--tail=-1", f"job/{sweep_name(out)}")]
        if isinstance(description, SlurmCluster):
            return [["tail", "-n", "200", "-F", log_file(description, out)]]
        if runs_elsewhere(description):
            return self._job("logs", out)
        raise ConfigError(
            f"only what runs elsewhere has logs to fetch, but on {description.name} ({description.kind}) a sweep runs "
            "in the foreground; read what it printed where it was started"
        )

    def stop(self, out: str) -> list[Command]:
        """Stop a sweep cleanly, to be gone on with."""
        description = self.description
        if isinstance(description, KubernetesCluster):
            return [_shell(stop_script(description, out))]
        if isinstance(description, SlurmCluster):
            # A signal leaves a job alone that waits in the queue.
            job = f"--name={job_name(description, out)}"
            return [_shell(f"scancel --state=PENDING {job}; exec scancel --signal=TERM --batch {job}")]
        if runs_elsewhere(description):
            return self._job("stop", out)
        raise ConfigError(
            f"only what runs elsewhere is stopped this way, but on {description.name} ({description.kind}) a sweep "
            "runs in the foreground; press Ctrl-C there"
        )

    def source(self, out: str) -> Source:
        """Return where a sweep directory is collected from.

        Raises:
            ConfigError: If this machine has no way to it.
        """
        description = self.description
        if isinstance(description, LaunchedCluster):
            copy = [RAY, "rsync-down", self._file(LAUNCHER), f"{out.rstrip('/')}/"]
            return HeadSource([RAY, "exec", self._file(LAUNCHER)], copy, out)
        if isinstance(description, KubernetesCluster):
            return PodSource(["bash", "-c", in_head(description, None), "bash"], out)
        if Path(out).is_dir():
            return FolderSource(Path(out))
        raise ConfigError(
            f"the sweep directory must be a URL or a folder that this machine sees, but {out} isn't; collect on a "
            "machine that does, for example a login node"
        )

    def _job(self, verb: str, out: str, command: str | None = None) -> list[Command]:
        """Return what speaks to the job server, from here or on the head; a command for a shell comes last."""
        description = self.description
        assert isinstance(description, ExistingCluster | LaunchedCluster)
        launched = isinstance(description, LaunchedCluster)
        arguments = ["-m", "rocore", "cluster", "job", verb]
        there = (
            ""
            if self.package is None
            else f"{HEAD_FOLDER}/{self.package.name}"
            if launched
            else str(self.package)
        )
        if command is not None and there:
            arguments += ["--package", there, "--packages", description.packages]
        arguments += [out] if command is None else [out, command]
        if isinstance(description, ExistingCluster):
            assert description.jobs is not None
            return [[sys.executable, *arguments, "--jobs", description.jobs]]
        script = f"cd && {self._on_path()}"
        copy = [[RAY, "rsync-up", self._file(LAUNCHER), str(self.package), there]] if there else []
        if there:
            script += f' PYTHONPATH="$HOME/{there}"'
        return [
            *copy,
            [RAY, "exec", self._file(LAUNCHER), f"{script} && {shlex.join(['python', *arguments])}"],
        ]

    def _on_path(self) -> str:
        assert isinstance(self.description, LaunchedCluster)
        binaries = shlex.quote(f"{self.description.project}/.venv/bin")
        return f"export RAY_AUTH_MODE=token PATH={binaries}:$PATH"

    def _file(self, name: str) -> str:
        return str(self.folder / name)

    def _nothing(self, what: str) -> ConfigError:
        return ConfigError(
            f"there must be something to {what}, but a {self.description.kind} cluster comes with its sweep, or is "
            "somebody else's; go on with `rocore cluster submit`"
        )


def _shell(script: str) -> Command:
    return ["bash", "-c", script]
