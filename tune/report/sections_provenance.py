"""Data, encoder, environment, how to use the result and how to cite the method."""

import json
import shlex
from collections.abc import Mapping

from tune.report.contents import Block, Cell, Code, Paragraph, Section, table
from tune.report.numbers import count
from tune.report.results import Results

CITATION = """\
@inproceedings{zhao-etal-2021-relation,
  title     = {A Relation-Oriented Clustering Method for Open Relation Extraction},
  author    = {Zhao, Jun and Gui, Tao and Zhang, Qi and Zhou, Yaqian},
  booktitle = {Proceedings of the 2021 Conference on Empirical Methods in Natural Language Processing},
  year      = {2021},
  pages     = {9707--9718},
  doi       = {10.18653/v1/2021.emnlp-main.765},
}"""
NAMES = {
    "format": "Format",
    "num_known_relations": "Known relations",
    "num_novel_relations": "Novel relations",
    "num_known_instances": "Known instances",
    "num_novel_instances": "Novel instances",
    "num_hidden_relations": "Known relations that are hidden",
}


def data_section(results: Results) -> Section:
    """Build data and encoder: counts, files and their SHA-256."""
    data, encoder = dict(results.tree.get("data") or {}), dict(results.tree.get("encoder") or {})
    blocks = data_blocks(data, synthetic=bool(results.tree.get("synthetic")))
    if encoder:
        blocks.append(table(("Encoder", ""), flatten(encoder), 2))
    return Section("data", "Data and encoder", tuple(blocks))


def data_blocks(data: Mapping[str, object], *, synthetic: bool) -> list[Block]:
    """Return the tables of one data set: its counts, its files."""
    counts = {key: value for key, value in data.items() if key != "files"}
    rows = [
        (NAMES.get(key, key.replace("_", " ").capitalize()), count(value)) for key, value in counts.items()
    ]
    blocks: list[Block] = [table(("Data", ""), rows, 2)] if rows else []
    files = data.get("files")
    if isinstance(files, Mapping) and files:
        blocks.append(
            table(("File", "SHA-256"), [(name, Cell(str(digest))) for name, digest in files.items()], 2)
        )
    elif synthetic:
        blocks.append(Paragraph("No files: the sentences come from the built-in generator, from its seed."))
    return blocks


def environment_section(results: Results) -> Section:
    """Build what the sweep ran on, and its resolved configuration."""
    environment = dict(results.tree.get("environment") or {})
    blocks: list[Block] = []
    what = "experiment" if results.is_experiment else "sweep"
    if environment:
        blocks.append(table(("Environment", ""), flatten(environment), 2))
    if results.sweep_yaml:
        blocks.append(Code(results.sweep_yaml.rstrip(), f"config.yaml: the resolved {what}", folded=True))
    if not blocks:
        blocks.append(Paragraph("No environment was recorded."))
    return Section("environment", "Environment", tuple(blocks))


def flatten(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of a nested mapping as (dotted key, text)."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            rows.append(
                (
                    f"{prefix}{key}",
                    ", ".join(v if isinstance(v, str) else json.dumps(v) for v in value) or "none",
                )
            )
        else:
            rows.append((f"{prefix}{key}", "none" if value is None else str(value)))
    return rows


def use_section(results: Results, has_config: bool) -> Section:
    """Build what to do next."""
    where, commands = shlex.quote(results.directory_name), []
    if has_config:
        commands += [
            f"# train the best configuration ({results.best_name}) once more, and use it",
            f"rocore train {where}/best_config.yaml --out runs/{where}",
            f"rocore predict runs/{where} NEW_SENTENCES.jsonl",
            "",
        ]
    commands += [
        "# build this report again, from the directory alone",
        f"rocore report {where}",
        "",
        "# curves and the table of hyper-parameters",
        f"tensorboard --logdir {where}/tensorboard",
    ]
    intro = (
        "best_config.yaml is a complete RoCORE configuration: every key is in it."
        if has_config
        else ("There is no best_config.yaml, as no trial finished.")
    )
    text = f"{intro} The commands are run where the folder {results.directory_name}/ lies."
    return Section("use", "How to use it", (Paragraph(text), Code("\n".join(commands))))


def cite_section() -> Section:
    """Build how to cite the method."""
    text = "The method is RoCORE, by Jun Zhao, Tao Gui, Qi Zhang and Yaqian Zhou (EMNLP 2021). Please cite:"
    return Section("cite", "How to cite the method", (Paragraph(text), Code(CITATION)))
