"""Peak memory of a stretch of work: anonymous resident memory, sampled.

Anonymous memory (RssAnon of /proc/self/status) is what a process holds for itself; the frozen-trunk cache is a mapped
file, which all trials of a node share, and isn't in it. The kernel keeps no high-water mark of it, so a thread reads it
every few milliseconds: what lives for less may be missed.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.005
STATUS = Path("/proc/self/status")


def anonymous_mib() -> float:
    """Return the anonymous resident memory of this process, in MiB."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} must name RssAnon, but doesn't; measure memory on Linux 4.5 or later")
    return int(found[1]) / 1024


@dataclass
class Peak:
    """Highest anonymous memory seen, in MiB."""

    mib: float


@contextmanager
def sampled_peak() -> Iterator[Peak]:
    """Sample while the block runs; read `mib` after it."""
    peak, done = Peak(anonymous_mib()), threading.Event()

    def sample() -> None:
        while not done.wait(INTERVAL_S):
            peak.mib = max(peak.mib, anonymous_mib())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak.mib = max(peak.mib, anonymous_mib())
