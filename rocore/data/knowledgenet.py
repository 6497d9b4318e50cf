"""KnowledgeNet's facts, one JSON object a line: `{"relation", "text", "subject", "object"}`.

`subject` and `object` are `[start, end]`, half-open spans of characters; other keys are left alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rocore.data import checks
from rocore.data.checks import LIMITS, Limits
from rocore.data.instance import Instance, Sentence
from rocore.data.json_reader import parse_json
from rocore.data.jsonl import read_lines
from rocore.data.problems import Problems
from rocore.data.validation import duplicate_key
from rocore.errors import DataError
from rocore.outputs import check_folder, write_atomically

NAME = "knowledgenet.jsonl"


def convert_knowledgenet(path: Path, folder: Path) -> tuple[Path, int, int]:
    """Write KnowledgeNet's facts as JSONL: subject as head, object as tail, in the order of the file.

    Pairs of entities with several relations are left out: an instance has one, and one pair must not stand in a known
    and in a novel relation.

    Args:
        path: The facts, UTF-8.
        folder: Where knowledgenet.jsonl is written; made if absent.

    Returns:
        The file, how many instances it holds, and how many facts were left out.

    Raises:
        ConfigError: If the folder can't be written.
        DataError: If the facts can't be read; names each line that is wrong.
    """
    check_folder(folder)
    facts = read_knowledgenet(path)
    instances = with_one_relation(facts)
    if not instances:
        raise DataError(
            f"{path} must hold pairs of entities with one relation, but each of {len(facts)} facts is of a pair "
            "with several; is it the right file?"
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / NAME
    write_atomically(written, "".join(_line(instance) for instance in instances))
    return written, len(instances), len(facts) - len(instances)


def read_knowledgenet(path: Path, limits: Limits = LIMITS) -> list[Instance]:
    """Read the facts in the order of the file.

    Raises:
        DataError: If the file can't be read or holds none, or lines aren't in the form above; names each line.
    """
    instances: list[Instance] = []
    problems = Problems()
    for number, line in read_lines(path, limits):
        with problems:
            instances.append(_read_line(line, f"{path.name} line {number}", limits))
    problems.raise_any()
    if not instances:
        raise DataError(f"data file must hold facts, but {path} is empty; write one JSON object a line")
    return instances


def with_one_relation(instances: Sequence[Instance]) -> list[Instance]:
    """Leave out every instance whose text and spans stand under another relation, too."""
    relations: dict[object, set[str | None]] = {}
    for instance in instances:
        relations.setdefault(duplicate_key(instance.sentence), set()).add(instance.relation)
    return [each for each in instances if len(relations[duplicate_key(each.sentence)]) == 1]


def _read_line(line: bytes, place: str, limits: Limits) -> Instance:
    record = parse_json(line, place)
    text = checks.check_text(checks.require(record, "text", place), "`text`", place)
    relation = checks.check_text(checks.require(record, "relation", place), "`relation`", place)
    if not relation:
        raise DataError(f"{place}: `relation` must have a name, but is empty; drop the line")
    head, tail = (
        checks.check_pair(record, key, place, length=len(text), unit="character")
        for key in ("subject", "object")
    )
    return Instance(checks.check_sentence(Sentence(text, head, tail), place, limits), relation, place)


def _line(instance: Instance) -> str:
    record = {**asdict(instance.sentence), "relation": instance.relation}
    return json.dumps(record, ensure_ascii=False) + "\n"
