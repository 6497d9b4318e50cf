"""Names from data, made safe to look at: what can't be seen is written out, and none disturbs its neighbors.

Relations, paths and titles may hold anything. Whoever shows them calls `shown` once, at the last step before they leave
the program, and then escapes for the format: Markdown, LaTeX, a terminal's markup.
"""

import re
from collections.abc import Collection
from itertools import islice

_NONCHARACTERS = "".join(chr(plane * 0x10000 + 0xFFFE + last) for plane in range(1, 17) for last in (0, 1))
_HIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: line breaks, tabs, a terminal's escapes
    "\u2028\u2029"  # line and paragraph separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings, overrides and isolates of direction
    "\xad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff0-\ufffb"  # of no width; joiners stay, as they shape words
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f"
    f"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff{_NONCHARACTERS}"  # no characters at all
    "]"
)
_BLANK = re.compile(
    "[ \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"  # spaces
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c\u200d\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0020-\U000e0fff]+"
)
"""What can be seen only beside other characters."""
_RIGHT_TO_LEFT = (
    "\u0590-\u08ff\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
)
_RUN = re.compile(f"[{_RIGHT_TO_LEFT}](?:[{_RIGHT_TO_LEFT} \\d'\"\u200c\u200d-]*[{_RIGHT_TO_LEFT}])?")
_ISOLATE, _END = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return text whose every character is seen: a line break as `\n`, an override of direction as `\u202e`.

    Text of nothing but spaces and the like is written out as a whole.

    Args:
        text: Anything, lone surrogates included.
        lines: Keep line breaks and tabs: for text that is shown as a block.
    """
    if _BLANK.fullmatch(text):
        return "".join(map(_code, text))
    return _HIDDEN.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _code(found[0]), text)


def shown(text: str, *, lines: bool = False) -> str:
    """Return `visible` text in which right-to-left words are isolated, so that what stands beside them stays there."""
    return _RUN.sub(lambda run: f"{_ISOLATE}{run[0]}{_END}", visible(text, lines=lines))


def shortened(text: str, width: int) -> str:
    """Return text of at most `width` characters, its middle left out where it is longer: ends tell names apart."""
    if len(text) <= width:
        return text
    tail = width // 2
    return f"{text[: width - 1 - tail]}{ELLIPSIS}{text[len(text) - tail :]}"


def listed(names: Collection[str], num_shown: int) -> str:
    """Return the first names with commas between them, and how many more there are."""
    more = f" and {len(names) - num_shown} more" if len(names) > num_shown else ""
    return ", ".join(islice(names, num_shown)) + more


def _code(character: str) -> str:
    code = character.encode("unicode_escape").decode()
    return code if len(code) > 1 else f"\\x{ord(character):02x}"
