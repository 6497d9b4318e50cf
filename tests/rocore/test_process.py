import json
import os
import subprocess
import sys

import pytest

from rocore.process import ENVIRONMENT

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
