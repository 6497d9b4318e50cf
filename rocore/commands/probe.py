"""`rocore probe`: which layer and pooling of an encoder holds relations best, before anything is trained."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import click

from rocore.commands.options import config_argument, set_option
from rocore.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from rocore.probe import Probe

KEY = "encoder.output_layer"
SHOWN = 10


def _parse_layers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--layers must be whole numbers with commas between them, but got {value!r}; "
            "for example --layers 2,3,4"
        ) from error


@click.command(
    short_help="Say which layer and pooling of an encoder holds relations best; nothing is trained."
)
@config_argument
@click.option(
    "--layers",
    metavar="R,R,...",
    callback=_parse_layers,
    help="Layers to probe.  [default: all of the encoder's]",
)
@click.option(
    "--instances",
    "num_instances",
    default=60,
    show_default=True,
    type=click.IntRange(min=5),
    help="Instances of each known relation; a relation that has fewer is left out.",
)
@click.option(
    "--seeds",
    "num_seeds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Hold-outs, each another fifth of the instances.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write every figure here.")
@set_option
def probe(
    config: Path,
    layers: tuple[int, ...] | None,
    num_instances: int,
    num_seeds: int,
    json_file: Path | None,
    overrides: dict[str, Any],
) -> None:
    """Score layers and poolings of CONFIG's encoder by a linear probe on known relations.

    A linear classifier learns the known relations from frozen features, and is scored on instances held out.
    `data.novel` is opened by `data.resplit` alone, which deals its relations. The encoder stays as it was pretrained,
    so `encoder.output_layer` of CONFIG doesn't matter.

    \b
    rocore probe configs/rocore/quickstart.yaml --instances 40
    rocore probe configs/rocore/fewrel_minilm.yaml --layers 3,4,5 --json probe.json
    """
    from rich.console import Console

    from rocore.config import load_config
    from rocore.outputs import check_file, write_atomically
    from rocore.probe import probe_encoder
    from rocore.progress import progress_bars

    if json_file is not None:
        check_file(json_file, "--json")
    settings = load_config(config, overrides)
    with progress_bars() as progress:
        result = probe_encoder(
            settings, layers, num_instances=num_instances, num_seeds=num_seeds, progress=progress
        )
    Console().print(_table(result, settings.encoder.name))
    if result.left_out:
        click.echo(_left_out(result))
    if result.synthetic:
        click.echo("These sentences are synthetic: they were generated, not found.")
    if json_file is not None:
        write_atomically(json_file, json.dumps(_tree(result, settings.encoder.name), indent=1) + "\n")


def _table(result: "Probe", name: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from rocore.text import shown

    best = result.best()
    table = Table(
        title=Text(f"{shown(name)}, untrained: linear probe on {result.num_relations} known relations"),
        caption=Text(_caption(result)),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("layer", justify="right")
    table.add_column("pooling")
    table.add_column("B3 F1", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("")
    above = result.scores[0].layer
    for score in result.scores:
        if score.layer != above:
            table.add_section()
            above = score.layer
        figures = (_figure(score.b3_f1), _figure(score.accuracy))
        mark = "best" if score is best else ""
        table.add_row(str(score.layer), score.pooling, *figures, mark, style="bold" if mark else "")
    return table


def _figure(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" +- {stdev(values):.3f}" if len(values) > 1 else "")


def _caption(result: "Probe") -> str:
    from rocore.probe import PAPER

    chosen = result.best(PAPER)
    over = (
        "One hold-out"
        if len(result.seeds) == 1
        else f"Mean +- standard deviation over {len(result.seeds)} hold-outs"
    )
    return (
        f"Pooling: of the head, of the tail, and beside them the sentence's first token or the mean of the tokens "
        f"between the entities.\n{over} of a fifth of {result.num_instances} instances a relation; "
        f"{result.precision}.\nOf {PAPER}, the paper's, layer {chosen.layer} is best: --set {KEY}={chosen.layer}\n"
        "There is no key for another pooling: RoCORE trains with the maximum over each entity's tokens."
    )


def _left_out(result: "Probe") -> str:
    from rocore.text import listed, shown

    return (
        f"left out: {len(result.left_out)} known relations with fewer than {result.num_instances} instances: "
        f"{listed([shown(name) for name in result.left_out], SHOWN)}"
    )


def _tree(result: "Probe", name: str) -> dict[str, Any]:
    from rocore.probe import PAPER

    def figures(values: Sequence[float]) -> dict[str, Any]:
        std = stdev(values) if len(values) > 1 else None
        return {"mean": mean(values), "std": std, "values": list(values)}

    def row(score: Any) -> dict[str, Any]:
        return {"layer": score.layer, "pooling": score.pooling}

    return {
        "encoder": name,
        "precision": result.precision,
        "num_relations": result.num_relations,
        "instances_per_relation": result.num_instances,
        "left_out": list(result.left_out),
        "seeds": list(result.seeds),
        "synthetic": result.synthetic,
        "best": row(result.best()),
        "set": {KEY: result.best(PAPER).layer},
        "scores": [
            {**row(score), "b3_f1": figures(score.b3_f1), "accuracy": figures(score.accuracy)}
            for score in result.scores
        ],
    }
