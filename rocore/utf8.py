"""Text of a file that a user wrote: UTF-8, whole characters, and where something stands in it."""

import codecs
import sys
from collections.abc import Sequence

from rocore.errors import RocoreError

Position = tuple[int, int]
"""Line and column, both from 1."""

_MARKS_OF_32_BITS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_MARKS_OF_16_BITS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def other_encoding(content: bytes) -> str | None:
    """Return which encoding of 16 or 32 bits the text is in, by its first four bytes; None where it may be UTF-8."""
    if content.startswith(_MARKS_OF_32_BITS):  # first, as one of them begins like one of 16 bits
        return "UTF-32"
    if content.startswith(_MARKS_OF_16_BITS):
        return "UTF-16"
    return "UTF-16 or UTF-32" if b"\x00" in content[:4] else None


def decode(content: bytes, place: str, error_class: type[RocoreError]) -> str:
    """Return the text of UTF-8; a byte-order mark at its start is left out.

    Raises:
        RocoreError: Of the class given, if it is anything else.
    """
    if found := other_encoding(content):
        raise error_class(f"{place}: must be UTF-8, but is {found}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        line = content.count(b"\n", 0, error.start) + 1
        where = f" in line {line}" if b"\n" in content.strip() else ""
        raise error_class(
            f"{place}: must be UTF-8, but byte {error.start} is {wrong:#04x}{where}; save it as UTF-8"
        ) from error


def lone_surrogate(text: str) -> str | None:
    r"""Return what to say of the first half of a surrogate pair, as the escape `\ud83d` alone gives; None without."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"must be valid Unicode, but holds the lone surrogate U+{ord(text[error.start]):04X} "
            f"at character {error.start}; write the whole character"
        )
    return None


def too_many_digits(number: str) -> str | None:
    """Return what to say of a whole number that Python doesn't read; None where it does."""
    limit, length = sys.get_int_max_str_digits(), sum(letter.isdigit() for letter in number)
    if not 0 < limit < length:
        return None
    return f"a whole number must have at most {limit} digits, but has {length}; correct it"


def stands_again(positions: Sequence[Position], where: str = "") -> str:
    """Return how often something stands where it may stand once: `stands twice in a.yaml (lines 1 and 5)`."""
    times = "twice" if len(positions) == 2 else f"{len(positions)} times"
    lines = [line for line, _ in positions]
    if len(set(lines)) == len(lines):
        places = f"lines {_listed(lines)}"
    elif len(set(lines)) == 1:
        places = f"line {lines[0]}, columns {_listed([column for _, column in positions])}"
    else:
        places = _listed([f"line {line} column {column}" for line, column in positions])
    return f"stands {times}{where and f' in {where}'} ({places})"


def _listed(items: Sequence[object]) -> str:
    return f"{', '.join(map(str, items[:-1]))} and {items[-1]}"
