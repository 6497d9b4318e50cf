"""The race in the report: who ran how often, who was dropped and why."""

import pytest

from tune.report.numbers import NO_NUMBER, signed
from tune.report.pictures_final import comparisons, differences_picture
from tune.report.results import Results
from tune.report.sections_race import race_section

DROPPED = {"name": "trial-3", "num_pairs": 4, "leader": "trial-7", "difference": -0.1234, "p_value": 0.0123}


def make_entry(name, values, dropped=None):
    known = [value for value in values if value is not None]
    return {
        "name": name,
        "params": {},
        "values": values,
        "mean": sum(known) / len(known) if known else None,
        "dropped": dropped,
    }


@pytest.fixture
def race():
    return {
        "alpha": 0.05,
        "configurations": [
            make_entry("trial-7", [0.5, 0.7]),
            make_entry("paper", [None, None]),
            make_entry("trial-3", [0.4, None], DROPPED),
        ],
        "failed": [],
        "text": "trial-7 has the best mean.",
    }


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_race_section_shows_pairs_means_and_why_a_configuration_was_dropped(race):
    section = race_section(Results({"race": race, "verdict": {"best": "trial-7"}}))
    paragraph, table = section.blocks
    assert paragraph.text == "trial-7 has the best mean."
    assert texts(table) == [
        ["trial-7", "2", "0.600", "no"],
        ["paper", "0", NO_NUMBER, "no"],
        ["trial-3", "1", "0.400", f"after 4 pairs: {signed(-0.123)} against trial-7, p = 0.012"],
    ]
    assert table.tones == ("best", "paper", "")


def test_race_section_with_failed_runs_names_their_causes(race):
    race["failed"] = [{"run": "trial-3-split2-seed4", "error": "out of memory"}]
    table = race_section(Results({"race": race})).blocks[-1]
    assert texts(table) == [["trial-3-split2-seed4", "out of memory"]]


@pytest.mark.parametrize("tree", [{}, {"race": None}])
def test_race_section_without_a_race_is_absent(tree):
    assert race_section(Results(tree)) is None


def test_differences_of_several_configurations_are_corrected_for_all(tree):
    picture = differences_picture(Results(tree))
    assert "corrected for 2 comparisons (Holm)" in picture.caption
    together = {name: comparison for name, _, comparison in comparisons(Results(tree))}
    del tree["final"][0]
    ((name, _, alone),) = comparisons(Results(tree))
    assert together[name].p_value >= alone.p_value
    assert together[name].num_compared == 2
    assert "corrected" not in differences_picture(Results(tree)).caption
