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
from rocore.data.json_reader import parse_json
from rocore.data.problems import Problems
from rocore.errors import DataError
from rocore.utf8 import other_encoding


def read_jsonl(path: Path, limits: Limits = LIMITS, name: str | None = None) -> list[Instance]:
    """Read a JSONL file; blank lines are skipped.

    Args:
        path: The file, UTF-8.
        limits: What is taken.
        name: What places and messages call the file. None: its name.

    Raises:
        DataError: If the file can't be read or holds none, or lines aren't in the form above; names each line.
    """
    return _read(Path(path), limits, name, with_relation=True)


def read_sentences(path: Path, limits: Limits = LIMITS, name: str | None = None) -> list[Instance]:
    """Read a JSONL file of new sentences, as `read_jsonl` does, but without looking at `relation`.

    Raises:
        DataError: As `read_jsonl` does.
    """
    return _read(Path(path), limits, name, with_relation=False)


def _read(path: Path, limits: Limits, name: str | None, *, with_relation: bool) -> list[Instance]:
    instances: list[Instance] = []
    problems = Problems()
    for number, line in read_lines(path, limits):
        place = f"{name or path.name} line {number}"
        with problems:
            instances.append(_read_line(line, place, limits, with_relation=with_relation))
    problems.raise_any()
    if not instances:
        raise DataError(f"data file must hold instances, but {path} is empty; write one JSON object a line")
    return instances


def read_lines(path: Path, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that hold anything, from 1; one at a time, as a wrong file may be large.

    Raises:
        DataError: If the file can't be read, is too large or isn't UTF-8.
    """
    try:
        checks.check_size(path, limits)
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1 and (encoding := other_encoding(line)):
                    raise DataError(f"{path}: must be UTF-8, but is {encoding}; save it as UTF-8")
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except OSError as error:
        raise DataError(
            f"data file must be readable, but {path}: {error.strerror}; check `data.root` and the name"
        ) from error


def _read_line(line: bytes, place: str, limits: Limits, *, with_relation: bool) -> Instance:
    record = parse_json(line, place)
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
            checks.check_pair(record, key, place, length=len(text), unit="character")
            for key in ("head", "tail")
        )
        return Sentence(text, head, tail)
    words = checks.check_words(checks.require(record, "tokens", place), place)
    head, tail = (
        checks.check_pair(record, key, place, length=len(words), unit="word") for key in ("head", "tail")
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
