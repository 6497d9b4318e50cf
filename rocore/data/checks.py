"""Checks that all readers share: every failure names the place, what must hold, what came and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeGuard

from rocore.config import DataConfig, nearest
from rocore.data.instance import Sentence, Span
from rocore.errors import DataError
from rocore.utf8 import lone_surrogate

SHOWN = 60
LARGEST = 2**63
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What readers take: `data.max_file_mib` and `data.max_sentence_characters`."""

    file_mib: float
    sentence_characters: int

    @classmethod
    def of(cls, config: DataConfig) -> Self:
        """Return a configuration's limits."""
        return cls(config.max_file_mib, config.max_sentence_characters)


LIMITS = Limits.of(DataConfig())


def shown(value: object) -> str:
    """Return a value for a message, shortened."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} of too many levels"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def check_size(path: Path, limits: Limits) -> None:
    """Check a data file's size before it is read.

    Raises:
        DataError: If it is larger than `data.max_file_mib`.
        OSError: If it is absent.
    """
    num_bytes = path.stat().st_size
    if num_bytes > limits.file_mib * MIB:
        raise DataError(
            f"a data file must have at most {limits.file_mib:g} MiB, but {path} has {num_bytes / MIB:.1f}; "
            "is it the right file? Split it, or raise data.max_file_mib"
        )


def read_bytes(path: Path, limits: Limits) -> bytes:
    """Read a data file.

    Raises:
        DataError: If it is absent, unreadable, too large or empty.
    """
    try:
        check_size(path, limits)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"data file must be readable, but {path}: {error.strerror}; check `data.root` and the name"
        ) from error
    if not content.strip():
        raise DataError(f"data file must hold instances, but {path} is empty; fetch or write it again")
    return content


def require(record: object, key: str, place: str) -> object:
    """Return a record's field.

    Raises:
        DataError: If the record isn't an object or lacks the field.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"{place}: an instance must be a JSON object, but got {shown(record)}")
    if key not in record:
        hint = nearest(key, [str(k) for k in record]) if record else "the object is empty"
        raise DataError(f"{place}: an instance must have `{key}`, but has none; {hint}")
    return record[key]


def check_text(text: object, what: str, place: str) -> str:
    """Return a text.

    Raises:
        DataError: If it isn't a string, or holds half of a surrogate pair.
    """
    if not isinstance(text, str):
        raise DataError(f"{place}: {what} must be a string, but got {shown(text)}")
    if fault := lone_surrogate(text):
        raise DataError(f"{place}: {what} {fault}")
    return text


def check_words(words: object, place: str) -> list[str]:
    """Return a list of words; words may be empty or hold spaces, but not all of them.

    Raises:
        DataError: If it isn't a list of strings with some text.
    """
    if not isinstance(words, list):
        raise DataError(f"{place}: the tokens must be a list of strings, but got {shown(words)}")
    for i, word in enumerate(words):
        check_text(word, f"token {i}", place)
    if not any(word.strip() for word in words):
        raise DataError(f"{place}: a sentence must hold words, but got {shown(words)}; drop the instance")
    return words


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a JSON value is a whole number that can count anything; true and false aren't."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST


def check_span(start: object, end: object, *, length: int, unit: str, what: str, place: str) -> Span:
    """Return a half-open span.

    Raises:
        DataError: If the bounds aren't whole numbers with 0 <= start < end <= length.
    """
    if not is_whole(start) or not is_whole(end):
        raise DataError(f"{place}: the {what} span must be two whole numbers, but got {shown([start, end])}")
    if start == end:
        raise DataError(
            f"{place}: the {what} span must not be empty, but is [{start}, {end}); the end is exclusive, "
            f"so a span of one {unit} is [{start}, {start + 1})"
        )
    if not 0 <= start < end <= length:
        raise DataError(
            f"{place}: the {what} span must lie within the sentence of {length} {unit}s, "
            f"but is [{start}, {end}); count {unit}s from 0, with an exclusive end"
        )
    return start, end


def check_pair(record: object, key: str, place: str, *, length: int, unit: str) -> Span:
    """Return a record's half-open span, written as `[start, end]`.

    Raises:
        DataError: If the record lacks it, or it isn't one.
    """
    pair = require(record, key, place)
    if not isinstance(pair, list) or len(pair) != 2:
        raise DataError(f"{place}: `{key}` must be [start, end], but got {shown(pair)}")
    return check_span(pair[0], pair[1], length=length, unit=unit, what=key, place=place)


def join_words(words: list[str], head: Span, tail: Span) -> Sentence:
    """Join words by single spaces and turn half-open word spans into character spans."""
    starts, position = [], 0
    for word in words:
        starts.append(position)
        position += len(word) + 1

    def characters(span: Span) -> Span:
        last = span[1] - 1
        return starts[span[0]], starts[last] + len(words[last])

    return Sentence(" ".join(words), characters(head), characters(tail))


def check_sentence(sentence: Sentence, place: str, limits: Limits) -> Sentence:
    """Return the sentence.

    Raises:
        DataError: If it is longer than `data.max_sentence_characters`, or an entity is nothing but white space.
    """
    if len(sentence.text) > limits.sentence_characters:
        raise DataError(
            f"{place}: a sentence must have at most {limits.sentence_characters} characters, but has "
            f"{len(sentence.text)}; cut it around its entities, or raise data.max_sentence_characters"
        )
    for what, (start, end) in (("head", sentence.head), ("tail", sentence.tail)):
        if not sentence.text[start:end].strip():
            raise DataError(
                f"{place}: the {what} entity must hold some text, but is {sentence.text[start:end]!r}; "
                "correct the span or drop the instance"
            )
    return sentence
