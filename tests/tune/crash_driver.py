"""Run, resume or extend a sweep of the small engine in a process of its own, which tests may kill.

    python crash_driver.py OUT run SWEEP_FILE | resume | extend N

Markers in the folder OUT.faults (or $FAULTS) make trials fail, or wait while `hold` is there: see `Trainer`. Its file
`epochs` grows by a dot an epoch trained. OUT may be a URL.
"""

import errno
import importlib.util
import os
import sys
import time
from pathlib import Path

import click
from ray import cloudpickle
from ray.util import get_node_ip_address

from rocore.errors import RocoreError
from tune.config import load_sweep
from tune.preparation import Facts
from tune.sweep import resume_sweep, run_sweep
from tune.trial import Trial

FACTS = Facts(
    data={"format": "builtin", "num_known_relations": 16, "num_novel_relations": 8, "files": {}},
    encoder={"name": "minilm"},
    environment={"packages": {}, "fingerprints": {}},
    synthetic=True,
    warnings=(),
)


def load_engine():
    """Return the module of the small engine, as pytest would."""
    path = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("small_engine", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["small_engine"] = module
    spec.loader.exec_module(module)
    return module


def make_trainable(small, faults, epoch_s):
    class Trainer(small.FakeTrainer):
        def run_epoch(self):
            time.sleep(epoch_s)
            if (faults / "hold").exists():
                held = faults / f"held-{get_node_ip_address()}"
                held.touch()
                while (faults / "hold").exists():
                    time.sleep(0.05)
                held.unlink(missing_ok=True)
            with (faults / "epochs").open("a") as epochs:
                epochs.write(".")
            if (faults / "disk-full").exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.epoch == 2 and (faults / "lose-once").exists():
                (faults / "lose-once").unlink(missing_ok=True)
                os._exit(1)
            return super().run_epoch()

    class Engine(small.FakeEngine):
        def Trainer(self, config, task):  # noqa: N802
            return Trainer(config, task)

    class FakeTrial(Trial):
        def engine(self):
            return Engine()

    return FakeTrial


def main(out, mode, argument=None):
    small = load_engine()
    for module in (small, sys.modules["__main__"]):
        cloudpickle.register_pickle_by_value(module)
    faults = Path(os.environ.get("FAULTS") or f"{out}.faults")
    faults.mkdir(exist_ok=True)
    trainable = make_trainable(small, faults, float(os.environ.get("EPOCH_S", "0.05")))
    common = {
        "trainable": trainable,
        "prepare": lambda _: FACTS,
        "echo": lambda text: click.echo(text, err=True),
    }
    try:
        if mode == "run":
            run_sweep(load_sweep(argument), out, **common)
        else:
            resume_sweep(out, num_more=int(argument or 0), **common)
    except RocoreError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]), *sys.argv[2:]))
