"""Which command does what, for every kind."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from cluster.actions import Actions
from cluster.description import ExistingCluster, load_description
from cluster.sweep_line import SweepLine, job_name
from rocore.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"
FOLDER = Path("files")


def actions(kind):
    return Actions(load_description(str(CONFIGS / f"{kind}.yaml")), FOLDER)


def tail(command):
    """The command without the folder of Ray's program."""
    return [Path(command[0]).name, *command[1:]]


@pytest.mark.parametrize("kind", ["ssh", "aws", "gcp"])
def test_launched_clusters_go_up_and_down_with_their_file(kind):
    assert tail(actions(kind).up()) == ["ray", "up", "--yes", "files/cluster.yaml"]
    assert tail(actions(kind).down()) == ["ray", "down", "--yes", "files/cluster.yaml"]


def test_kubernetes_goes_up_and_down_with_its_manifest():
    kubectl = ["kubectl", "--namespace", "research"]
    assert actions("kubernetes").up() == [*kubectl, "apply", "--filename", "files/raycluster.yaml"]
    assert actions("kubernetes").down()[3:] == [
        "delete",
        "--ignore-not-found",
        "--filename",
        "files/raycluster.yaml",
    ]


@pytest.mark.parametrize("kind", ["local", "existing", "slurm"])
def test_kinds_that_come_with_their_sweep_have_nothing_to_start(kind):
    with pytest.raises(ConfigError, match=f"must be something to start, but a {kind} cluster comes with"):
        actions(kind).up()


def on_head(command):
    """What a launched cluster's head is told, by the launcher, as a list."""
    assert tail(command)[:3] == ["ray", "exec", "files/cluster.yaml"]
    return shlex.split(command[3])


@pytest.mark.parametrize("out", [Path("/shared/rocore/sweeps/a"), "s3://bucket/sweeps/a"])
def test_submit_to_a_launched_cluster_makes_a_job_on_its_head(out):
    words = on_head(actions("ssh").submit(SweepLine(Path("a.yaml"), out)))
    tool = words.index("cluster.ray_jobs")
    assert words[tool + 1 : tool + 4] == ["submit", "http://127.0.0.1:8265", job_name(out)]
    assert f"sweep a.yaml --out {out}" in words[-1]
    assert words[-1].endswith("--continue")
    assert words[words.index("export") + 1] == "RAY_AUTH_MODE=token"


def existing(**keys):
    tree = {"name": "mine", "kind": "existing", "address": "10.0.0.5:6379", "jobs": "http://127.0.0.1:8265"}
    return Actions(ExistingCluster.model_validate(tree | keys), FOLDER)


def test_submit_to_an_existing_ray_with_jobs_takes_the_project_along():
    command = existing().submit(
        SweepLine(Path("configs/tune/main.yaml"), "s3://b/a", ("data.root=s3://b/d",))
    )
    assert command[1:6] == ["-m", "cluster.ray_jobs", "submit", "http://127.0.0.1:8265", job_name("s3://b/a")]
    assert command[6].startswith(
        "python -m rocore sweep configs/tune/main.yaml --out s3://b/a --set data.root=s3://b/d"
    )
    assert "resources.address=auto --continue" in command[6]
    assert command[7:] == ["--package", str(Path.cwd()), "--packages", "lock"]


def test_submit_to_an_existing_ray_with_the_project_takes_nothing_along():
    command = existing(project="/opt/rocore").submit(SweepLine(Path("a.yaml"), Path("/mnt/a")))
    assert command[6].startswith("cd /opt/rocore && exec /opt/rocore/.venv/bin/rocore sweep a.yaml")
    assert len(command) == 7


@pytest.mark.parametrize(
    ("config", "out", "setting", "message"),
    [
        ("a.yaml", None, "", "--out must be a URL, or the whole path"),
        ("a.yaml", "sweeps/a", "", "--out must be a URL, or the whole path"),
        ("/home/me/a.yaml", "s3://b/a", "", "CONFIG must be a path inside the project"),
        ("a.yaml", "s3://b/a", "data.root=../data", r"`data.root` must be a URL.* rocore data push"),
        ("a.yaml", "s3://b/a", "encoder.name=~/bert", "`encoder.name` must be a URL"),
    ],
)
def test_submit_of_what_only_this_machine_has_is_refused(config, out, setting, message):
    place = out if out is None or "://" in out else Path(out)
    with pytest.raises(ConfigError, match=message):
        existing().submit(SweepLine(Path(config), place, (setting,) if setting else ()))


def test_submit_to_an_existing_ray_without_jobs_runs_here():
    command = existing(jobs=None).submit(SweepLine(Path("a.yaml"), Path("sweeps/a")))
    assert command[1:4] == ["-m", "rocore", "sweep"]
    assert "resources.address=10.0.0.5:6379" in command


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("kubernetes", ["kubectl", "--namespace", "research", "apply", "--filename", "files/rayjob.yaml"]),
        ("slurm", ["sbatch", "files/sweep.sbatch"]),
    ],
)
def test_submit_hands_the_rendered_file_over(kind, command):
    assert actions(kind).submit(SweepLine(Path("a.yaml"), Path("/x/a"))) == command


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("kubernetes", "--selector=app=rocore-tune"),
        ("slurm", "--name=slurm"),
        ("local", "/x/a"),
    ],
)
def test_status_asks_who_knows(kind, end):
    assert actions(kind).status(Path("/x/a"))[-1] == end


def test_status_on_a_launched_cluster_shows_job_and_sweep():
    words = on_head(actions("ssh").status(Path("/x/a")))
    assert "status" in words[: words.index("sweep")]
    assert words[-3:] == ["sweep", "status", "/x/a"]


def test_logs_are_followed_where_they_are():
    words = on_head(actions("aws").logs(Path("/x/a")))
    assert words[-3:] == ["logs", "http://127.0.0.1:8265", job_name(Path("/x/a"))]
    assert existing().logs("s3://b/a")[3:] == ["logs", "http://127.0.0.1:8265", job_name("s3://b/a")]
    assert "slurm-*.log" in actions("slurm").logs(Path("/x/a"))[-1]
    assert actions("kubernetes").logs(Path("/x/a"))[3:5] == ["logs", "--follow"]
    with pytest.raises(ConfigError, match="only the logs of jobs are followed"):
        actions("local").logs(Path("/x/a"))


def test_stop_tells_the_sweep_and_not_ray():
    words = on_head(actions("ssh").stop(Path("/x/a")))
    assert words[-3:] == ["stop", "http://127.0.0.1:8265", job_name(Path("/x/a"))]
    assert existing().stop("s3://b/a")[3] == "stop"
    assert actions("kubernetes").stop(Path("/x/a"))[3:] == ["delete", "rayjob", "kubernetes-sweep"]
    assert actions("slurm").stop(Path("/x/a")) == ["scancel", "--signal=TERM", "--batch", "--name=slurm"]
    with pytest.raises(ConfigError, match="press Ctrl-C where the sweep runs"):
        actions("local").stop(Path("/x/a"))


def test_collect_copies_what_has_changed():
    script = actions("ssh").collect(Path("/x/a"), Path("here"))[-1]
    assert "rsync-down files/cluster.yaml /x/a/ here" in script
    assert "sweep manifest /x/a" in script
    assert script.endswith("-m rocore sweep manifest here --check files/manifest.json")
    assert actions("ssh").collect("s3://b/a", Path("here"))[1:] == [
        *("-m", "rocore", "sweep", "collect", "s3://b/a", "--to", "here")
    ]
    with pytest.raises(ConfigError, match="/x/a is neither; run `rocore sweep collect`"):
        actions("slurm").collect(Path("/x/a"), Path("here"))


def test_list_of_checksums_is_taken_from_what_the_launcher_says_around_it(tmp_path):
    script = Actions(load_description(str(CONFIGS / "ssh.yaml")), tmp_path).collect(
        Path("/x/a"), Path("here")
    )[-1]
    only_list = script.partition(" | ")[2].partition(" && ")[0]
    said = 'Loaded cached provider\n{\n"a.txt": "00",\n"b/c": "11"\n}\nShared connection closed.\n'
    subprocess.run(["bash", "-c", only_list], input=said, text=True, check=True)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"a.txt": "00", "b/c": "11"}
