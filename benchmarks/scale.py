"""The control loop alone: sweeps of trials that compute nothing, watched from outside.

    python -m benchmarks.scale [--sizes 100 300 1000 3000] [--most 10000] [--quick] [--out FOLDER]

Searcher, journal, early stopping, retention, TensorBoard and report are the product's own. Prints a table, and writes
scale.json and scale.png where a folder is given. CPU time tells more than wall time where the machine is shared.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.fresh import in_fresh_process, note
from benchmarks.process_tree import Usage, usage_below
from tune.journal import FILE

ROOT = Path(__file__).parents[1]
PERIOD_S = 1.0
SIZES, MOST = (100, 300, 1000, 3000), 10_000
AT_ONCE, AT_ONCE_TRIALS = (8, 32), 500
NONE_TRIALS = 1000
NUM_POINTS = 30
SHOWN = ("at_s", "reports", "ended", "driver_cpu_s", "driver_mib", "ray_cpu_s", "ray_mib")
USUAL = {"searcher": "tpe", "scheduler": "asha", "at_once": 2, "num_cpus": len(os.sched_getaffinity(0))}
QUICK = ({**USUAL, "num_trials": 8},)


def main() -> int:
    """Measure, print, and write where asked to."""
    arguments = parse()
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_before": os.getloadavg(), "sweeps": []}
    with tempfile.TemporaryDirectory(prefix="rs-") as scratch:
        for options in QUICK if arguments.quick else cases(arguments.sizes, arguments.most):
            note(", ".join(f"{key} {value}" for key, value in options.items()))
            out = Path(scratch) / "sweep"
            found["sweeps"].append({**options, **measure(out, options)})
            shutil.rmtree(out)
            if arguments.out is not None:
                write(arguments.out, found)
    found["load_after"] = os.getloadavg()
    sys.stdout.write(render(found) + "\n")
    if arguments.out is not None:
        write(arguments.out, found)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="trials of a sweep")
    parser.add_argument(
        "--most", type=int, default=MOST, help="trials of the largest sweep, by random search"
    )
    parser.add_argument("--quick", action="store_true", help="few trials: figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder of scale.json and scale.png")
    return parser.parse_args()


def cases(sizes: Sequence[int], most: int) -> list[dict[str, Any]]:
    """Return which sweeps are run: by size, the largest one, one without early stopping, and by trials at once."""
    random = {**USUAL, "searcher": "random"}
    return [
        *({**USUAL, "num_trials": size} for size in sizes),
        {**random, "num_trials": NONE_TRIALS, "scheduler": "none"},
        *({**random, "num_trials": AT_ONCE_TRIALS, "at_once": number} for number in AT_ONCE),
        {**random, "num_trials": most},
    ]


def measure(out: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Run a sweep in a process of its own, watch it, and rebuild it from its directory."""
    samples = watch(out, options)
    sizes = sizes_of(out)
    rebuilt = in_fresh_process(rebuild, out, options)
    return {"samples": samples, **summarize(out, samples), "bytes": sizes, "rebuild": rebuilt}


def watch(out: Path, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the sweep's processes have used and done, once a second."""
    command = [sys.executable, "-c", f"from benchmarks.noop import *; run(Path({str(out)!r}), {options!r})"]
    samples: list[dict[str, Any]] = []
    with out.with_name("log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        begin, progress = time.monotonic(), Tail(out / FILE)
        while process.poll() is None:
            time.sleep(PERIOD_S)
            usage: dict[str, Usage] = usage_below(process.pid)
            if "driver" in usage and progress.read():
                samples.append(
                    {
                        "at_s": round(time.monotonic() - begin, 2),
                        **progress.counts,
                        **{
                            f"{who}_{name}": value
                            for who, used in usage.items()
                            for name, value in used.items()
                        },
                    }
                )
    if process.returncode:
        raise RuntimeError(
            f"a sweep of nothing must end well, but: {out.with_name('log').read_text()[-3000:]}"
        )
    return samples


class Tail:
    """Counts the events of a growing journal."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        self.counts = {"started": 0, "reports": 0, "ended": 0}

    def read(self) -> bool:
        """Take in what is new; tell whether there is a journal."""
        if not self.path.exists():
            return False
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for key, kind in (("started", b"start"), ("reports", b"report"), ("ended", b"end")):
            self.counts[key] += whole.count(b'{"event": "%s"' % kind)
        return True


def summarize(out: Path, samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return figures of the search alone, by the journal's own clock."""
    events = [json.loads(line) for line in (out / FILE).read_text(encoding="utf-8").splitlines()]
    search = {event["name"] for event in events if event["event"] == "ask" and event["role"] == "search"}
    mine = [event for event in events if event.get("name") in search]
    reports = sum(event["event"] == "report" for event in mine)
    first = next(event["at"] for event in mine if event["event"] == "report")
    seconds = mine[-1]["at"] - first
    used = [sample for sample in samples if 0 < sample["ended"] < len(search)]
    figures: dict[str, Any] = {
        "reports": reports,
        "search_s": round(seconds, 1),
        "trials_a_minute": round(60 * len(search) / seconds, 1),
        "reports_a_second": round(reports / seconds, 1),
    }
    if len(used) > 1 and used[-1]["ended"] > used[0]["ended"]:
        first, last = used[0], used[-1]
        ended = last["ended"] - first["ended"]
        for who in ("driver", "ray"):
            cpu = last[f"{who}_cpu_s"] - first[f"{who}_cpu_s"]
            figures[f"{who}_cpu_ms_a_trial"] = round(1000 * cpu / ended, 1)
            figures[f"{who}_kib_a_trial"] = round(
                1024 * (last[f"{who}_mib"] - first[f"{who}_mib"]) / ended, 1
            )
        figures |= {name: last[name] for name in ("driver_mib", "driver_files", "driver_threads", "ray_mib")}
    return figures


def sizes_of(out: Path) -> dict[str, Any]:
    """Return bytes and files of the sweep directory, by its parts."""
    parts: dict[str, Any] = {}
    for path in out.rglob("*"):
        if path.is_file():
            part = parts.setdefault(path.relative_to(out).parts[0], {"files": 0, "bytes": 0})
            part["files"] += 1
            part["bytes"] += path.stat().st_size
    return parts


def rebuild(out: Path, options: dict[str, Any]) -> dict[str, float]:
    """Return the CPU seconds of a resume's steps, of a proposal by TPE and of the report, and the memory after them."""
    from benchmarks.memory import anonymous_mib
    from benchmarks.noop import sweep_of
    from tune.ledger import Ledger
    from tune.optuna_study import Study, StudyMirror, quiet_optuna
    from tune.ray_scheduler import NamedASHA, make_scheduler
    from tune.report import write_report
    from tune.status import read_status
    from tune.sweep_directory import SweepDirectory
    from tune.tensorboard import write_hparams

    quiet_optuna()
    sweep = sweep_of(**{**options, "searcher": "tpe"})
    found, before = Stopwatch(), anonymous_mib()
    with found.taking("journal"):
        ledger = Ledger(SweepDirectory(out))
    with found.taking("study"):
        study = Study(sweep, "rebuilt", ledger.of("search"))
    with found.taking("rungs"):
        scheduler = make_scheduler(sweep)
        if isinstance(scheduler, NamedASHA):
            scheduler.replay(ledger.past("search"))
    study.propose()
    with found.taking("proposal"):
        study.propose()
    held = anonymous_mib() - before
    with found.taking("mirror"):
        StudyMirror(study, out / "again.db").close()
    ledger.close()
    with found.taking("status"):
        read_status(out)
    with found.taking("hparams"):
        write_hparams(out, json.loads((out / "results.json").read_text(encoding="utf-8")))
    with found.taking("report"):
        write_report(out)
    return {**found.seconds, "held_mib": round(held, 1)}


class Stopwatch:
    """CPU seconds of this process by what it did."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def taking(self, what: str) -> Iterator[None]:
        """Count what runs inside."""
        start = time.process_time()
        yield
        self.seconds[f"{what}_s"] = round(time.process_time() - start, 4)


COLUMNS = (
    "reports",
    "trials_a_minute",
    "reports_a_second",
    "driver_cpu_ms_a_trial",
    "ray_cpu_ms_a_trial",
    "driver_mib",
)


def render(found: dict[str, Any]) -> str:
    """Return a table, a sweep a row."""
    rows = [("trials", "searcher", "stopping", "at once", *COLUMNS, "resume_s", "proposal_s", "report_s")]
    for sweep in found["sweeps"]:
        again = sweep["rebuild"]
        resume = sum(again[name] for name in ("journal_s", "study_s", "rungs_s"))
        names = (sweep[name] for name in ("num_trials", "searcher", "scheduler", "at_once"))
        rows.append(
            (
                *names,
                *(sweep.get(name) for name in COLUMNS),
                round(resume, 2),
                again["proposal_s"],
                again["report_s"],
            )
        )
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def write(out: Path, found: dict[str, Any]) -> None:
    """Write scale.json, its samples thinned out, and scale.png."""
    from benchmarks.scale_picture import draw

    out.mkdir(parents=True, exist_ok=True)
    sweeps = [{**sweep, "samples": thinned(sweep["samples"])} for sweep in found["sweeps"]]
    (out / "scale.json").write_text(
        json.dumps({**found, "sweeps": sweeps}, indent=1) + "\n", encoding="utf-8"
    )
    draw(sweeps, out / "scale.png")


def thinned(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return about as many samples as a picture shows, and of each what it shows."""
    step = max(1, len(samples) // NUM_POINTS)
    return [{key: round(sample.get(key, 0), 2) for key in SHOWN} for sample in samples[::step]]


if __name__ == "__main__":
    sys.exit(main())
