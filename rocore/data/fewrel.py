"""FewRel's JSON: `{relation: [{"tokens": [...], "h": [name, id, [[indices], ...]], "t": [...]}]}`."""

from pathlib import Path

from rocore.data import checks
from rocore.data.checks import LIMITS, Limits
from rocore.data.instance import Instance, Span
from rocore.data.json_reader import parse_json
from rocore.data.problems import Problems
from rocore.errors import DataError


def read_fewrel(path: Path, limits: Limits = LIMITS, name: str | None = None) -> list[Instance]:
    """Read a FewRel file, relations and instances in the order of the file.

    The first mention of each entity counts; tokens are joined by single spaces.

    Args:
        path: The file, UTF-8.
        limits: What is taken.
        name: What places and messages call the file. None: its name.

    Raises:
        DataError: If the file or an instance isn't in FewRel's form; names the relation and the instance, of all
            that are wrong.
    """
    path = Path(path)
    name = name or path.name
    tree = parse_json(checks.read_bytes(path, limits), name, of_relations=True)
    if not isinstance(tree, dict):
        raise DataError(
            f"{path}: FewRel's JSON must be an object of relations, but is a {type(tree).__name__}; "
            "is `data.format` right?"
        )
    instances: list[Instance] = []
    problems = Problems()
    for relation, records in tree.items():
        with problems:
            _check_relation(relation, records, name)
            for i, record in enumerate(records):
                with problems:
                    instances.append(_read_instance(record, relation, f"{name} {relation}[{i}]", limits))
    problems.raise_any()
    if not instances:
        raise DataError(f"{path}: the file must hold instances, but holds none; fetch it again")
    return instances


def _check_relation(relation: str, records: object, name: str) -> None:
    if not relation:
        raise DataError(f"{name}: a relation must have a name, but one is empty")
    checks.check_text(relation, f"the name of relation {checks.shown(relation)}", name)
    if not isinstance(records, list):
        raise DataError(f"{name} {relation}: a relation must hold a list, but got {checks.shown(records)}")


def _read_instance(record: object, relation: str, place: str, limits: Limits) -> Instance:
    words = checks.check_words(checks.require(record, "tokens", place), place)
    head = _first_mention(checks.require(record, "h", place), len(words), "head", place)
    tail = _first_mention(checks.require(record, "t", place), len(words), "tail", place)
    return Instance(
        checks.check_sentence(checks.join_words(words, head, tail), place, limits), relation, place
    )


def _first_mention(entity: object, num_words: int, what: str, place: str) -> Span:
    mentions = entity[2] if isinstance(entity, list) and len(entity) == 3 else None
    if not isinstance(mentions, list) or not mentions or not isinstance(mentions[0], list):
        raise DataError(
            f"{place}: the {what} must be [name, id, [[token indices], ...]], but got {checks.shown(entity)}"
        )
    indices = mentions[0]
    if not indices:
        raise DataError(f"{place}: the {what} span must not be empty, but its first mention has no token")
    if not all(checks.is_whole(i) for i in indices):
        raise DataError(f"{place}: the {what} indices must be whole numbers, but got {checks.shown(indices)}")
    if indices != list(range(indices[0], indices[0] + len(indices))):
        raise DataError(
            f"{place}: the {what} indices must be contiguous, but got {checks.shown(indices)}; "
            "name the words from first to last"
        )
    if not 0 <= indices[0] <= indices[-1] < num_words:
        raise DataError(
            f"{place}: the {what} indices must lie within the sentence of {num_words} words, but are "
            f"{checks.shown(indices)}; count words from 0, the last one is {num_words - 1}"
        )
    return indices[0], indices[-1] + 1
