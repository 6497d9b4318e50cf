"""`rocore predict`: clusters or known relations of new sentences."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click


@click.command(short_help="Predict clusters or known relations of new sentences.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write. Default: standard output.")
def predict(directory: Path, file: Path, out: Path | None) -> None:
    r"""Apply the run in DIRECTORY to the sentences of FILE (the generic JSONL; relations are not needed).

    One JSON line a sentence, in order: `index`, `cluster` (of the novel relations) or `relation` (a known one), and
    `probability`. A run in standard mode takes every sentence to be novel; one in incremental mode also names known
    relations.

    \b
    rocore predict runs/a new.jsonl --out clusters.jsonl
    """
    from rocore.data import read_sentences
    from rocore.data.checks import Limits
    from rocore.prediction import load_predictor
    from rocore.run_directory import RunDirectory, write_atomically

    instances = read_sentences(file, Limits.of(RunDirectory(directory).load_config().data))
    predictor = load_predictor(directory)
    lines = (
        json.dumps({"index": index, **asdict(prediction)}, ensure_ascii=False) + "\n"
        for index, prediction in enumerate(
            predictor.predict(
                [instance.sentence for instance in instances], [instance.place for instance in instances]
            )
        )
    )
    if out is None:
        sys.stdout.writelines(lines)
        return
    write_atomically(out, "".join(lines))
    click.echo(f"{len(instances)} predictions in {out}")
