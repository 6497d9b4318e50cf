"""TACRED's JSON: a list of `{"token", "subj_start", "subj_end", "obj_start", "obj_end", "relation"}`.

The ends are inclusive.
"""

from collections.abc import Iterable
from pathlib import Path

from rocore.data import checks
from rocore.data.checks import LIMITS, Limits
from rocore.data.instance import Instance, Span
from rocore.data.json_reader import parse_json
from rocore.data.problems import Problems
from rocore.errors import DataError

NO_RELATION = "no_relation"

NOVEL_TACRED_RELATIONS = (
    "org:founded",
    "per:country_of_birth",
    "per:date_of_birth",
    "per:city_of_birth",
    "per:charges",
    "per:country_of_death",
    "per:stateorprovince_of_death",
    "per:city_of_death",
    "per:cause_of_death",
    "per:schools_attended",
)
"""The ten of 41 relations that are novel in the paper's experiments, in the released program's order."""


def read_tacred(path: Path, limits: Limits = LIMITS, name: str | None = None) -> list[Instance]:
    """Read a TACRED file in its order: subject as head, object as tail, without `no_relation`.

    Args:
        path: The file, UTF-8.
        limits: What is taken.
        name: What places and messages call the file. None: its name.

    Raises:
        DataError: If the file or an instance isn't in TACRED's form; names the instance and its id, of all that are
            wrong.
    """
    path = Path(path)
    name = name or path.name
    tree = parse_json(checks.read_bytes(path, limits), name)
    if not isinstance(tree, list):
        raise DataError(
            f"{path}: TACRED's JSON must be a list of instances, but is a {type(tree).__name__}; "
            "is `data.format` right?"
        )
    instances: list[Instance] = []
    problems = Problems()
    for i, record in enumerate(tree):
        with problems:
            instance = _read_instance(record, _place(record, name, i), limits)
            instances += [] if instance is None else [instance]
    problems.raise_any()
    if not instances:
        raise DataError(
            f"{path}: the file must hold instances with a relation, but holds none of {len(tree)}"
        )
    return instances


def known_tacred(instances: Iterable[Instance]) -> list[Instance]:
    """Return the instances of the 31 known relations."""
    return [instance for instance in instances if instance.relation not in NOVEL_TACRED_RELATIONS]


def novel_tacred(instances: Iterable[Instance]) -> list[Instance]:
    """Return the instances of the ten novel relations."""
    return [instance for instance in instances if instance.relation in NOVEL_TACRED_RELATIONS]


def _place(record: object, name: str, index: int) -> str:
    if not isinstance(record, dict) or "id" not in record:
        return f"{name} [{index}]"
    found = record["id"]
    is_plain = isinstance(found, str) and found.isprintable() and len(found) <= checks.SHOWN
    return f"{name} [{index}] (id {found if is_plain else checks.shown(found)})"


def _read_instance(record: object, place: str, limits: Limits) -> Instance | None:
    relation = checks.check_text(checks.require(record, "relation", place), "`relation`", place)
    if not relation:
        raise DataError(f"{place}: `relation` must have a name, but is empty; write {NO_RELATION!r} for none")
    if relation == NO_RELATION:
        return None
    words = checks.check_words(checks.require(record, "token", place), place)
    head = _inclusive(record, "subj", "subject", len(words), place)
    tail = _inclusive(record, "obj", "object", len(words), place)
    return Instance(
        checks.check_sentence(checks.join_words(words, head, tail), place, limits), relation, place
    )


def _inclusive(record: object, prefix: str, what: str, num_words: int, place: str) -> Span:
    """Return the half-open span of an entity; messages speak of it as the file does."""
    first, last = f"{prefix}_start", f"{prefix}_end"
    start, end = checks.require(record, first, place), checks.require(record, last, place)
    if not checks.is_whole(start) or not checks.is_whole(end):
        raise DataError(
            f"{place}: {first} and {last} must be whole numbers, but are {checks.shown(start)} and {checks.shown(end)}"
        )
    if not 0 <= start <= end < num_words:
        raise DataError(
            f"{place}: the {what} must lie within the sentence of {num_words} words, but has {first} {start} and "
            f"{last} {end}; {last} is the last word itself, so {first} <= {last} <= {num_words - 1} must hold"
        )
    return start, end + 1
