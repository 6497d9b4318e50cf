"""Files for programs: results.csv, final.csv and best_config.yaml. Their numbers are exact."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

import rocore
from rocore.config import dump_config, make_config, with_overrides
from tune.report.results import PAPER, Results, values_by_seed


def trials_csv(results: Results) -> str:
    """Return one row a trial of the search."""
    keys = results.keys
    header = [
        "trial",
        "state",
        "is_paper",
        "is_best",
        "objective",
        "epochs",
        "seconds",
        *keys,
        "error",
        "stamp",
    ]
    best = results.best_trial["number"] if results.best_trial else None
    rows = [
        [
            trial["number"],
            trial.get("state"),
            bool(trial.get("is_paper")),
            trial["number"] == best,
            trial.get("objective"),
            trial.get("epochs"),
            trial.get("seconds"),
            *((trial.get("params") or {}).get(key) for key in keys),
            trial.get("error"),
            results.stamp,
        ]
        for trial in results.trials
    ]
    return csv_text(header, rows)


def final_csv(results: Results) -> str:
    """Return one row a configuration of the final comparison and metric; `values` holds seed=value."""
    keys = results.keys
    header = ["configuration", "is_paper", "is_best", "metric", "mean", "std", "n", "ci95_low", "ci95_high"]
    header += ["values", "num_failed_seeds", *keys, "stamp"]
    rows = []
    for entry in results.final:
        params = entry.get("params") or {}
        for metric in results.metrics:
            figures = (entry.get("metrics") or {}).get(metric) or {}
            low, high = figures.get("ci95") or (None, None)
            values = values_by_seed(entry, metric)
            rows.append(
                [
                    entry["name"],
                    entry["name"] == PAPER,
                    entry["name"] == results.best_name,
                    metric,
                    figures.get("mean"),
                    figures.get("std"),
                    figures.get("n", 0),
                    low,
                    high,
                    " ".join(f"{seed}={value!r}" for seed, value in values.items()),
                    len(entry.get("failed_seeds") or []),
                    *(params.get(key) for key in keys),
                    results.stamp,
                ]
            )
    return csv_text(header, rows)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def best_config(results: Results) -> str | None:
    """Return the RoCORE configuration to use, as YAML; None where no trial finished.

    Raises:
        ConfigError: If results.json holds a base configuration or values that RoCORE refuses.
    """
    base, params = results.tree.get("base_config") or _base_of(results.sweep_yaml), results.best_params
    if not base or params is None:
        return None
    tree = with_overrides(base, {**params, "data.pseudo_novel": None})
    config = make_config(tree, f"base_config of results.json with the values of {results.best_name}")
    title = rocore.visible(results.name)
    lines = [f"# {results.best_name} of the sweep {title}", "# rocore train best_config.yaml --out runs/best"]
    if results.stamp:
        lines.append(f"# {results.stamp}")
    return "\n".join(lines) + "\n" + dump_config(config)


def _base_of(sweep_yaml: str) -> dict[str, Any] | None:
    tree = yaml.safe_load(sweep_yaml) if sweep_yaml else None
    base = tree.get("base") if isinstance(tree, dict) else None
    return base if isinstance(base, dict) else None
