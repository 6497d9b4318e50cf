"""Gathering of errors: what is gathered, what goes on, and how many are told."""

import pytest

from rocore.data.problems import Problems
from rocore.errors import ConfigError, DataError, EncoderError, StorageAwayError


def test_problems_tell_all_errors_as_the_first_ones_class():
    problems = Problems()
    for error in (EncoderError("one"), DataError("two"), ConfigError("three")):
        with problems:
            raise error
    with pytest.raises(EncoderError, match=r"^one\ntwo\nthree$"):
        problems.raise_any()


def test_problems_beyond_their_number_are_counted():
    problems, all_of_them = Problems(shown=2), Problems(shown=None)
    for i in range(20):
        problems.note(DataError(f"e{i}"))
        all_of_them.note(DataError(f"e{i}"))
    with pytest.raises(DataError, match=r"^e0\ne1\nand 18 more like these$"):
        problems.raise_any()
    with pytest.raises(DataError, match=r"e18\ne19$"):
        all_of_them.raise_any()


@pytest.mark.parametrize("error", [StorageAwayError("away"), KeyError("bug"), KeyboardInterrupt()])
def test_problems_of_other_kinds_go_on(error):
    problems = Problems()
    with pytest.raises(type(error)), problems:
        raise error
    assert not problems


def test_problems_without_any_raise_nothing():
    problems = Problems()
    with problems:
        value = 3
    problems.raise_any()
    assert (bool(problems), value) == (False, 3)
