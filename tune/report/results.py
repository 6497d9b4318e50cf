"""Reading a sweep directory: results.json and what stands beside it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rocore.errors import CheckpointError
from tune.representations import FILE as REPRESENTATIONS
from tune.representations import Representations
from tune.sweep_directory import check_is_sweep

SCHEMA = 1
PAPER = "paper"
B3_F1 = "novel_test.b3_f1"
SEVEN = ("b3_precision", "b3_recall", "b3_f1", "homogeneity", "completeness", "v_measure", "ari")
INCREMENTAL = (*(f"all_test.{name}" for name in SEVEN), "known_accuracy", "novel_accuracy_hungarian")

Record = dict[str, Any]
"""A trial, a configuration of the final comparison, or a metric, as results.json holds it."""


@dataclass(frozen=True)
class Results:
    """results.json, and the questions that every part of the report asks of it.

    Attributes:
        tree: What results.json holds.
        directory_name: Last part of the sweep directory's path, for commands.
        sweep_yaml: The resolved sweep configuration; empty where config.yaml is absent.
        representations: h' of one run of the best configuration; None where no run left it.
    """

    tree: Record
    directory_name: str = "sweep"
    sweep_yaml: str = ""
    representations: Representations | None = None

    @property
    def name(self) -> str:
        """Title of the sweep."""
        return str(self.tree.get("name") or "sweep")

    @property
    def stamp(self) -> str | None:
        """What must stand on everything that is written; None where the selection was honest."""
        return self.objective.get("stamp") or None

    @property
    def objective(self) -> Record:
        """The objective of the search."""
        return dict(self.tree.get("objective") or {})

    @property
    def search(self) -> Record:
        """The search."""
        return dict(self.tree.get("search") or {})

    @cached_property
    def trials(self) -> list[Record]:
        """Trials of the search, by number."""
        return sorted(self.search.get("trials") or [], key=lambda trial: int(trial["number"]))

    @property
    def space(self) -> dict[str, Record]:
        """Searched keys."""
        return dict(self.search.get("space") or {})

    @property
    def keys(self) -> list[str]:
        """Searched keys, in order, and any other that a trial or a configuration sets."""
        found = dict.fromkeys(self.space)
        for record in (*self.trials, *self.final):
            found.update(dict.fromkeys(record.get("params") or {}))
        return list(found)

    @property
    def final(self) -> list[Record]:
        """Configurations of the final comparison."""
        return list(self.tree.get("final") or [])

    @property
    def reference(self) -> str | None:
        """The configuration that the others are compared with: the paper's in a sweep, any in an experiment."""
        named = self.tree.get("reference", PAPER)
        return None if named is None else str(named)

    @property
    def data_set(self) -> str | None:
        """The data set of an experiment that this is a part of; None where there is but one."""
        return self.tree.get("data_set")

    def of_data_set(self, name: str) -> str:
        """Return the name of a picture or a table, which must be the only one of that name in the report."""
        return name if self.data_set is None else f"{name}-{self.data_set}"

    @property
    def is_experiment(self) -> bool:
        """Whether nothing was searched: these are an experiment's settings."""
        return self.tree.get("kind") == "experiment"

    @property
    def reference_text(self) -> str:
        """How sentences call the reference."""
        return str(self.reference) if self.is_experiment else "the paper's configuration"

    @property
    def race(self) -> Record:
        """The race between search and final comparison; empty where there was none."""
        return dict(self.tree.get("race") or {})

    @property
    def verdict(self) -> Record:
        """The comparison of the best configuration with the paper's; empty before the re-evaluation."""
        return dict(self.tree.get("verdict") or {})

    @property
    def metric(self) -> str:
        """The metric that the verdict is about."""
        named = self.verdict.get("metric") or self.tree.get("metric")
        found = self.metrics
        return str(named) if named in found or not found else B3_F1 if B3_F1 in found else found[0]

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics of the final comparison: the seven, the incremental ones, others."""
        found = dict.fromkeys(name for entry in self.final for name in entry.get("metrics") or {})
        order = [*(f"novel_test.{name}" for name in SEVEN), *INCREMENTAL]
        return [name for name in order if name in found] + [name for name in found if name not in order]

    @property
    def best_trial(self) -> Record | None:
        """The trial that the search chose; None where no trial finished."""
        number = self.search.get("best_trial")
        return next((trial for trial in self.trials if trial["number"] == number), None)

    @property
    def paper_trial(self) -> Record | None:
        """The trial of the paper's configuration."""
        return next((trial for trial in self.trials if trial.get("is_paper")), None)

    @property
    def decision(self) -> Record:
        """What the sweep stands for; empty before the race, and in sweeps of older versions."""
        return dict(self.tree.get("decision") or {})

    @property
    def best_name(self) -> str | None:
        """Name of the configuration to use; None without a trial.

        Before anything is decided that is the paper's: it stays unless a race speaks against it.
        """
        named = self.verdict.get("best") or self.decision.get("choice")
        if named is not None:
            return str(named)
        return PAPER if self.paper_trial is not None else self.search_choice

    @property
    def compared_name(self) -> str | None:
        """Name of the configuration that is compared with the paper's: the choice, or the runner-up beside it."""
        if self.best_name != PAPER:
            return self.best_name
        named = self.decision.get("runner_up")
        return None if named is None else str(named)

    @property
    def search_choice(self) -> str | None:
        """Name of what the search found best; another trial with the paper's values is the paper's too."""
        if self.best_trial is None:
            return None
        paper = self.paper_trial
        same = paper is not None and self.best_trial["params"] == paper["params"]
        return PAPER if same else f"trial-{self.best_trial['number']}"

    @property
    def best_params(self) -> Record | None:
        """Searched values of the configuration to use."""
        entry = self.final_named(self.best_name)
        if entry is not None:
            return dict(entry["params"])
        trial = self.paper_trial if self.best_name == PAPER else self.best_trial
        return dict(trial["params"]) if trial is not None else None

    def final_named(self, name: str | None) -> Record | None:
        """Return a configuration of the final comparison."""
        return next((entry for entry in self.final if entry["name"] == name), None)

    def of_state(self, state: str) -> list[Record]:
        """Return the trials that ended so."""
        return [trial for trial in self.trials if trial.get("state") == state]


def values_by_seed(entry: Record, metric: str) -> dict[int, float]:
    """Return the values of a metric by the seed that gave them; failed seeds have none."""
    figures = (entry.get("metrics") or {}).get(metric)
    failed = {failure["seed"] for failure in entry.get("failed_seeds") or []}
    finished = [seed for seed in entry.get("seeds") or [] if seed not in failed]
    values = (figures or {}).get("values") or []
    return dict(zip(finished, values, strict=True)) if len(finished) == len(values) else {}


def read_results(directory: Path) -> Results:
    """Read a sweep directory.

    Raises:
        CheckpointError: If results.json is absent, torn or of another version.
    """
    check_is_sweep(directory)
    path = directory / "results.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{directory} must be a sweep directory that holds results.json, but it doesn't; "
            f"results.json is written at the end of the search (rocore sweep CONFIG --out {directory})"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} must be readable JSON, but {error}; run the sweep again") from error
    schema = tree.get("schema") if isinstance(tree, dict) else None
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path} must be of schema {SCHEMA}, but is of {schema!r}; "
            "use the version of rocore-tune that wrote it"
        )
    beside = directory / "environment.json"
    if not tree.get("environment") and beside.is_file():
        tree["environment"] = json.loads(beside.read_text(encoding="utf-8"))
    config, points = directory / "config.yaml", directory / REPRESENTATIONS
    return Results(
        tree=tree,
        directory_name=directory.resolve().name or "sweep",
        sweep_yaml=config.read_text(encoding="utf-8") if config.is_file() else "",
        representations=Representations.load(points) if points.is_file() else None,
    )
