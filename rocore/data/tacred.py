"""TACRED's JSON: a list of `{"token", "subj_start", "subj_end", "obj_start", "obj_end", "relation"}`.

The ends are inclusive.
"""

from collections.abc import Iterable
from pathlib import Path

from rocore.data import checks
from rocore.data.checks import LIMITS, Limits
from rocore.data.instance import Instance, Span
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


def read_tacred(path: Path, limits: Limits = LIMITS) -> list[Instance]:
    """Read a TACRED file in its order: subject as head, object as tail, without `no_relation`.

    Raises:
        DataError: If the file or an instance isn't in TACRED's form; names the instance and its id.
    """
    path = Path(path)
    tree = checks.parse_json(checks.read_bytes(path, limits), str(path))
    if not isinstance(tree, list):
        raise DataError(
            f"{path}: TACRED's JSON must be a list of instances, but is a {type(tree).__name__}; "
            "is `data.format` right?"
        )
    instances = [
        instance
        for i, record in enumerate(tree)
        if (instance := _read_instance(record, path, i, limits)) is not None
    ]
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


def _read_instance(record: object, path: Path, index: int, limits: Limits) -> Instance | None:
    place = f"{path.name} [{index}]"
    if isinstance(record, dict) and "id" in record:
        place += f" (id {record['id']})"
    relation = checks.check_text(checks.require(record, "relation", place), "`relation`", place)
    if not relation:
        raise DataError(f"{place}: `relation` must have a name, but is empty; write {NO_RELATION!r} for none")
    if relation == NO_RELATION:
        return None
    words = checks.check_words(checks.require(record, "token", place), place)
    head = _inclusive(record, "subj", "head", len(words), place)
    tail = _inclusive(record, "obj", "tail", len(words), place)
    return Instance(
        checks.check_sentence(checks.join_words(words, head, tail), place, limits), relation, place
    )


def _inclusive(record: object, prefix: str, what: str, num_words: int, place: str) -> Span:
    start = checks.require(record, f"{prefix}_start", place)
    last = checks.require(record, f"{prefix}_end", place)
    end = last + 1 if checks.is_whole(last) else last
    return checks.check_span(start, end, length=num_words, unit="word", what=what, place=place)
