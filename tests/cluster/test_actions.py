"""Which command does what, for every kind."""

from pathlib import Path

import pytest

from cluster.actions import Actions
from cluster.description import load_description
from cluster.sweep_line import SweepLine
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


def test_submit_to_a_launched_cluster_leaves_the_sweep_running_with_a_log():
    line = SweepLine(Path("a.yaml"), Path("/shared/rocore/sweeps/a"))
    command = tail(actions("ssh").submit(line))
    assert command[:4] == ["ray", "exec", "--tmux", "files/cluster.yaml"]
    assert "sweep --resume /shared/rocore/sweeps/a" in command[4]
    assert command[4].endswith(">> /shared/rocore/sweeps/a.log 2>&1")


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
        ("ssh", "/shared/rocore-tune/.venv/bin/rocore sweep status /x/a"),
        ("kubernetes", "--selector=app=rocore-tune"),
        ("slurm", "--name=slurm"),
        ("local", "/x/a"),
    ],
)
def test_status_asks_who_knows(kind, end):
    assert actions(kind).status(Path("/x/a"))[-1] == end


def test_logs_are_followed_where_they_are():
    assert actions("aws").logs(Path("/x/a"))[-1] == "tail -n 200 -F /x/a.log"
    assert actions("kubernetes").logs(Path("/x/a"))[3:5] == ["logs", "--follow"]
    with pytest.raises(ConfigError, match="only the logs of ssh, aws, gcp and kubernetes are fetched"):
        actions("slurm").logs(Path("/x/a"))


def test_stop_tells_the_sweep_and_not_ray():
    assert actions("ssh").stop(Path("/x/a"))[-1] == "pkill -TERM -o -f 'rocore sweep .*/x/a'"
    assert actions("kubernetes").stop(Path("/x/a"))[3:] == ["delete", "rayjob", "kubernetes-sweep"]
    assert actions("slurm").stop(Path("/x/a")) == ["scancel", "--signal=TERM", "--batch", "--name=slurm"]
    with pytest.raises(ConfigError, match="press Ctrl-C where the sweep runs"):
        actions("local").stop(Path("/x/a"))


def test_collect_copies_what_has_changed():
    command = tail(actions("ssh").collect(Path("/x/a"), Path("here")))
    assert command == ["ray", "rsync-down", "files/cluster.yaml", "/x/a/", "here"]
    with pytest.raises(ConfigError, match="copy /x/a from a machine that sees it"):
        actions("slurm").collect(Path("/x/a"), Path("here"))
