"""What an experiment will take, measured by a few steps of every setting before it starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rocore
from rocore.errors import ConfigError
from tune.experiments.config import Experiment, check_here
from tune.experiments.preparation import check_experiment
from tune.plan import RAY_START_S
from tune.specification import num_threads

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class SettingPlan:
    """One run of a setting: at most `epochs` epochs, pre-training included, and `run_s` seconds."""

    name: str
    epochs: int
    run_s: float


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment will take; `_s` is seconds.

    Attributes:
        num_seeds: Runs of every setting.
        num_concurrent: Runs at once.
        prepare_s: The frozen trunks that aren't in the cache yet.
        out_bytes: Models that stay.
        warnings: What the data's checks say.
    """

    settings: tuple[SettingPlan, ...]
    num_seeds: int
    num_concurrent: int
    prepare_s: float
    out_bytes: int
    warnings: tuple[str, ...]

    @property
    def num_runs(self) -> int:
        """All runs."""
        return len(self.settings) * self.num_seeds

    @property
    def train_s(self) -> float:
        """Training of all runs, one after another."""
        return self.num_seeds * sum(setting.run_s for setting in self.settings)

    @property
    def wall_s(self) -> float:
        """Expected wall time: no run converges before its last epoch, runs side by side don't slow each other."""
        longest = max(setting.run_s for setting in self.settings)
        return RAY_START_S + self.prepare_s + max(self.train_s / self.num_concurrent, longest)

    def as_tree(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "num_runs": self.num_runs,
            "num_concurrent": self.num_concurrent,
            "settings": {each.name: {"epochs": each.epochs, "run_s": each.run_s} for each in self.settings},
            "prepare_s": self.prepare_s,
            "train_s": self.train_s,
            "wall_s": self.wall_s,
            "out_bytes": self.out_bytes,
            "warnings": list(self.warnings),
        }


def plan_experiment(experiment: Experiment, out: Path) -> ExperimentPlan:
    """Check data, encoders and resources, train a few steps of every setting, and plan; nothing is left behind.

    Raises:
        ConfigError: If it can't run.
        RocoreError: If data, encoder or a setting don't work.
    """
    from tune.smoke import count_concurrent, free_bytes

    check_here(experiment, out)
    num_concurrent = min(count_concurrent(experiment.config.resources), experiment.num_runs)
    facts = check_experiment(experiment)
    plans, prepare_s, model_bytes = [], 0.0, 0
    missing: set[str] = set()
    for name, config in experiment.settings.items():
        rocore.set_threads(num_threads(config, experiment.config.resources))
        layer, train = config.encoder.output_layer, config.train
        cost = rocore.measure_run(config, [layer])
        epoch = cost.epochs[layer]
        run_s = cost.setup_s + train.pretrain_epochs * epoch.pretrain_s + train.max_epochs * epoch.joint_s
        plans.append(SettingPlan(name, train.pretrain_epochs + train.max_epochs, run_s))
        model_bytes += cost.checkpoint_bytes
        trunk = config.encoder.model_dump_json() + config.data.model_dump_json()
        if cost.missing_layers and trunk not in missing:
            missing.add(trunk)
            prepare_s += cost.trunk_s
    plan = ExperimentPlan(
        settings=tuple(plans),
        num_seeds=len(experiment.config.seeds),
        num_concurrent=num_concurrent,
        prepare_s=prepare_s,
        out_bytes=model_bytes * len(experiment.config.seeds),
        warnings=facts.warnings,
    )
    free = free_bytes(out)
    if plan.out_bytes > free:
        raise ConfigError(
            f"the models of all runs take {plan.out_bytes / 2**30:.1f} GiB, but where {out} will lie "
            f"{free / 2**30:.1f} GiB are free; free some, or choose another --out"
        )
    return plan


def render(plan: ExperimentPlan) -> "Group":
    """Return the plan as a table and a few lines."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from tune.report.numbers import duration

    table = Table(title="runs", title_justify="left")
    for column in ("setting", "seeds", "epochs at most", "one run"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for each in plan.settings:
        table.add_row(Text(each.name), str(plan.num_seeds), str(each.epochs), duration(each.run_s))
    lines = (
        f"{plan.num_runs} runs, {plan.num_concurrent} at once",
        f"training {duration(plan.train_s)} in all; wall time about {duration(plan.wall_s)}, "
        f"{duration(plan.prepare_s)} of it for frozen trunks; less where runs converge before their last epoch",
        f"disk: {plan.out_bytes / 2**20:.0f} MiB of models",
        *(f"note: {warning}" for warning in plan.warnings),
    )
    return Group(table, *(Text(line) for line in lines))
