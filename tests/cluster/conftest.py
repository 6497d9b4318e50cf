"""The fault table, printed and kept at the end of `make cluster-test`."""

import json
import os
from pathlib import Path

import pytest

COLUMNS = ("fault", "trials", "lost", "repeated", "resumes", "seconds")


def pytest_terminal_summary(terminalreporter):
    from .faulted import ROWS

    if not ROWS:
        return
    terminalreporter.section("faults")
    for row in ({name: name for name in COLUMNS}, *ROWS):
        terminalreporter.line(f"{row['fault']:<58}" + "".join(f"{row[name]!s:>10}" for name in COLUMNS[1:]))
    path, options = os.environ.get("FAULT_TABLE"), terminalreporter.config.option
    if path and not options.keyword:  # `-k` shows some of the faults: no table to keep
        Path(path).write_text(json.dumps(ROWS, indent=1) + "\n")


def pytest_collection_modifyitems(items):
    """Where the table is asked for, a machine that can't have several hosts fails instead of skipping it."""
    from .hosts import missing

    if (
        os.environ.get("FAULT_TABLE")
        and (lacking := missing())
        and any(i.get_closest_marker("cluster") for i in items)
    ):
        pytest.exit(f"`make cluster-test` needs several hosts on this machine, but {lacking}", returncode=1)
