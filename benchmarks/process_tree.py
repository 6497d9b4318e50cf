"""What a process and those below it have used, read from /proc: nothing runs inside them to measure it."""

import os
from pathlib import Path
from typing import TypedDict

TICKS = os.sysconf("SC_CLK_TCK")
KINDS = {"gcs_server": "ray", "raylet": "ray", "ray::": "trials", "default_worker": "trials"}
"""Who a process is by a part of its title; the root is the driver, all others are Ray's agents."""


class Usage(TypedDict):
    """CPU time, resident memory, open files and threads."""

    cpu_s: float
    mib: float
    files: int
    threads: int
    processes: int


def usage_below(root: int) -> dict[str, Usage]:
    """Return what has been used by whom: the driver, Ray's own processes, trials, agents."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int(_stat(folder)[1])
            except (OSError, IndexError):
                continue
    found: dict[str, Usage] = {}
    for pid in parents:
        if pid == root or _is_below(pid, root, parents):
            try:
                _add(found, "driver" if pid == root else _kind(pid), pid)
            except (OSError, IndexError):
                continue
    return found


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != root:
        pid = parents[pid]
    return pid == root


def _stat(folder: Path) -> list[str]:
    return (folder / "stat").read_text().rsplit(")", 1)[1].split()


def _kind(pid: int) -> str:
    title = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:3]
    text = b" ".join(title).decode(errors="replace")
    return next((kind for part, kind in KINDS.items() if part in text), "agents")


def _add(found: dict[str, Usage], who: str, pid: int) -> None:
    folder = Path(f"/proc/{pid}")
    fields = _stat(folder)
    used = found.setdefault(who, Usage(cpu_s=0.0, mib=0.0, files=0, threads=0, processes=0))
    files = len(list((folder / "fd").iterdir()))
    used["cpu_s"] += (int(fields[11]) + int(fields[12])) / TICKS
    used["mib"] += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    used["files"] += files
    used["threads"] += int(fields[17])
    used["processes"] += 1
