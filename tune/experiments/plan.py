"""What an experiment will take, measured by a few steps before it starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rocore
from rocore.errors import ConfigError
from tune.experiments.checks import check_here
from tune.experiments.config import Experiment
from tune.experiments.preparation import check_experiment
from tune.plan import RAY_START_S
from tune.specification import num_threads

if TYPE_CHECKING:
    from rich.console import Group


WITHOUT_COST: Any = {
    "seed": True,
    "loss": {"center_weight", "pair_margin", "weight_decay", "novel_cross_entropy"},
    "incremental": {"rampup_peak", "rampup_epochs"},
    "encoder": {"output_layer"},
    "train": {
        "pretrain_epochs",
        "max_epochs",
        "learning_rate",
        "convergence_tolerance",
        "convergence_patience",
    },
}
"""Keys that an epoch takes no longer or shorter for, and the output layer, as one measurement takes several."""


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
        num_concurrent: Runs, or packs of runs, at once.
        pack: Runs in one process.
        prepare_s: The frozen trunks that aren't in the cache yet.
        out_bytes: Models that stay.
        warnings: What the data's checks say.
    """

    settings: tuple[SettingPlan, ...]
    num_seeds: int
    num_concurrent: int
    pack: int
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
            "pack": self.pack,
            "settings": {each.name: {"epochs": each.epochs, "run_s": each.run_s} for each in self.settings},
            "prepare_s": self.prepare_s,
            "train_s": self.train_s,
            "wall_s": self.wall_s,
            "out_bytes": self.out_bytes,
            "warnings": list(self.warnings),
        }


def plan_experiment(experiment: Experiment, out: Path) -> ExperimentPlan:
    """Check data, encoders and resources, train a few steps once for each cost, and plan; nothing is left behind.

    Raises:
        ConfigError: If it can't run.
        RocoreError: If data, encoder or a setting don't work.
    """
    from tune.smoke import count_concurrent, free_bytes

    check_here(out)
    num_concurrent = min(count_concurrent(experiment.config.resources), experiment.num_runs)
    facts = check_experiment(experiment)
    costs = _measure(experiment)
    plans = []
    for name, config in experiment.configurations.items():
        cost, train = costs[name], config.train
        epoch = cost.epochs[config.encoder.output_layer]
        run_s = cost.setup_s + train.pretrain_epochs * epoch.pretrain_s + train.max_epochs * epoch.joint_s
        plans.append(SettingPlan(name, train.pretrain_epochs + train.max_epochs, run_s))
    # Configurations of one pass share its time.
    passes: dict[str, float] = {}
    for name, config in experiment.configurations.items():
        if costs[name].missing_layers:
            key = config.model_dump_json(include={"data", "encoder"}, exclude={"encoder": {"output_layer"}})
            passes[key] = max(passes.get(key, 0.0), costs[name].trunk_s)
    model_bytes = sum(cost.checkpoint_bytes for cost in costs.values())
    plan = ExperimentPlan(
        settings=tuple(plans),
        num_seeds=len(experiment.config.seeds),
        num_concurrent=num_concurrent,
        pack=experiment.config.trial.pack,
        prepare_s=sum(passes.values()),
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


def _measure(experiment: Experiment) -> dict[str, rocore.RunCost]:
    """Return what a run of each configuration takes; those that differ in nothing that costs are measured once."""
    alike: dict[str, list[str]] = {}
    for name, config in experiment.configurations.items():
        alike.setdefault(config.model_dump_json(exclude=WITHOUT_COST), []).append(name)
    costs: dict[str, rocore.RunCost] = {}
    for names in alike.values():
        config = experiment.configurations[names[0]]
        rocore.set_threads(num_threads(config, experiment.config.resources))
        layers = {experiment.configurations[name].encoder.output_layer for name in names}
        cost = rocore.measure_run(config, sorted(layers))
        costs |= dict.fromkeys(names, cost)
    return costs


def render(plan: ExperimentPlan) -> "Group":
    """Return the plan as a table and a few lines."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from tune.plan_table import at_once_text
    from tune.report.numbers import duration

    table = Table(title="runs", title_justify="left")
    for column in ("setting", "seeds", "epochs at most", "one run"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for each in plan.settings:
        table.add_row(Text(each.name), str(plan.num_seeds), str(each.epochs), duration(each.run_s))
    lines = (
        f"{plan.num_runs} runs, {at_once_text(plan.num_concurrent, plan.pack)}",
        f"training {duration(plan.train_s)} in all; wall time about {duration(plan.wall_s)}, "
        f"{duration(plan.prepare_s)} of it for frozen trunks; less where runs converge before their last epoch",
        f"disk: {plan.out_bytes / 2**20:.0f} MiB of models",
        *(f"note: {warning}" for warning in plan.warnings),
    )
    return Group(table, *(Text(line) for line in lines))
