"""The model card of an exported run: what it is, what it was trained on, how good it is, how to use it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rocore.config import Config, load_config
from tune.report.markdown import escape

METRIC_GROUPS = ("novel_test", "all_test")


def render_card(name: str, folder: Path, entry: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Return the text of README.md.

    Args:
        name: The configuration's.
        folder: The exported run directory, without its card.
        entry: Of results.json's `final`, with figures over all seeds; empty for a single run.
        results: results.json; empty for a single run.
    """
    config = load_config(folder / "config.yaml")
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    lines = [
        f"# RoCORE: {escape(name)}",
        "",
        f"Clusters sentences with entity pairs into {run['num_novel_relations']} novel relations"
        + (
            f", or names one of {len(run['known_relations'])} known ones"
            if config.incremental.enabled
            else ""
        )
        + ".",
        *_usage(),
        *_figures(folder, entry, results),
        *_training(config, run, folder),
        *_provenance(run, results),
    ]
    return "\n".join(lines) + "\n"


def _usage() -> Iterator[str]:
    yield from (
        "",
        "## Use",
        "",
        "```",
        "rocore predict FOLDER new.jsonl    # cluster or known relation, and probability, of each sentence",
        "rocore evaluate FOLDER             # its figures again; needs the data that config.yaml names",
        "rocore train FOLDER/config.yaml    # the same model from scratch",
        "```",
        "",
        "Weights of the trained layer and of the heads: `checkpoints/*/model.safetensors`; the frozen layers are the "
        "encoder's own.",
    )


def _figures(folder: Path, entry: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[str]:
    """Figures of this model, and of its configuration over all seeds."""
    own = (
        _flat(json.loads(path.read_text(encoding="utf-8")))
        if (path := folder / "metrics.json").is_file()
        else {}
    )
    yield from ("", "## Figures", "")
    if not own:
        yield "There are none: the novel instances carry no gold relations, or the run hasn't ended."
        return
    over = entry.get("metrics", {})
    seeds = entry.get("seeds", [])
    yield "| metric | this model |" + (f" mean +- std over {len(seeds)} seeds |" if over else "")
    yield "| --- | --- |" + (" --- |" if over else "")
    for metric, value in own.items():
        cell = ""
        if over:
            cell = f" {_mean_std(over[metric])} |" if metric in over else "  |"
        yield f"| {metric} | {value:.4f} |{cell}"
    if entry.get("failed_seeds"):
        yield f"\nFailed seeds: {', '.join(str(failed['seed']) for failed in entry['failed_seeds'])}."
    if results.get("verdict"):
        yield f"\n{results['verdict']['text']}"
    if (stamp := results.get("objective", {}).get("stamp")) is not None:
        yield f"\n**Warning: {stamp}.**"


def _training(config: Config, run: Mapping[str, Any], folder: Path) -> Iterator[str]:
    metrics = folder / "metrics.json"
    yield from ("", "## Training", "")
    yield f"- Data: {config.data.format}" + (
        ", synthetic: the figures say nothing about real text" if run["synthetic"] else ""
    )
    for file, digest in run["files"].items():
        yield f"  - {escape(file)}, SHA-256 `{digest}`"
    yield f"- Known relations: {', '.join(map(escape, run['known_relations']))}"
    yield (
        f"- Encoder: {escape(config.encoder.name)}, fine-tuned layer {config.encoder.output_layer}, "
        f"SHA-256 `{run['fingerprints']['encoder']}`"
    )
    loss, incremental = config.loss, config.incremental
    yield f"- lambda {loss.center_weight:g}, sigma {loss.pair_margin:g}" + (
        f", mu0 {incremental.rampup_peak:g}, T {incremental.rampup_epochs}" if incremental.enabled else ""
    )
    if metrics.is_file():
        figures = json.loads(metrics.read_text(encoding="utf-8"))
        ended = f"{figures['epochs']} epochs (stopped: {figures['stop_reason']})"
        attention = f", attention by {run['attention']}" if "attention" in run else ""  # older runs don't say
        yield f"- Seed {config.seed}, {ended}, {run['precision']}{attention}"
    yield "- All keys: `config.yaml`; rows of each split: `splits.json`"


def _provenance(run: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Provenance", "")
    if results:
        search = results["search"]
        yield (
            f"- Sweep {escape(results['name'])}, {results['created']}: {len(search['trials'])} trials, "
            f"searcher {search['searcher']}, scheduler {search['scheduler']['name']}"
        )
        yield f"- Objective {results['objective']['name']}: {results['objective']['description']}"
        yield "- Of the seeds of the final comparison, the model is that of the first, not of the best"
    environment = run["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    yield f"- Python {environment['python']}, {escape(packages)}"
    yield f"- {escape(environment['platform'])}; {escape(', '.join(environment['gpus'])) or 'no GPU'}"


def _flat(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of metrics.json by dotted name."""
    grouped = {
        f"{group}.{name}": value for group in METRIC_GROUPS for name, value in metrics.get(group, {}).items()
    }
    single = ("known_accuracy", "novel_accuracy_hungarian")
    return {**grouped, **{name: metrics[name] for name in single if name in metrics}}


def _mean_std(summary: Mapping[str, Any]) -> str:
    std = summary["std"]
    return f"{summary['mean']:.4f}" + ("" if std is None else f" +- {std:.4f}")
