"""`rocore data`: look at data, check it, fetch FewRel, convert KnowledgeNet, put a folder on an object store."""

import sys
from pathlib import Path
from typing import Any

import click

from rocore.commands.options import config_argument, set_option


@click.group()
def data() -> None:
    """Describe, validate, fetch, convert and push data."""


@data.command()
@config_argument
@set_option
@click.option(
    "--relations",
    "num_relations",
    default=10,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many relations of each role are listed.",
)
def describe(config: Path, overrides: dict[str, Any], num_relations: int) -> None:
    """Show what CONFIG's data were cut to, and their counts, relations, lengths and duplicates.

    \b
    rocore data describe configs/rocore/quickstart.yaml
    """
    from rich.console import Console

    from rocore.config import load_config
    from rocore.data.describe import describe as summarise
    from rocore.data.describe import render, render_cuts
    from rocore.data.load import load_data
    from rocore.data.validation import look_alikes
    from rocore.text import shown

    loaded = load_data(load_config(config, overrides).data)
    if loaded.corpus.cuts:
        Console().print(render_cuts(loaded.corpus.cuts))
    Console().print(render(summarise(loaded), num_relations=num_relations))
    for finding in look_alikes(loaded):
        click.echo(shown(f"{finding.severity}: {finding.message}", lines=True))
    if loaded.corpus.synthetic:
        click.echo("These sentences are synthetic: they were generated, not found.")
    click.echo(f"Clusters looked for: {loaded.corpus.num_novel_relations}")


@data.command()
@config_argument
@set_option
def validate(config: Path, overrides: dict[str, Any]) -> None:
    """Check all that training would refuse of CONFIG, its data and its encoder; nothing is trained.

    Every sentence is cut into word pieces. Ends with 0 and "ok", or with 2 and everything that is to be repaired.

    \b
    rocore data validate my.yaml && rocore train my.yaml
    """
    from rocore.config import load_config
    from rocore.text import shown
    from rocore.training.inputs import read_inputs

    settings = load_config(config, overrides)
    inputs = read_inputs(settings)
    inputs.cut_into_pieces(settings.encoder.max_pieces)
    for warning in inputs.warnings:
        click.echo(shown(f"warning: {warning}", lines=True))
    inputs.problems.raise_any()
    click.echo("ok")


@data.command()
@click.argument("dataset", type=click.Choice(["fewrel"]))
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder.  [default: data/DATASET]")
@click.option(
    "--base-url", help="A mirror that has the same files.  [default: the data set's GitHub repository]"
)
def fetch(dataset: str, folder: Path | None, base_url: str | None) -> None:
    """Download DATASET; resumes, and checks every file's SHA-256.

    \b
    rocore data fetch fewrel --to data/fewrel
    """
    from rocore.data.fetch import BASE_URL, fetch_fewrel, make_progress
    from rocore.outputs import check_folder
    from rocore.streams import outlive_readers

    target = folder or Path("data") / dataset
    check_folder(target, "--to")
    outlive_readers()
    with make_progress(disable=not sys.stderr.isatty()) as progress:
        paths = fetch_fewrel(target, base_url or BASE_URL, progress)
    for path in paths:
        click.echo(str(path))


@data.command()
@click.argument("dataset", type=click.Choice(["knowledgenet"]))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out", "folder", required=True, type=click.Path(path_type=Path), help="Folder; made if absent."
)
def convert(dataset: str, file: Path, folder: Path) -> None:
    """Write DATASET's FILE as JSONL that `data.format: jsonl` reads.

    \b
    rocore data convert knowledgenet knowledgenet_train.jsonl --out data/knowledgenet
    rocore train configs/rocore/knowledgenet_minilm.yaml
    """
    from rocore.data.knowledgenet import convert_knowledgenet

    assert dataset == "knowledgenet"
    written, num_instances, num_left_out = convert_knowledgenet(file, folder)
    click.echo(f"{written}: {num_instances:,} instances")
    if num_left_out:
        click.echo(f"{num_left_out:,} facts were left out: their pair of entities has another relation, too")


@data.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("url")
def push(folder: Path, url: str) -> None:
    """Put FOLDER, with data or an encoder, on an object store, with checksums; again, only what changed.

    `data.root`, and `encoder.name`, may then be the URL: every machine fetches the files once, and checks them.

    \b
    rocore data push data/fewrel s3://bucket/fewrel
    rocore train configs/rocore/fewrel_minilm.yaml --set data.root=s3://bucket/fewrel
    """
    from rocore.storage import Storage
    from rocore.streams import outlive_readers

    outlive_readers()
    storage = Storage.at(url)
    storage.push(folder)
    for name in storage.manifest() or {}:
        click.echo(name)
