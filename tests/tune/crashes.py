"""Sweeps in processes of their own, killed on purpose, and what must hold of their directories afterwards."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna

from tune.journal import read_events

DRIVER = Path(__file__).with_name("crash_driver.py")
PATIENCE_S = 300
"""Far above what anything here takes: a hang is a failure, slowness isn't."""
STUDY_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


class Driver:
    """A sweep's process."""

    def __init__(self, out, *arguments, epoch_s=0.05):
        self.out = out
        self.log = out.with_name(f"{out.name}.log")
        self.start = num_events(out)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(DRIVER), str(out), *map(str, arguments)],
                stdout=log,
                stderr=log,
                env={**os.environ, "EPOCH_S": str(epoch_s)},
                start_new_session=True,
            )

    def wait_for_events(self, number):
        """Wait until the journal has grown by so many events; tell whether it did before the process ended."""
        end = time.monotonic() + PATIENCE_S
        while num_events(self.out) < self.start + number:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                self._give_up()
            time.sleep(0.01)
        return True

    def kill(self, what):
        """Kill the driver, the raylet or a trial with SIGKILL; tell whether there was one."""
        if what == "driver":
            pids = [self.process.pid]
        else:
            pids = [pid for pid, name in descendants(self.process.pid).items() if what in name]
        for pid in pids[:1]:
            os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def wait(self):
        """Return the exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return self._give_up()

    def _give_up(self):
        self.process.kill()
        self.process.wait()
        raise AssertionError(self.log.read_text())


def num_events(out):
    path = out / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_ends(out, number):
    """Wait until so many trials of a sweep have ended."""
    end = time.monotonic() + PATIENCE_S
    path = out / "journal.jsonl"
    while not path.exists() or path.read_bytes().count(b'{"event": "end"') < number:
        assert time.monotonic() < end, out.with_name(f"{out.name}.log").read_text()
        time.sleep(0.05)


def descendants(root):
    """Return the processes below one, by id, with their titles."""
    table = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                title = (folder / "cmdline").read_text().replace("\0", " ").split(" ")[0]
            except (OSError, IndexError):
                continue
            table[int(folder.name)] = (parent, title)
    found = {root}
    while more := {pid for pid, (parent, _) in table.items() if parent in found} - found:
        found |= more
    return {pid: table[pid][1] for pid in found - {root} if pid in table}


def run_with_kills(out, sweep_file, seed, kills):
    """Run a sweep, kill what `kills` says at random moments, resume until it is done; return how many kills struck."""
    chance, arguments, struck = random.Random(seed), ("run", sweep_file), 0
    for what in kills:
        driver = Driver(out, *arguments)
        if driver.wait_for_events(chance.randint(2, 30)):
            # Between events too.
            time.sleep(chance.uniform(0, 0.2))
            struck += driver.kill(what)
        code = driver.wait()
        if num_events(out):
            arguments = ("resume",)
        if code == 0:
            break
    else:
        driver = Driver(out, *arguments)
        code = driver.wait()
    assert code == 0, driver.log.read_text()
    return struck


def read_results(out):
    return json.loads((out / "results.json").read_text())


def without_times(tree):
    """Return results without what may differ between equal sweeps: times, interruptions, the study's random name."""
    differing = ("seconds", "created", "study_name", "history")
    if isinstance(tree, dict):
        return {key: without_times(value) for key, value in tree.items() if key not in differing}
    return [without_times(item) for item in tree] if isinstance(tree, list) else tree


def check_nothing_lost_nothing_twice(out, num_trials):
    """Journal, results, study and folders of a finished sweep must tell the same story."""
    results, events = read_results(out), read_events(out / "journal.jsonl")
    trials = results["search"]["trials"]
    assert results["status"] == "complete"
    assert [trial["number"] for trial in trials] == list(range(num_trials))
    assert len({json.dumps(trial["params"]) for trial in trials}) == num_trials
    for kind in ("ask", "end"):
        counts = Counter(event["name"] for event in events if event["event"] == kind)
        assert set(counts.values()) == {1}
        assert {f"{number:04d}" for number in range(num_trials)} < set(counts)
    curves = {}
    for event in events:
        if event["event"] == "report":
            curves.setdefault(event["name"], []).append(event["epoch"])
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in curves.values())
    for trial in trials:
        assert [row["epoch"] for row in trial["curve"]] == curves[f"{trial['number']:04d}"]
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'study.db'}")
    assert [(t.number, t.state.name, t.params, t.value) for t in study.trials] == [
        (t["number"], STUDY_STATES[t["state"]], t["params"], t["objective"]) for t in trials
    ]
    assert [list(t.intermediate_values) for t in study.trials] == [
        curves[f"{n:04d}"] for n in range(num_trials)
    ]
    assert all(len(entry["seeds"]) == 2 and not entry["failed_seeds"] for entry in results["final"])
    # Checkpoints go with the end of their trial; the first seed of each configuration keeps its model.
    assert list((out / "ray").glob("*/*/checkpoint_*")) == []
    models = {path.parent.name for path in (out / "final").glob("*/checkpoints")}
    assert models == {f"{entry['name']}-seed{min(entry['seeds'])}" for entry in results["final"]}
