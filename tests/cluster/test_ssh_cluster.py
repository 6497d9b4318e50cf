"""Machines of one's own, as `kind: ssh` starts and uses them: real sshd, rsync and Ray launcher between namespaces."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.sweep_line import sweep_name

from .hosts import Lab, missing, wait_until
from .test_slurm_script import SETTINGS

ROOT = Path(__file__).parents[2]
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
TOOLS = [tool for tool in ("ssh", "ssh-keygen", "rsync") if shutil.which(tool) is None]
WHY = (
    missing()
    or (f"needs {', '.join(TOOLS)}" if TOOLS else None)
    or (None if Path(SSHD).exists() else "needs sshd")
)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(bool(WHY), reason=str(WHY)),
]
PATIENCE_S = 600
ROCORE = (sys.executable, "-m", "rocore")
TOKEN = "fedcba9876543210" * 4
CONFIG = """Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PidFile none
PrintMotd no
Subsystem sftp internal-sftp
"""


class SshLab(Lab):
    """Head and worker with an sshd, and a laptop; homes and Ray's folders are each host's own."""

    def __init__(self):
        super().__init__(num_workers=1)
        self.laptop, self.daemons, self.project = self.add(2), [], self.folder / "project"
        for name in ("rocore", "tune", "cluster", "configs"):
            shutil.copytree(ROOT / name, self.project / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, self.project)
        (self.project / ".venv").symlink_to(Path(sys.executable).parents[1])
        for name in ("key", "host_key"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(make, check=True)
        (self.folder / "sshd").write_text(CONFIG.format(folder=self.folder))
        for folder in ("/run/sshd", "/tmp/ray"):
            Path(folder).mkdir(exist_ok=True)
        for host in (self.head, *self.workers, self.laptop):
            self.make_machine(host)

    def home(self, host):
        return self.folder / f"home-{host.name}"

    def make_machine(self, host):
        """Give a host a home and a place for Ray of its own, and let others log in."""
        home, passwd = self.home(host), self.folder / f"passwd-{host.name}"
        home.mkdir()
        # Not so for a packaged sweep: its description's `setup` would be the place for it.
        (home / ".bashrc").write_text(f"export PYTHONPATH={self.project} RAY_USAGE_STATS_ENABLED=0\n")
        root = re.compile(r"^(root:[^:]*:0:0:[^:]*):[^:]*:", re.MULTILINE)
        passwd.write_text(root.sub(rf"\1:{home}:", Path("/etc/passwd").read_text()))
        host.do("mount", "--bind", passwd, "/etc/passwd")
        host.mount("/tmp/ray", 300)
        sshd = host.command(SSHD, "-D", "-e", "-f", self.folder / "sshd")
        self.daemons.append(subprocess.Popen(sshd, stderr=subprocess.DEVNULL))

    def describe(self, name, **more):
        """Write a description of the lab on the laptop."""
        tree = {
            **{"name": name, "kind": "ssh", "ssh_user": "root", "ssh_private_key": str(self.folder / "key")},
            **{"head": self.head.address, "workers": [worker.address for worker in self.workers]},
            **{"project": str(self.project), "shared": str(self.shared), **more},
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    def start(self, *arguments):
        """Begin a command of `rocore cluster` on the laptop."""
        home = self.home(self.laptop)
        here = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(self.project)}
        return subprocess.Popen(
            # Going to other mounts, nsenter goes to their root.
            self.laptop.command("env", f"--chdir={self.project}", *ROCORE, "cluster", *arguments),
            env={**os.environ, **here},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def rocore(self, *arguments, code=0):
        """Run a command of `rocore cluster` on the laptop to its end and return what it says, never the token."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, said
        assert TOKEN not in said
        return said

    def __exit__(self, *_):
        super().__exit__()
        for daemon in self.daemons:
            daemon.wait()


@pytest.fixture
def lab():
    with SshLab() as lab:
        folder = lab.home(lab.laptop) / ".ray"
        folder.mkdir()
        (folder / "auth_token").write_text(TOKEN)
        yield lab


def num_reports(out):
    journal = out / "journal.jsonl"
    return journal.read_text().count('"report"') if journal.exists() else 0


def test_sweep_on_machines_of_ones_own_from_up_to_down(lab):
    mine, out, to = lab.describe("mine"), lab.shared / "a", lab.home(lab.laptop) / "back"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    submit = ("submit", mine, "configs/tune/quickstart.yaml", "--out", out, *settings)
    name = sweep_name(str(out))
    assert "files are valid: cluster.yaml" in lab.rocore("check", mine)
    lab.rocore("up", mine)
    assert f"{name}-1: " in lab.rocore(*submit)
    wait_until(lambda: num_reports(out), "an epoch")
    assert "stopped; go on with: rocore sweep --resume" in lab.rocore("stop", mine, out)

    standing = lab.rocore("status", mine, out)
    assert f"{name}-1: STOPPED" in standing
    assert "quickstart: not complete" in standing
    lab.rocore("collect", mine, out, "--to", to)
    assert (to / "config.yaml").read_bytes() == (out / "config.yaml").read_bytes()

    # The same machines, and a project that none of them has: nothing but its virtual environment is there.
    bare = lab.folder / "bare"
    bare.mkdir()
    (bare / ".venv").symlink_to(Path(sys.executable).parents[1])
    for host in (lab.head, *lab.workers):
        (lab.home(host) / ".bashrc").write_text("")
    taken = lab.describe("mine", project=str(bare), environment="packaged", packages="none")
    submit = ("submit", taken, *submit[2:])
    assert f"{name}-2: " in lab.rocore(*submit)
    # Through ssh, Ray's launcher makes every exit code 1.
    assert re.search(f"{name}-2 is (PENDING|RUNNING)", lab.rocore(*submit, code=1))
    assert "report:" in lab.rocore("logs", taken, out)
    assert f"{name}-2: SUCCEEDED" in lab.rocore("status", taken, out)
    assert json.loads((out / "results.json").read_text())["status"] == "complete"
    assert "verified by SHA-256" in lab.rocore("collect", taken, out, "--to", to)
    assert (to / "report.html").read_bytes() == (out / "report.html").read_bytes()
    lab.rocore("down", mine)
    for host in (lab.head, *lab.workers):
        wait_until(lambda host=host: not host.processes("/raylet/raylet "), f"{host.name} without Ray")
