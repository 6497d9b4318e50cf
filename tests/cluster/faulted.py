"""A sweep of the small engine on a lab's hosts, and what a fault did to it."""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from subprocess import Popen

from tests.tune.conftest import PAPER, SPACE
from tests.tune.crashes import DRIVER, check_nothing_lost_nothing_twice, read_results, without_times
from tune.journal import read_events
from tune.remote.copy import copy_root

from .hosts import ENVIRONMENT, PATIENCE_S, PORT, wait_until

NUM_TRIALS = 6
EPOCH_S = 0.3
ROWS = []
"""The fault table, a row a fault."""


class FaultedSweep:
    """Runs in the head's namespace, in a folder that every host sees, or by URL on an object store of the lab."""

    def __init__(self, lab, folder, num_trials=NUM_TRIALS, epoch_s=EPOCH_S, url=None, **resources):
        self.num_trials, self.epoch_s = num_trials, epoch_s
        self.lab, self.inside, self.url = lab, folder / "sweep", url
        # Others look through the first host, which has what the hosts mounted.
        self.out = lab.switch.seen(self.inside if url is None else copy_root(url))
        self.num_resumes, self.since, self.seconds = 0, 0.0, 0.0
        tree = {
            "base": {"encoder": {"output_layer": 4}, "train": {"pretrain_epochs": 1, "max_epochs": 4}},
            "search": {"num_trials": num_trials, "space": SPACE},
            "paper": PAPER,
            "objective": {"num_relations": 4, "num_folds": 2},
            "scheduler": {"grace_epochs": 1, "reduction_factor": 2},
            "racing": {"num_candidates": 0},
            "reevaluation": {"top_k": 2, "num_seeds": 2},
            "trial": {"checkpoint_share": 1},  # what is repeated is counted
            "resources": {"address": f"{lab.head.address}:{PORT}", **resources},
        }
        self.beside("yaml").write_text(json.dumps(tree))

    @property
    def hold(self):
        """While this file is there, trials wait in their next epoch."""
        return self.beside("faults") / "hold"

    def beside(self, ending):
        return self.lab.switch.seen(self.inside.with_name(f"{self.inside.name}.{ending}"))

    def start(self, mode="run"):
        argument = (str(self.inside.with_name(f"{self.inside.name}.yaml")),) if mode == "run" else ()
        with self.beside("log").open("a") as log:
            self.process = Popen(
                self.lab.head.command(sys.executable, DRIVER, self.url or self.inside, mode, *argument),
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **ENVIRONMENT,
                    "EPOCH_S": str(self.epoch_s),
                    "FAULTS": f"{self.inside}.faults",
                },
                cwd="/",
            )
        return self

    def events(self, kind):
        path = self.out / "journal.jsonl"
        events = read_events(path) if path.exists() else []
        return [event for event in events if kind in (None, event["event"])]

    def wait_for(self, number, kind="report"):
        """Wait until so many events of a kind have come since now, of losses since the beginning."""
        before = 0 if kind == "lose" else len(self.events(kind))
        wait_until(lambda: len(self.events(kind)) >= before + number or self.ended(), f"{number} {kind}")
        assert not self.ended(), self.beside("log").read_text()

    def ended(self):
        return self.process.poll() is not None

    def busy(self, num_reports=4):
        """Wait for a worker amid an epoch, hold it there, and let the clock of the recovery begin.

        What waits for what comes after the fault lets it go on.
        """
        self.wait_for(num_reports)
        self.hold.touch()
        worker = wait_until(self.held, "a worker at work")
        self.strike()
        return worker

    def held(self):
        """Return a worker whose trial waits in an epoch."""
        assert not self.ended(), self.beside("log").read_text()
        return next((host for host in self.lab.workers if self.holds(host)), None)

    def holds(self, host):
        """Tell whether a trial of this host waits in an epoch."""
        return (self.hold.parent / f"held-{host.address}").exists()

    def strike(self):
        """The fault is now."""
        self.since, self.seconds = time.monotonic(), 0.0

    def recover(self):
        """Wait for the next epoch; note how long it took since the fault."""
        self.hold.unlink(missing_ok=True)
        self.wait_for(1)
        self.seconds = time.monotonic() - self.since

    def recover_lost(self):
        """Wait until a trial that lost its process reports again; note how long it took since the fault."""
        self.wait_for(1, "lose")
        self.hold.unlink(missing_ok=True)
        name = self.events("lose")[-1]["name"]

        def goes_on():
            about = [event["event"] for event in self.events(None) if event.get("name") == name]
            return "report" in about[last(about, "lose") :]

        wait_until(lambda: goes_on() or self.ended(), f"another epoch of {name}")
        assert goes_on(), self.beside("log").read_text()
        self.seconds = time.monotonic() - self.since

    def wait(self):
        """Return the exit code."""
        self.hold.unlink(missing_ok=True)
        return self.process.wait(PATIENCE_S)

    def kill(self):
        assert self.lab.head.signal(signal.SIGKILL, str(DRIVER))
        self.wait()

    def resume(self):
        self.num_resumes += 1
        self.start("resume").recover()

    def check(self, fault=None, undisturbed=None):
        """The sweep ends; nothing is lost, nothing is there twice, and the numbers are those of the quiet sweep.

        A fault that has a name gets a row in the table.
        """
        assert self.wait() == 0, self.beside("log").read_text()
        with tempfile.TemporaryDirectory() as copy:
            if self.url is None:
                # SQLite follows no path through /proc.
                shutil.copytree(self.out, copy, dirs_exist_ok=True)
            else:
                rocore = Path(sys.executable).with_name("rocore")
                self.lab.head.do(rocore, "sweep", "collect", self.url, "--to", copy)
            check_nothing_lost_nothing_twice(Path(copy), self.num_trials)
            results = without_times(read_results(Path(copy)))
        assert all(
            trial["state"] != "failed" or "every loss" in trial["error"]
            for trial in results["search"]["trials"]
        )
        if undisturbed is not None:
            assert results["search"]["trials"] == undisturbed.results["search"]["trials"]
            assert results["final"] == undisturbed.results["final"]
        if fault is not None:
            ROWS.append(self.row(fault, undisturbed))

    def row(self, fault, undisturbed):
        return {
            "fault": fault,
            "trials": len({event["name"] for event in self.events("ask")}),
            "lost": len(self.events("lose")),
            "repeated": None if undisturbed is None else self.num_epochs() - undisturbed.num_epochs,
            "resumes": self.num_resumes,
            "seconds": round(self.seconds, 1),
        }

    def num_epochs(self):
        return (self.beside("faults") / "epochs").stat().st_size


def last(items, item):
    return len(items) - 1 - items[::-1].index(item)


def fill(folder):
    """Leave no byte on the disk of a folder."""
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        ballast.write(b"\0" * (shutil.disk_usage(folder).free + 4096))
        while shutil.disk_usage(folder).free:
            ballast.write(b"\0" * 4096)
