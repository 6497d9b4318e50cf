"""How time and memory of minilm's trial grow with instances, sentence length, layer r and number of relations."""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import rocore
from benchmarks.footprint import import_all
from benchmarks.fresh import in_fresh_process, note
from benchmarks.memory import sampled_peak
from benchmarks.plain import seconds_of
from benchmarks.speed import EngineTimes
from benchmarks.workload import Case, Instances, Workload, write_cut

SHARE = 0.1
"""Sentence lengths and layers are measured on this part of the instances."""


@dataclass(frozen=True)
class Point:
    """One measurement: the data's folder, layer r, and where it stands on its axis."""

    axis: str
    value: float
    data_root: str
    output_layer: int


@dataclass(frozen=True)
class Plan:
    """Values on each axis."""

    multiples: tuple[float, ...] = (0.125, 0.25, 0.5, 1, 2)
    """Of the instances at hand."""
    num_words: tuple[int, ...] = (40, 80, 160)
    layers: tuple[int, ...] = (2, 4, 6)
    num_relations: tuple[int, ...] = (16, 32, 64)
    relations_share: int = 2000
    """Instances of each file where the number of relations varies."""


QUICK = Plan((0.5, 2), (40,), (1,), (2,), 40)
AXES = {
    "instances": "instances in all",
    "sentence_length": "words a sentence",
    "output_layer": "output layer r",
    "relations": "known relations (the number of instances stays)",
}


def scale(relations: Instances, multiple: float) -> Instances:
    """Keep an even part of each relation's instances, or add copies, told apart by a last word."""

    def copy(instance: dict[str, Any], number: int) -> dict[str, Any]:
        return {**instance, "tokens": [*instance["tokens"], str(number)]} if number else instance

    if multiple < 1:
        return {name: instances[:: round(1 / multiple)] for name, instances in relations.items()}
    return {
        name: [copy(instance, number) for number in range(round(multiple)) for instance in instances]
        for name, instances in relations.items()
    }


def lengthen(relations: Instances, num_words: int) -> Instances:
    """Fill every sentence up to `num_words` with the words of the sentences after it; longer ones stay."""
    flat = [instance for instances in relations.values() for instance in instances]
    words = [word for instance in flat for word in instance["tokens"]]
    starts, start = {}, 0
    for instance in flat:
        starts[id(instance)] = start
        start += len(instance["tokens"])

    def filled(instance: dict[str, Any]) -> dict[str, Any]:
        own = instance["tokens"]
        after = starts[id(instance)] + len(own)
        more = list(chain(words[after : after + num_words], words))[: max(0, num_words - len(own))]
        return {**instance, "tokens": own + more}

    return {name: [filled(i) for i in instances] for name, instances in relations.items()}


def narrow(relations: Instances, num_relations: int, num_instances: int) -> Instances:
    """Keep the first `num_relations`, and of each as many as make about `num_instances`."""
    kept = dict(list(relations.items())[:num_relations])
    return {name: instances[: num_instances // len(kept)] for name, instances in kept.items()}


def points(workload: Workload, case: Case, folder: Path) -> Iterator[Point]:
    """Write the data of every point and yield them."""
    plan, r = QUICK if workload.quick else Plan(), case.output_layer
    source = Path(workload.data_root)
    for multiple in plan.multiples:
        root = write_cut(source, folder / f"times{multiple:g}", lambda x, n=multiple: scale(x, n))
        yield Point("instances", multiple, str(root), r)
    base = write_cut(source, folder / "base", lambda x: scale(x, SHARE))
    for num_words in plan.num_words:
        root = write_cut(base, folder / f"words{num_words}", lambda x, n=num_words: lengthen(x, n))
        yield Point("sentence_length", num_words, str(root), r)
    for layer in plan.layers:
        yield Point("output_layer", layer, str(base), layer)
    for num_relations in plan.num_relations:
        root = write_cut(
            source,
            folder / f"relations{num_relations}",
            lambda x, n=num_relations: narrow(x, n, plan.relations_share),
        )
        yield Point("relations", num_relations, str(root), r)


def measure_point(workload: Workload, case: Case, point: Point) -> dict[str, Any]:
    """Time and peak memory of a short trial at one point, its trunk pass included: nothing is cached before."""
    before = import_all()
    config = workload.config(
        replace(case, output_layer=point.output_layer),
        data__root=point.data_root,
        encoder__max_pieces=512,
        train__device="cpu",
        train__pretrain_epochs=1,
        train__max_epochs=workload.rounds,
    )
    with sampled_peak() as peak:
        prepare = seconds_of(lambda: rocore.prepare(config))  # the trunk pass
    trunk_mib = peak.mib - before
    with sampled_peak() as peak:
        prepared = rocore.prepare(config)
        engine = EngineTimes(config, prepared)
        for _ in range(1 + workload.rounds):
            engine.run_epoch()
    value = len(prepared.task.bank.lengths) if point.axis == "instances" else point.value
    return {
        "axis": point.axis,
        "value": value,
        "instances": len(prepared.task.bank.lengths),
        "tokens": int(prepared.task.bank.lengths.sum()),
        "prepare_s": prepare,
        "pretrain_epoch_s": statistics.median(engine.walls("pretrain")),
        "joint_epoch_s": statistics.median(engine.walls("joint")),
        "prepare_mib": trunk_mib,
        "trial_mib": peak.mib - before,
    }


def measure(workload: Workload, case: Case) -> list[dict[str, Any]]:
    """Measure every point in a process of its own, with caches that are thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        measured = []
        for number, point in enumerate(points(workload, case, Path(scratch) / "data")):
            note(f"growth with {point.axis}, {point.value:g}")
            apart = replace(workload, cache_root=f"{scratch}/cache{number}")
            measured.append(in_fresh_process(measure_point, apart, case, point))
        return measured


def draw(measured: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw one picture an axis, `growth_<axis>.png`: times on the left, memory on the right."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    paths = []
    for axis, label in AXES.items():
        own = [point for point in measured if point["axis"] == axis]
        figure, (times, memory) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for panel, unit, keys in (
            (times, "s", ("joint_epoch_s", "pretrain_epoch_s", "prepare_s")),
            (memory, "mib", ("trial_mib", "prepare_mib")),
        ):
            for key in keys:
                name = key.removesuffix(f"_{unit}").replace("_", " ")
                panel.plot([p["value"] for p in own], [p[key] for p in own], marker="o", label=name)
            panel.set_ylim(bottom=0)
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.set_xlabel(label)
            panel.legend()
            panel.grid(alpha=0.3)
        times.set_ylabel("seconds")
        memory.set_ylabel("anonymous memory beyond\nimports, peak (MiB)")
        figure.suptitle("minilm; prepare: data, encoder and trunk pass without a cache")
        paths.append(folder / f"growth_{axis}.png")
        figure.savefig(paths[-1], dpi=120)
        plt.close(figure)
    return paths
