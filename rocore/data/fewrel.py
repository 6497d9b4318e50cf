"""FewRel's JSON: `{relation: [{"tokens": [...], "h": [name, id, [[indices], ...]], "t": [...]}]}`."""

from pathlib import Path

from rocore.data import checks
from rocore.data.checks import LIMITS, Limits
from rocore.data.instance import Instance, Span
from rocore.errors import DataError


def read_fewrel(path: Path, limits: Limits = LIMITS) -> list[Instance]:
    """Read a FewRel file, relations and instances in the order of the file.

    The first mention of each entity counts; tokens are joined by single spaces.

    Raises:
        DataError: If the file or an instance isn't in FewRel's form; names the relation and the instance.
    """
    path = Path(path)
    tree = checks.parse_json(checks.read_bytes(path, limits), str(path))
    if not isinstance(tree, dict):
        raise DataError(
            f"{path}: FewRel's JSON must be an object of relations, but is a {type(tree).__name__}; "
            "is `data.format` right?"
        )
    instances: list[Instance] = []
    for relation, records in tree.items():
        if not relation:
            raise DataError(f"{path}: a relation must have a name, but one is empty")
        if not isinstance(records, list):
            raise DataError(
                f"{path} {relation}: a relation must hold a list, but got {checks.shown(records)}"
            )
        instances += [
            _read_instance(r, relation, f"{path.name} {relation}[{i}]", limits) for i, r in enumerate(records)
        ]
    if not instances:
        raise DataError(f"{path}: the file must hold instances, but holds none; fetch it again")
    return instances


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
    return checks.check_span(
        indices[0], indices[-1] + 1, length=num_words, unit="word", what=what, place=place
    )
