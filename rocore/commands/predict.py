"""`rocore predict`: clusters or known relations of new sentences."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rocore.commands.options import set_option


@click.command(short_help="Predict clusters or known relations of new sentences.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write. Default: standard output.")
@set_option
def predict(directory: Path, file: Path, out: Path | None, overrides: dict[str, Any]) -> None:
    """Apply the run in DIRECTORY to the sentences of FILE (the generic JSONL; relations are not needed).

    One JSON line a sentence, in order: `index`, `cluster` (of the novel relations) or `relation` (a known one), and
    `probability`. A run in standard mode takes every sentence to be novel; one in incremental mode also names known
    relations. --set says where the encoder lies now, or raises a limit such as data.max_sentence_characters.

    \b
    rocore predict runs/a new.jsonl --out clusters.jsonl
    """
    from rocore.data import read_sentences
    from rocore.data.checks import Limits
    from rocore.outputs import check_file, write_atomically
    from rocore.prediction import load_predictor
    from rocore.run_directory import RunDirectory
    from rocore.streams import is_utf8

    if out is not None:
        check_file(out)
    config = RunDirectory(directory).load_config(overrides)
    instances = read_sentences(file, Limits.of(config.data))
    predictor = load_predictor(directory, str(overrides.get("train.device", "auto")), overrides)
    ensure_ascii = out is None and not is_utf8(sys.stdout)
    lines = (
        json.dumps({"index": index, **asdict(prediction)}, ensure_ascii=ensure_ascii) + "\n"
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
