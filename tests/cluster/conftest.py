"""The fault table, printed and kept at the end of `make cluster-test`."""

import json
import os
from pathlib import Path

COLUMNS = ("fault", "trials", "lost", "repeated", "resumes", "seconds")


def pytest_terminal_summary(terminalreporter):
    from .faulted import ROWS

    if not ROWS:
        return
    terminalreporter.section("faults")
    for row in ({name: name for name in COLUMNS}, *ROWS):
        terminalreporter.line(f"{row['fault']:<58}" + "".join(f"{row[name]!s:>10}" for name in COLUMNS[1:]))
    if path := os.environ.get("FAULT_TABLE"):
        Path(path).write_text(json.dumps(ROWS, indent=1) + "\n")
