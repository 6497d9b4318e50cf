"""Memory of four processes that map one trunk cache entry, against that of one.

python benchmarks/cache_memory.py [CACHE_FOLDER]

Takes the largest entry of the cache; without a folder, an entry of the built-in corpus is built for the occasion. Each
process maps it as a trial does and reads all of it. Printed is the mapping's proportional memory (Pss of
/proc/PID/smaps: each page divided by the number of processes that map it), summed over the processes, and, as a check
that trusts no single figure, by how much MemAvailable sinks.
"""

import multiprocessing
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import torch

import rocore
from rocore.encoder.cache_admin import list_entries
from rocore.encoder.cache_entry import HIDDEN, open_entry

NUM_PROCESSES = 4
MIB = 2**20


def main() -> None:
    """Print one line for one process and one for four."""
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        config = rocore.make_config({"encoder": {"output_layer": 4}, "cache": {"root": folder}})
        rocore.build_trunk_cache(config, [4])
        measure(Path(folder))


def measure(root: Path) -> None:
    entry = max(list_entries(root / "trunk"), key=lambda info: info.num_bytes)
    print(f"entry of {entry.num_bytes / MIB:.1f} MiB")
    open_entry(entry.folder).hidden.sum()  # into the page cache, and verified
    for num_processes in (1, NUM_PROCESSES):
        pss, rss, taken = memory_of(entry.folder, num_processes)
        print(
            f"{num_processes} process{'es' * (num_processes > 1):2s}: Pss of the mapping {pss / MIB:7.1f} MiB in all "
            f"(Rss {rss / MIB:7.1f}), MemAvailable sank by {taken / MIB:6.1f} MiB"
        )


def memory_of(folder: Path, num_processes: int) -> tuple[int, int, int]:
    """Return Pss and Rss of all mappings and what MemAvailable sank by while they were made and read, in bytes."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(num_processes)]
    workers = [context.Process(target=map_and_wait, args=(str(folder), there)) for _, there in pipes]
    for worker in workers:
        worker.start()
    for here, _ in pipes:
        here.recv()  # imports are done
    before = available()
    for here, _ in pipes:
        here.send("map")
        here.recv()
    taken = before - available()
    figures = [mapping_memory(worker.pid, folder / HIDDEN) for worker in workers]
    for (here, _), worker in zip(pipes, workers, strict=True):
        here.send("end")
        worker.join()
    return sum(pss for pss, _ in figures), sum(rss for _, rss in figures), taken


def map_and_wait(folder: str, parent: Connection) -> None:
    torch.set_num_threads(1)
    parent.send("ready")
    parent.recv()
    store = open_entry(Path(folder))
    store.hidden.view(torch.int16).amax()  # reads every page
    parent.send("read")
    parent.recv()
    del store


def mapping_memory(pid: int | None, path: Path) -> tuple[int, int]:
    """Return Pss and Rss of a file's mappings in a process, in bytes."""
    sizes = {"Pss": 0, "Rss": 0}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            inside = bool(rest) and rest[-1] == str(path)
        elif inside and first[:-1] in sizes:
            sizes[first[:-1]] += int(rest[0]) * 1024
    return sizes["Pss"], sizes["Rss"]


def available() -> int:
    """Return MemAvailable in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
