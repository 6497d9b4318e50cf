"""Which commands do what, for every kind."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.actions import Actions
from cluster.description import ExistingCluster, load_description
from cluster.sources import FolderSource, HeadSource, PodSource
from cluster.sweep_line import SweepLine, sweep_name
from rocore.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"
FOLDER = Path("files")
OUT = "/shared/rocore/sweeps/a"
LINE = SweepLine(Path("a.yaml"), OUT)
SELF = [sys.executable, "-m", "rocore"]


def actions(kind, package=None, **keys):
    return Actions(load_description(str(CONFIGS / f"{kind}.yaml"), keys), FOLDER, package)


def existing(package=None, **keys):
    tree = {"name": "mine", "kind": "existing", "jobs": "http://127.0.0.1:8265", "shared": "/shared", **keys}
    return Actions(ExistingCluster.model_validate(tree), FOLDER, package)


def tail(command):
    """The command without the folder of Ray's program."""
    return [Path(command[0]).name, *command[1:]]


def on_head(command):
    """What a launched cluster's head is told: the environment, and the command behind it."""
    assert tail(command)[:3] == ["ray", "exec", "files/cluster.yaml"]
    before, _, last = command[3].rpartition(" && python ")
    return before, shlex.split(last)


@pytest.mark.parametrize("kind", ["ssh", "aws", "gcp"])
def test_launched_clusters_go_up_and_down_with_their_file(kind):
    (up,), (*_, down) = actions(kind).up(), actions(kind).down()
    assert tail(up) == ["ray", "up", "--yes", "files/cluster.yaml"]
    assert tail(down) == ["ray", "down", "--yes", "files/cluster.yaml"]


def test_machines_of_ones_own_have_their_ray_stopped_before():
    stop, _ = actions("ssh").down()
    path = "PATH=/shared/rocore-tune/.venv/bin:$PATH"
    assert tail(stop)[1:] == ["exec", "files/cluster.yaml", f"export RAY_AUTH_MODE=token {path} && ray stop"]
    assert len(actions("aws").down()) == 1


def test_kubernetes_goes_up_and_down_with_its_manifest():
    kubectl = ["kubectl", "--namespace", "research"]
    assert actions("kubernetes").up() == [[*kubectl, "apply", "--filename", "files/raycluster.yaml"]]
    assert actions("kubernetes").down() == [
        [*kubectl, "delete", "rayjobs", "--selector=app=rocore-tune,rocore-tune/cluster=kubernetes"],
        [*kubectl, "delete", "--ignore-not-found", "--filename", "files/raycluster.yaml"],
    ]


@pytest.mark.parametrize("kind", ["local", "existing", "slurm"])
def test_kinds_that_come_with_their_sweep_have_nothing_to_start(kind):
    with pytest.raises(ConfigError, match=f"must be something to start, but a {kind} cluster comes with"):
        actions(kind).up()


@pytest.mark.parametrize("kind", ["local", "existing"])
def test_sweep_in_the_foreground_is_begun_or_gone_on_with(kind):
    ((*command,),) = actions(kind).submit(LINE)
    assert command[:6] == [*SELF, "sweep", "a.yaml", "--out"]
    assert command[-1] == "--continue"
    ((*command,),) = actions(kind).submit(SweepLine(Path("a.yaml")))
    assert "--continue" not in command  # a new directory each time


@pytest.mark.parametrize("kind", ["ssh", "aws", "gcp"])
def test_submit_to_a_launched_cluster_speaks_to_the_job_server_on_its_head(kind):
    description = actions(kind).description
    out = f"{description.shared}/sweeps/a"
    ((*command,),) = actions(kind).submit(SweepLine(Path("a.yaml"), out))
    before, words = on_head(command)
    assert before == f"cd && export RAY_AUTH_MODE=token PATH={description.project}/.venv/bin:$PATH"
    assert words[:-1] == ["-m", "rocore", "cluster", "job", "submit", out]
    assert words[-1].startswith(
        f"cd {description.project} && exec {description.project}/.venv/bin/rocore sweep a.yaml"
    )
    assert words[-1].endswith("--continue")


def test_submit_of_a_packaged_project_to_a_launched_cluster_brings_it_to_the_head_first():
    (copy, command) = actions(
        "ssh", Path("files/project-1.zip"), environment="packaged", packages="none"
    ).submit(LINE)
    assert tail(copy) == [
        "ray",
        "rsync-up",
        "files/cluster.yaml",
        "files/project-1.zip",
        ".ray/project-1.zip",
    ]
    before, words = on_head(command)
    assert before.endswith('PYTHONPATH="$HOME/.ray/project-1.zip"')
    assert words[4:9] == ["submit", "--package", ".ray/project-1.zip", "--packages", "none"]
    assert words[10].startswith("exec python -m rocore sweep a.yaml")


@pytest.mark.parametrize("verb", ["logs", "stop"])
def test_launched_head_without_the_project_is_brought_it_for_every_command(verb):
    (copy, command) = getattr(actions("ssh", Path("files/project-1.zip"), environment="packaged"), verb)(OUT)
    assert tail(copy)[1] == "rsync-up"
    assert on_head(command)[1] == ["-m", "rocore", "cluster", "job", verb, OUT]


def test_submit_to_an_existing_ray_with_jobs_speaks_to_its_server_from_here():
    ((*command,),) = existing(project="/p").submit(SweepLine(Path("a.yaml"), "s3://b/a"))
    assert command[:7] == [*SELF, "cluster", "job", "submit", "s3://b/a"]
    assert command[7].startswith("cd /p && exec /p/.venv/bin/rocore sweep a.yaml --out s3://b/a")
    assert command[8:] == ["--jobs", "http://127.0.0.1:8265"]


def test_submit_of_a_packaged_project_to_an_existing_ray_sends_it_from_here():
    ((*command,),) = existing(Path("files/project-1.zip")).submit(SweepLine(Path("a.yaml"), "/shared/a"))
    assert command[6:11] == ["--package", "files/project-1.zip", "--packages", "lock", "/shared/a"]
    assert command[11].startswith("exec python -m rocore sweep a.yaml")


def test_submit_to_kubernetes_makes_the_job_anew():
    ((bash, _, script),) = actions("kubernetes").submit(SweepLine(Path("a.yaml"), "/mnt/rocore/a"))
    assert bash == "bash"
    assert f"delete rayjob {sweep_name('/mnt/rocore/a')}" in script
    assert script.endswith("apply --filename files/rayjob.yaml\n")


@pytest.mark.parametrize(
    ("queued", "code", "said"), [("12 PENDING", 4, ""), ("", 0, "sbatch files/sweep.sbatch\n")]
)
def test_submit_to_slurm_is_refused_while_the_job_is_queued_or_runs(tmp_path, queued, code, said):
    for name, text in {"squeue": f"echo -n '{queued}'", "sbatch": "echo sbatch $*"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (command,) = actions("slurm").submit(SweepLine(Path("a.yaml"), "/scratch/me/rocore/a"))
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, said)
    assert ("a sweep must not run twice" in done.stderr) is bool(queued)


def test_down_of_slurm_cancels_the_descriptions_own_jobs_alone(tmp_path):
    programs = {
        "squeue": "printf '1 slurm_rocore-a-1\\n2 slurm-big_rocore-a-1\\n3 slurm_rocore-b-2\\n'",
        "scancel": "echo scancel $*",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (command,) = actions("slurm").down()
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.stdout == "scancel 1 3\n", done.stderr


def test_status_shows_the_job_and_the_sweep():
    before, words = on_head(actions("aws").status("/x/a")[0])
    assert "RAY_AUTH_MODE=token" in before
    assert words[4:] == ["status", "/x/a", "/opt/rocore-tune/.venv/bin/rocore sweep status /x/a"]
    ((*theirs,),) = existing(Path("z.zip")).status("/x/a")
    assert theirs[6:12] == [
        "--package",
        "z.zip",
        "--packages",
        "lock",
        "/x/a",
        "python -m rocore sweep status /x/a",
    ]
    job, sweep = actions("slurm").status("/x/a")
    assert job == ["squeue", "--me", f"--name=slurm_{sweep_name('/x/a')}"]
    assert sweep == [*SELF, "sweep", "status", "/x/a"]
    objects, script = actions("kubernetes").status("/x/a")
    assert objects[-1] == "--selector=app=rocore-tune,rocore-tune/cluster=kubernetes"
    assert "/opt/rocore-tune/.venv/bin/rocore sweep status /x/a" in script[-1]
    assert actions("local").status("/x/a") == [[*SELF, "sweep", "status", "/x/a"]]


def test_logs_are_followed_where_they_are():
    assert on_head(actions("gcp").logs("/x/a")[0])[1][4:] == ["logs", "/x/a"]
    assert existing(project="/p").logs("s3://b/a") == [
        [*SELF, "cluster", "job", "logs", "s3://b/a", "--jobs", "http://127.0.0.1:8265"]
    ]
    assert actions("slurm").logs("/x/a") == [
        ["tail", "-n", "200", "-F", f"/scratch/me/rocore/slurm_{sweep_name('/x/a')}.log"]
    ]
    assert actions("kubernetes").logs("/x/a")[0][-1] == f"job/{sweep_name('/x/a')}"
    with pytest.raises(
        ConfigError, match=r"only what runs elsewhere has logs to fetch, but on local \(local\)"
    ):
        actions("local").logs("/x/a")


def test_stop_tells_the_sweep_and_not_ray():
    assert on_head(actions("ssh").stop("/x/a")[0])[1][4:] == ["stop", "/x/a"]
    assert existing(project="/p").stop("/x/a")[0][5:7] == ["stop", "/x/a"]
    assert "cluster job stop /x/a" in actions("kubernetes").stop("/x/a")[0][-1]
    job = f"--name=slurm_{sweep_name('/x/a')}"
    assert actions("slurm").stop("/x/a") == [
        ["bash", "-c", f"scancel --state=PENDING {job}; exec scancel --signal=TERM --batch {job}"]
    ]
    for kind in ("local", "existing"):
        with pytest.raises(ConfigError, match="press Ctrl-C there"):
            actions(kind).stop("/x/a")


def test_source_is_where_the_sweep_directory_can_be_read(tmp_path):
    head = actions("ssh").source("/x/a")
    assert isinstance(head, HeadSource)
    assert tail(head.copy) == ["ray", "rsync-down", "files/cluster.yaml", "/x/a/"]
    assert tail(head.shell) == ["ray", "exec", "files/cluster.yaml"]
    assert isinstance(actions("kubernetes").source("/x/a"), PodSource)
    assert actions("slurm").source(str(tmp_path)) == FolderSource(tmp_path)
    with pytest.raises(ConfigError, match="must be a URL or a folder that this machine sees, but /x/a isn't"):
        actions("slurm").source("/x/a")
