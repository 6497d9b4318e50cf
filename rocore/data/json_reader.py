"""The one reader of JSON that a user wrote: nothing stands twice, and every fault has its place."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rocore.errors import DataError
from rocore.utf8 import Position, decode, stands_again, too_many_digits

SHOWN = 10
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_MARK = re.compile(rf'\[(?:[^\[\]{{}}"]|{_STRING})*+\]|{_STRING}|[{{}}\[\],]')
"""Lists that hold no list and no object, to pass them over; strings; and what divides them."""
_NUMBER = re.compile(rf"{_STRING}|(-?\d+)([.eE][\d.eE+-]*)?")
"""Strings, to pass them over, and numbers: the whole part, and the rest of those that aren't whole."""


def parse_json(content: bytes, place: str, *, of_relations: bool = False) -> object:
    """Parse one JSON document in UTF-8.

    Args:
        content: The document.
        place: What messages call it.
        of_relations: Whether the keys of the outermost object are relations.

    Raises:
        DataError: If it is neither, a key stands twice in its object, or a whole number has too many digits.
    """
    text = decode(content, place, DataError)
    try:
        tree, repeats = _load(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if b"\n" in content.strip() else ""
        raise DataError(
            f"{place}: must be JSON, but {line}column {error.colno}: {error.msg}; "
            "write or fetch the file again"
        ) from error
    except RecursionError as error:
        raise DataError(f"{place}: must be JSON of a few levels, but is nested too deeply to read") from error
    except ValueError as error:
        raise DataError(_long_number(text, place)) from error
    if repeats:
        raise DataError("\n".join(_messages(text, place, of_relations=of_relations)))
    return tree


def _load(text: str) -> tuple[object, bool]:
    """Return what the text holds, and whether a key stands twice: whatever else is wrong is raised first."""
    try:
        return _DECODER.decode(text), False
    except _RepeatedKeyError:
        return json.loads(text), True


class _RepeatedKeyError(Exception):
    """A key stands twice in an object; where, the parser doesn't know."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _RepeatedKeyError
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _long_number(text: str, place: str) -> str:
    """Say which number Python doesn't read: nothing else in good JSON is refused."""
    for match in _NUMBER.finditer(text):
        fault = too_many_digits(match[1]) if match[1] and not match[2] else None
        if fault:
            line, column = _position(text, match.start())
            where = f"line {line} column {column}" if "\n" in text.strip() else f"column {column}"
            return f"{place}: {fault} ({where})"
    raise AssertionError("a number was refused that can't be found again")


def _messages(text: str, place: str, *, of_relations: bool) -> Iterator[str]:
    repeats = sorted(_repeats(text), key=lambda repeat: repeat.offsets)
    for repeat in islice(repeats, SHOWN):
        again = stands_again([_position(text, offset) for offset in repeat.offsets])
        if of_relations and not repeat.path:
            yield f"{place}: relation {repeat.key} {again}; merge its lists"
        else:
            inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in repeat.path)
            yield f"{place}{' ' if inside else ''}{inside.removeprefix('.')}: key `{repeat.key}` {again}; keep one"
    if len(repeats) > SHOWN:
        yield f"and {len(repeats) - SHOWN} more keys"


def _position(text: str, offset: int) -> Position:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


@dataclass(frozen=True)
class _Repeat:
    """A key that stands more than once in the object at `path`, and at which characters of the text."""

    path: tuple[str | int, ...]
    key: str
    offsets: tuple[int, ...]


@dataclass
class _Level:
    """An object or list that isn't closed yet."""

    is_object: bool
    part: str | int | None
    """Key, or position, that is being read; None before a key."""
    offsets: dict[str, list[int]] = field(default_factory=dict)


def _repeats(text: str) -> Iterator[_Repeat]:
    """Yield what stands twice in good JSON, which `json` itself keeps no places of."""
    levels: list[_Level] = []
    for match in _MARK.finditer(text):
        mark = match[0]
        if mark[0] == "[" and mark[-1] == "]":
            continue
        if mark in "{[":
            levels.append(_Level(mark == "{", None if mark == "{" else 0))
        elif mark in "}]":
            level = levels.pop()
            path = tuple(outer.part for outer in levels if outer.part is not None)
            for key, offsets in level.offsets.items():
                if len(offsets) > 1:
                    yield _Repeat(path, key, tuple(offsets))
        elif levels and mark == ",":
            last = levels[-1]
            last.part = None if last.is_object or last.part is None else int(last.part) + 1
        elif levels and levels[-1].part is None:
            levels[-1].part = key = json.loads(mark) if "\\" in mark else mark[1:-1]
            levels[-1].offsets.setdefault(key, []).append(match.start())
