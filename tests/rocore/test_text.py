"""What can't be seen in a name, and how it is shown."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rocore.text import listed, shortened, shown, visible

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200b\u200e\u200f\ufeff]")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("place of birth", "place of birth"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u200b", r"\u200b"),
        ("", ""),
        ("  ", r"\x20\x20"),
        ("\u3164", r"\u3164"),
        ("\udcff", r"\udcff"),
        ("\ufffe\U0010ffff", r"\ufffe\U0010ffff"),
        ("a\u200db \u0645\u06cc\u200c\u062e", "a\u200db \u0645\u06cc\u200c\u062e"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_visible_writes_out_what_cannot_be_seen(text, seen):
    assert visible(text) == seen


def test_visible_of_lines_keeps_line_breaks_and_tabs():
    assert visible("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"


@given(st.text(st.characters(blacklist_categories=())))
def test_visible_holds_no_control_and_stays_as_it_is_a_second_time(text):
    seen = visible(text)
    assert not CONTROLS.search(seen)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in seen)
    assert visible(seen) == seen
    seen.encode()


def test_shown_isolates_each_right_to_left_run():
    hebrew = "\u05e9\u05dc\u05d5\u05dd"
    assert shown(f"{hebrew} 7 {hebrew} (3), {hebrew}") == (
        f"\u2068{hebrew} 7 {hebrew}\u2069 (3), \u2068{hebrew}\u2069"
    )


@given(st.text(st.characters(blacklist_categories=("Cs",))))
def test_shown_balances_its_isolates_and_adds_nothing_else(text):
    found = shown(text)
    assert [mark for mark in found if mark in "\u2068\u2069"] == ["\u2068", "\u2069"] * found.count("\u2068")
    assert found.replace("\u2068", "").replace("\u2069", "") == visible(text)


@pytest.mark.parametrize(("text", "cut"), [("abcdefgh", "abcdefgh"), ("abcdefghi", "abc\u2026fghi")])
def test_shortened_keeps_both_ends(text, cut):
    assert shortened(text, 8) == cut


@pytest.mark.parametrize(("names", "said"), [("", ""), ("ab", "a, b"), ("abcd", "a, b and 2 more")])
def test_listed_tells_the_first_names_and_how_many_more(names, said):
    assert listed(tuple(names), 2) == said
