"""Hosts of a cluster on one machine: each has network, mounts and processes of its own, and they share a bridge.

Everything lives in namespaces that end with their first process, so nothing is left to tidy up but one folder.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE_S = 300
"""Far above what anything here takes: a hang is a failure, slowness isn't."""
PORT = 6379
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
}
"""A lost node is noticed within about 10 s instead of a minute."""
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **HEALTH}


def missing():
    """Return why hosts can't be made here; None where they can."""
    for tool in ("ip", "unshare", "nsenter", "mount"):
        if shutil.which(tool) is None:
            return f"hosts need the program {tool}"
    if os.geteuid() != 0:
        return "hosts need namespaces, which only root may make"
    lab = f"{NEW_HOST} sh -c 'ip link add name lab0 type bridge && ip link set lo up && mount -t tmpfs none /mnt'"
    tried = subprocess.run(["sh", "-c", lab], capture_output=True, text=True, check=False)
    return f"hosts need namespaces, but: {tried.stderr.strip()}" if tried.returncode else None


NEW_HOST = "unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private"


def wait_until(condition, what):
    """Poll until a condition holds; return its value."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} should have come to pass within {PATIENCE_S} s")
        time.sleep(0.1)
    return value


class Host:
    """A machine with an address, a disk of its own, and processes that end with it."""

    def __init__(self, lab, name, address, inside=None):
        self.lab, self.name, self.address = lab, name, address
        enter = () if inside is None else ("nsenter", "-t", str(inside.pid), "-m")
        self.anchor = subprocess.Popen([*enter, *NEW_HOST.split(), "sleep", "infinity"])
        # The namespaces are those of the child.
        children = Path(f"/proc/{self.anchor.pid}/task/{self.anchor.pid}/children")
        self.pid = int(wait_until(lambda: children.read_text().split(), f"{name} up")[0])
        wait_until(lambda: "sleep" in title(self.pid), f"{name} up")
        self.network = network(self.pid)
        self.do("ip", "link", "set", "lo", "up")

    def command(self, *command):
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", *map(str, command)]

    def do(self, *command, **options):
        """Run a command on this host to its end."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, f"{self.name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def mount(self, folder, mib):
        """Give the host a small disk of its own."""
        self.do("mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", folder)

    def seen(self, path):
        """Return the path by which others see a file of this host."""
        return Path(f"/proc/{self.pid}/root{path}")

    def processes(self, what=""):
        """Return the ids of this host's processes whose command line holds a text."""
        return [pid for pid in pids() if network(pid) == self.network and what in title(pid)]

    def signal(self, number, what=""):
        """Send a signal to all such processes but those that hold the namespaces; tell how many there were."""
        found = [pid for pid in self.processes(what) if pid not in (self.pid, self.anchor.pid)]
        for pid in found:
            send(pid, number)
        return len(found)

    def start_ray(self, head=None):
        """Start a node, and wait for it; the head takes no trials."""
        await_ray(self, self.ray(head))

    def ray(self, head=None):
        """Begin to start a node."""
        if head is None:
            where = [
                "--head",
                f"--port={PORT}",
                "--num-cpus=0",
                "--include-dashboard=false",
                f"--temp-dir={self.lab.disk}",
            ]
        else:
            where = ["--address", f"{head.address}:{PORT}", "--num-cpus=1"]
        return subprocess.Popen(
            self.command(
                *(sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={self.address}"),
                *(*where, "--object-store-memory=80000000"),
            ),
            # What trials leave on a node for a moment, checkpoints above all, goes to its own disk.
            env={**os.environ, **ENVIRONMENT, "TMPDIR": str(self.lab.disk)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def cut(self):
        """Take the link down."""
        self.lab.switch.do("ip", "link", "set", self.name, "down")

    def mend(self):
        """Bring the link back."""
        self.lab.switch.do("ip", "link", "set", self.name, "up")

    def end(self):
        self.anchor.kill()
        self.anchor.wait()


class Lab:
    """A head and workers on one bridge; `with Lab() as lab`."""

    def __init__(self, num_workers=2, shared_mib=None):
        self.folder = Path(tempfile.mkdtemp(prefix="rth-"))
        self.disk, self.shared = self.folder / "d", self.folder / "s"
        self.hosts = []
        try:
            for folder in (self.disk, self.shared):
                folder.mkdir()
            self.switch = Host(self, "switch", None)
            self.hosts.append(self.switch)
            self.switch.do("ip", "link", "add", "name", "lab0", "type", "bridge")
            self.switch.do("ip", "link", "set", "lab0", "up")
            if shared_mib is not None:
                self.switch.mount(self.shared, shared_mib)
            self.head, *self.workers = [self.add(number) for number in range(num_workers + 1)]
        except BaseException:
            self.__exit__()
            raise

    def add(self, number):
        """Plug a host in."""
        host = Host(self, f"host{number}", f"10.77.0.{number + 1}", inside=self.switch)
        self.hosts.append(host)
        peer = ("peer", "name", "eth0", "netns", str(host.pid))
        # Both ends by process id: no name is left on this machine.
        ends = ("ip", "link", "add", host.name, "netns", str(self.switch.pid), "type", "veth", *peer)
        subprocess.run(ends, check=True)
        self.switch.do("ip", "link", "set", host.name, "master", "lab0", "up")
        host.do("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.do("ip", "link", "set", "eth0", "up")
        host.mount(self.disk, 300)
        return host

    def start_ray(self):
        """Start the head, then the workers, all at once."""
        self.head.start_ray()
        for worker, start in [(worker, worker.ray(self.head)) for worker in self.workers]:
            await_ray(worker, start)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in reversed(self.hosts):
            for pid in host.processes():
                if pid != host.pid:
                    send(pid, signal.SIGKILL)
            host.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class ObjectStore:
    """moto's server on a host of its own."""

    PORT = 5000

    def __init__(self, lab):
        self.host = lab.add(9)
        self.endpoint = f"http://{self.host.address}:{self.PORT}"
        with lab.switch.seen(lab.disk / "store.log").open("w") as log:
            serve = self.host.command(sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", self.PORT)
            self._server = subprocess.Popen(serve, stdout=log, stderr=log)
        wait_until(self._answers, "the object store up")

    def make_bucket(self, name):
        """Return its URL."""
        make = f"S3FileSystem(endpoint_override={self.endpoint!r}, allow_bucket_creation=True).create_dir({name!r})"
        self.host.do(sys.executable, "-c", f"from pyarrow.fs import S3FileSystem; {make}")
        return f"s3://{name}"

    def _answers(self):
        ask = f"import socket; socket.create_connection(({self.host.address!r}, {self.PORT}), timeout=1)"
        asked = subprocess.run(self.host.command(sys.executable, "-c", ask), capture_output=True, check=False)
        return asked.returncode == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.kill()
        self._server.wait()


def await_ray(host, start):
    said, _ = start.communicate(timeout=PATIENCE_S)
    assert start.returncode == 0, f"{host.name}: ray start: {said}"


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def pids():
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def network(pid):
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None


def title(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
