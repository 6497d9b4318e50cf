"""The project's own files fit together: lock file, entry points, Makefile and continuous integration."""

import re
import stat
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = [
    *PROJECT["project"]["dependencies"],
    *PROJECT["project"]["optional-dependencies"]["dev"],
    *PROJECT["build-system"]["requires"],
]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def locked(text):
    """Return exact versions by name; any other line than `name==version` or a comment raises."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    matches = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines]
    if None in matches:
        raise ValueError(f"a line must be name==version, but is {lines[matches.index(None)]!r}")
    return {canonicalize_name(match[1]): match[2] for match in matches}


@pytest.mark.parametrize("line", ["torch==2.13.0+cpu", "torch>=2", "-e .", "a @ file:///a.whl"])
def test_lock_where_a_line_is_no_exact_version_refuses(line):
    with pytest.raises(ValueError, match="a line must be name==version"):
        locked(f"# comment\nclick==8.0\n{line}\n")


@pytest.mark.parametrize("requirement", [Requirement(text) for text in REQUIREMENTS], ids=lambda r: r.name)
def test_lock_holds_a_version_that_pyproject_allows(requirement):
    versions = locked(LOCK)
    assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


def test_lock_leaves_the_project_and_cuda_out():
    names = set(locked(LOCK))
    assert "rocore-tune" not in names
    assert [name for name in names if re.match("(nvidia|cuda|triton)", name)] == []


def test_every_dependency_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1].splitlines()
    assert len(listed) == len(PROJECT["project"]["dependencies"])
    assert [line for line in listed if not re.search(r'",\s+# \w+', line)] == []


def test_installed_version_is_the_projects():
    assert version("rocore-tune") == PROJECT["project"]["version"]


def test_ci_script_runs_the_tests_first_and_is_executable():
    path = ROOT / ".ci" / "run"
    assert path.stat().st_mode & stat.S_IXUSR
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make")] == ["make test", "make lint", "make types"]
    assert "set -euo pipefail" in lines


def test_make_without_a_target_lists_all_of_them():
    done = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines() if not line.startswith("make")}
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert listed == set(targets.split())
