"""Imports Ray through tune/: trials that compute nothing, so that a sweep of them is its control loop alone."""

import json
import random
from pathlib import Path
from typing import Any

from tune.config import Sweep, load_sweep
from tune.preparation import Facts
from tune.sweep import run_sweep
from tune.trial import StoredTrainable
from tune.trial_run import Result

HERE = Path(__file__).parent
SWEEP = HERE.parent / "configs" / "tune" / "fewrel_minilm.yaml"
EPOCHS, GRACE, FACTOR = 9, 1, 3
"""Joint epochs of a trial that isn't stopped, the first rung and the distance of rungs."""
LOSSES = ("pair", "center", "known", "novel", "consistency")
FACTS = Facts(
    data={"format": "none", "num_known_relations": 64, "num_novel_relations": 16, "files": {}},
    encoder={"name": "none"},
    environment={"packages": {}, "fingerprints": {}},
    synthetic=True,
    warnings=(),
)


class NoOp(StoredTrainable):
    """Reports at once, as many figures as a training does, and a checkpoint of a few bytes; its score is drawn."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        self.spec, self.epoch = config["spec"], 0
        self.draw = random.Random(self.spec["name"])
        self.height = self.draw.random()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def train_epoch(self) -> Result:
        self.epoch += 1
        train = self.spec["config"]["train"]
        joint = self.epoch - train["pretrain_epochs"]
        score = (
            max(0.0, self.height * joint / train["max_epochs"] + self.draw.gauss(0, 0.02))
            if joint > 0
            else 0.0
        )
        finished = joint == train["max_epochs"]
        figures = {f"loss/{name}": self.draw.random() for name in LOSSES}
        final = {"novel_test.b3_f1": score} if finished and self.spec["role"] == "final" else None
        return {
            "epoch": self.epoch,
            "joint_epoch": max(0, joint),
            "objective": score,
            "phase": "joint" if joint > 0 else "pretrain",
            "finished": finished,
            "done": finished,
            "failed": False,
            "seconds": 0.001,
            "scalars": json.dumps({**figures, "silhouette": score, "pseudo_label_change": 0.1}),
            "metrics": json.dumps(final),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "epoch.json").write_text(str(self.epoch))


def sweep_of(num_trials: int, searcher: str, scheduler: str, at_once: int, num_cpus: float) -> Sweep:
    """Return the FewRel sweep with many short trials, which share the machine's processors."""
    return load_sweep(
        SWEEP,
        {
            "search.num_trials": num_trials,
            "search.searcher": searcher,
            "train.pretrain_epochs": 1,
            "train.max_epochs": EPOCHS,
            "scheduler.name": scheduler,
            "scheduler.grace_epochs": GRACE,
            "scheduler.reduction_factor": FACTOR,
            "racing.num_candidates": 0,
            "reevaluation.num_seeds": 2,
            "resources.max_concurrent_trials": at_once,
            "resources.cpus_per_trial": min(1.0, num_cpus / at_once),
        },
    )


def run(out: Path, options: dict[str, Any]) -> None:
    """Run a whole sweep of nothing through the product's own path."""
    run_sweep(sweep_of(**options), out, trainable=NoOp, prepare=lambda _: FACTS)
