"""Whole sweeps with Ray taken out: the real searcher, early stopping, ledger and steps, on scores that are formulas.

A trial scores 1 - |margin - 1| at each of its epochs, which take a minute each on a clock of their own.
"""

from contextlib import contextmanager
from types import SimpleNamespace

from tune.preparation import Facts
from tune.ray_scheduler import FirstCome
from tune.simulation import ray_trial
from tune.sweep import resume_sweep, run_sweep

FACTS = Facts(data={}, encoder={}, environment={}, synthetic=True, warnings=())
EPOCHS = 4
MINUTE = 60.0


@contextmanager
def no_session(resources, log_folder):
    yield


class Clock:
    """Seconds since 1970."""

    def __init__(self):
        self.now = 1e9

    def time(self):
        return self.now


class NoCurves:
    """Stands for TensorBoard's."""

    def __init__(self, directory):
        pass

    def started(self, record):
        pass

    def advanced(self, record, scalars):
        pass

    def ended(self, record):
        pass


class WithoutRay:
    """Runs sweeps; `stop_after` lets so many epochs pass and then interrupts, `workers` trials train in turn."""

    def __init__(self, out, clock):
        self.out, self.clock = out, clock
        self.workers, self.epochs_left, self.score = 1, None, None

    def run(self, sweep):
        return run_sweep(sweep, self.out, prepare=lambda _: FACTS)

    def resume(self, **arguments):
        # A pause, which counts nowhere.
        self.clock.now += 1e6
        return resume_sweep(self.out, prepare=lambda _: FACTS, **arguments)

    def fit(self, sweep, searcher, scheduler, trainable):
        """Stand in for Ray: workers take turns, an epoch each."""
        ledger = searcher.ledger
        if searcher.role == "search":
            ledger.hold(sweep.config.resources.gpus_per_trial, 0)
        running = {}
        while self._give(running, searcher, scheduler):
            if searcher.role == "search" and self.epochs_left is not None:
                if self.epochs_left == 0:
                    raise KeyboardInterrupt
                self.epochs_left -= 1
            self.clock.now += MINUTE
            for worker, spec in list(running.items()):
                if self._advance(ledger, spec, scheduler):
                    del running[worker]
                    searcher.on_trial_complete(str(worker), self._last)

    def _give(self, running, searcher, scheduler):
        """Give each idle worker a trial, as long as there are any; tell whether any runs."""
        for worker in set(range(self.workers)) - set(running):
            asked = searcher.suggest(str(worker))
            if isinstance(asked, dict):
                running[worker] = asked["spec"]
                if not isinstance(scheduler, FirstCome):
                    scheduler.on_trial_add(None, ray_trial(asked["spec"]["name"]))
        return bool(running)

    def _advance(self, ledger, spec, scheduler):
        epoch = ledger.records[spec["name"]].epochs + 1
        objective = 1.0 - abs(spec["params"]["loss.pair_margin"] - 1.0)
        objective = objective if self.score is None else self.score(spec)
        self._last = {
            "epoch": epoch,
            "joint_epoch": epoch,
            "phase": "joint",
            "objective": objective,
            "seconds": MINUTE,
            "finished": epoch == EPOCHS,
            "metrics": {"novel_test.b3_f1": objective},
        }
        ledger.report(spec["name"], self._last)
        if self._last["finished"] or isinstance(scheduler, FirstCome):
            return self._last["finished"]
        return scheduler.on_trial_result(None, ray_trial(spec["name"]), self._last) == "STOP"


def take_ray_out(monkeypatch, out):
    """Return a `WithoutRay` for a sweep directory."""
    without = WithoutRay(out, Clock())
    clock = SimpleNamespace(time=without.clock.time)
    monkeypatch.setattr("tune.journal.time", clock)
    monkeypatch.setattr("tune.limits.time", clock)
    monkeypatch.setattr("tune.ray_backend.ray_session", no_session)
    monkeypatch.setattr("tune.ray_backend._fit", without.fit)
    # Pictures take longer than all the rest; curves stay open at an interrupt, whose process goes on here.
    monkeypatch.setattr("tune.sweep.write_reports", lambda *_: None)
    monkeypatch.setattr("tune.curves.CurveLogger", NoCurves)
    return without
