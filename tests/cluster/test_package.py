"""The zip of a project: its own files, the same for the same content, and never what belongs to this machine alone."""

import random
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from cluster import package as module
from cluster.job_commands import runtime_environment
from cluster.package import build_package, locked_packages, project_files
from rocore.errors import ConfigError

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[project]
name = "rocore-tune"
version = "1.2.3"
[project.entry-points."rocore.commands"]
cluster = "cluster.commands:cluster"
"""
LOCK = "# comment\nclick==8.1.0\nray==2.60.0\n\nraylib==5.0\n"


@pytest.fixture
def project(tmp_path):
    """A small project with what must stay here beside it."""
    root = tmp_path / "project"
    files = {
        "pyproject.toml": PYPROJECT,
        "requirements.lock": LOCK,
        "notes.txt": "mine",
        "rocore/a.py": "a = 1",
        "rocore/__pycache__/a.pyc": "x",
        "tune/b.py": "",
        "cluster/c.py": "",
        "configs/tune/main.yaml": "base: ../rocore/base.yaml",
        "configs/rocore/base.yaml": "seed: 1",
        "data/fewrel.json": "large",
        "sweeps/a/journal.jsonl": "",
        ".venv/bin/python": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def names(path):
    return sorted(zipfile.ZipFile(path).namelist())


def test_project_without_git_travels_as_packages_configs_and_lock(project):
    assert [path.as_posix() for path in project_files(project)] == [
        *("cluster/c.py", "configs/rocore/base.yaml", "configs/tune/main.yaml", "pyproject.toml"),
        *("requirements.lock", "rocore/a.py", "tune/b.py"),
    ]


def test_project_with_git_travels_as_what_git_tracks_but_for_folders_of_this_machine(project):
    git(project, "init")
    git(project, "add", "--force", "notes.txt", "data", ".venv", "rocore/a.py", "pyproject.toml")
    (project / "rocore" / "new.py").write_text("")
    assert [path.as_posix() for path in project_files(project)] == [
        "notes.txt",
        "pyproject.toml",
        "rocore/a.py",
    ]


def test_project_whose_tracked_file_is_gone_travels_without_it(project):
    git(project, "init")
    git(project, "add", "notes.txt", "rocore/a.py")
    (project / "notes.txt").unlink()
    assert [path.as_posix() for path in project_files(project)] == ["rocore/a.py"]


def test_project_whose_git_is_broken_says_so(project):
    (project / ".git").mkdir()
    with pytest.raises(
        ConfigError, match=r"git must list the project's files, but says: .*not a git repository"
    ):
        project_files(project)


def test_folder_that_is_no_project_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must be submitted from the project's folder"):
        project_files(tmp_path)


def test_package_of_the_same_content_is_the_same_file_and_replaces_an_older_one(project, tmp_path):
    first = build_package(project, tmp_path / "files", None)
    content = first.read_bytes()
    (project / "rocore" / "a.py").touch()
    assert build_package(project, tmp_path / "files", None) == first
    assert first.read_bytes() == content
    assert first.stat().st_mode & 0o077 == 0
    (project / "rocore" / "a.py").write_text("a = 2")
    second = build_package(project, tmp_path / "files", None)
    assert second != first
    assert list((tmp_path / "files").iterdir()) == [second]


def test_package_takes_config_and_base_along_that_git_does_not_know(project, tmp_path):
    git(project, "init")
    git(project, "add", "rocore/a.py", "pyproject.toml")
    config = Path("configs/tune/main.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        found = names(build_package(project, tmp_path / "files", config))
    assert {"configs/tune/main.yaml", "configs/rocore/base.yaml"} <= set(found)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("../elsewhere.yaml", "seed: 0"),
        ("configs/tune/mine.yaml", "base: ../../../elsewhere.yaml"),
        ("data/mine.yaml", "seed: 0"),
    ],
)
def test_package_whose_config_lies_elsewhere_is_refused(project, tmp_path, monkeypatch, config, text):
    monkeypatch.chdir(project)
    Path(config).write_text(text)
    (tmp_path / "elsewhere.yaml").write_text("seed: 0")
    with pytest.raises(
        ConfigError, match=r"CONFIG and its `base` must lie in the project's folder .*, but .* doesn't"
    ):
        build_package(project, tmp_path / "files", Path(config))


def test_package_that_ray_would_not_take_names_the_largest_file(project, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LIMIT_MIB", 1)
    (project / "rocore" / "weights.bin").write_bytes(random.Random(0).randbytes(2 << 20))
    with pytest.raises(
        ConfigError, match=r"fit into a zip of 1 MiB .*, but don't \(the largest is rocore/weights\.bin\)"
    ):
        build_package(project, tmp_path / "files", None)
    assert list((tmp_path / "files").iterdir()) == []


def test_limit_is_that_of_rays_job_server():
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

    assert DASHBOARD_CLIENT_MAX_SIZE == module.LIMIT_MIB * 2**20


def test_package_says_which_commands_it_brings(project, tmp_path):
    with zipfile.ZipFile(build_package(project, tmp_path / "files", None)) as archive:
        archive.extractall(tmp_path / "unpacked")
    (found,) = tmp_path.glob("unpacked/*.dist-info")
    distribution = Distribution.at(found)
    assert (distribution.metadata["Name"], distribution.version) == ("rocore-tune", "1.2.3")
    (point,) = distribution.entry_points
    assert (point.group, point.name, point.value) == (
        "rocore.commands",
        "cluster",
        "cluster.commands:cluster",
    )


def test_package_runs_as_it_is(tmp_path):
    path = build_package(ROOT, tmp_path, None)
    command = [sys.executable, "-m", "rocore", "cluster", "job", "--help"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Submit, follow, show and stop a sweep" in done.stdout


def test_locked_packages_leave_each_nodes_own_ray_alone(project, tmp_path):
    assert locked_packages(build_package(project, tmp_path, None)) == ["click==8.1.0", "raylib==5.0"]


def test_runtime_environment_holds_what_is_asked_for(project, tmp_path):
    package = build_package(project, tmp_path, None)
    assert runtime_environment(None, "lock") == {}
    assert runtime_environment(package, "none") == {"working_dir": str(package)}
    assert runtime_environment(package, "lock") == {
        "working_dir": str(package),
        "pip": ["click==8.1.0", "raylib==5.0"],
    }
