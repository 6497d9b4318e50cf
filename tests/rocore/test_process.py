import errno
import json
import os
import subprocess
import sys

import pytest

from rocore.errors import ConfigError, DiskFullError
from rocore.process import ENVIRONMENT, explain

PROBE = """
import json, os, sys
import {package}
print(json.dumps(["torch" in sys.modules, dict(os.environ)]))
"""


@pytest.mark.parametrize("package", ["tune", "benchmarks"])
def test_a_worker_is_told_before_torch_reads_it(package):
    """Ray starts one on another node with that node's environment, and has it import the trial."""
    own = "GOMP_SPINCOUNT"
    inherited = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT} | {own: "7"}
    found = subprocess.run(
        [sys.executable, "-c", PROBE.format(package=package)],
        env=inherited,
        check=True,
        capture_output=True,
        text=True,
    )
    torch_is_there, environment = json.loads(found.stdout)
    assert not torch_is_there
    assert environment.items() >= (ENVIRONMENT | {own: "7"}).items()


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b"),
            ConfigError,
            "a/b must be open to this user",
        ),
        (OSError(errno.EROFS, "Read-only file system", "a"), ConfigError, "but: Read-only file system"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            DiskFullError,
            "a file must have room, but: No space",
        ),
        (
            RuntimeError("Could not determine home directory."),
            ConfigError,
            "set HOME, or name folders in full",
        ),
    ],
)
def test_explain_of_an_error_of_the_system_says_what_to_do(error, kind, message):
    explained = explain(error)
    assert isinstance(explained, kind)
    assert message in str(explained)


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours"), OSError(errno.EIO, "broken")])
def test_explain_of_another_error_says_nothing(error):
    assert explain(error) is None
