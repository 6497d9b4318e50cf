"""The generic format: one JSON object a line.

`{"tokens": [...], "head": [start, end], "tail": [start, end], "relation": "..." | null}` with half-open word
spans, or `{"text": "...", ...}` with half-open character spans. `relation` may be absent; other keys are left
alone.
"""

from collections.abc import Iterator
from pathlib import Path

from rocore.data import checks
from rocore.data.checks import LIMITS, Limits
from rocore.data.instance import Instance, Sentence
from rocore.errors import DataError


def iter_jsonl(path: Path, limits: Limits = LIMITS, *, with_relation: bool = True) -> Iterator[Instance]:
    """Yield instances line by line; blank lines are skipped.

    Args:
        path: The file, UTF-8.
        limits: What is taken.
        with_relation: False for prediction on new sentences, where `relation` isn't even looked at.

    Raises:
        DataError: If the file can't be read or a line isn't in the form above; names the line.
    """
    path = Path(path)
    try:
        checks.check_size(path, limits)
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read_line(line, f"{path.name} line {number}", limits, with_relation=with_relation)
    except OSError as error:
        raise DataError(
            f"data file must be readable, but {path}: {error.strerror}; check `data.root` and the name"
        ) from error


def read_jsonl(path: Path, limits: Limits = LIMITS) -> list[Instance]:
    """Read a JSONL file.

    Raises:
        DataError: If a line isn't in the format's form, or the file holds none.
    """
    return _some(list(iter_jsonl(path, limits)), path)


def read_sentences(path: Path, limits: Limits = LIMITS) -> list[Instance]:
    """Read a JSONL file of new sentences, ignoring relations.

    Raises:
        DataError: If a line isn't in the format's form, or the file holds none.
    """
    return _some(list(iter_jsonl(path, limits, with_relation=False)), path)


def _some(instances: list[Instance], path: Path) -> list[Instance]:
    if not instances:
        raise DataError(f"data file must hold instances, but {path} is empty; write one JSON object a line")
    return instances


def _read_line(line: bytes, place: str, limits: Limits, *, with_relation: bool) -> Instance:
    record = checks.parse_json(line, place)
    sentence = checks.check_sentence(_read_sentence(record, place), place, limits)
    return Instance(sentence, _read_relation(record, place) if with_relation else None, place)


def _read_sentence(record: object, place: str) -> Sentence:
    if isinstance(record, dict) and "text" in record:
        if "tokens" in record:
            raise DataError(f"{place}: an instance must have `tokens` or `text`, but has both; remove one")
        text = checks.check_text(record["text"], "`text`", place)
        if not text.strip():
            raise DataError(f"{place}: a sentence must hold words, but got {text!r}; drop the instance")
        head, tail = (
            checks.check_pair(
                checks.require(record, what, place),
                length=len(text),
                unit="character",
                what=what,
                place=place,
            )
            for what in ("head", "tail")
        )
        return Sentence(text, head, tail)
    words = checks.check_words(checks.require(record, "tokens", place), place)
    head, tail = (
        checks.check_pair(
            checks.require(record, what, place), length=len(words), unit="word", what=what, place=place
        )
        for what in ("head", "tail")
    )
    return checks.join_words(words, head, tail)


def _read_relation(record: object, place: str) -> str | None:
    relation = record.get("relation") if isinstance(record, dict) else None
    if relation is None:
        return None
    name = checks.check_text(relation, "`relation`", place)
    if not name:
        raise DataError(f"{place}: `relation` must have a name, but is empty; write null for none")
    return name
