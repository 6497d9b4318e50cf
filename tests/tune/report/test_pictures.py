"""Pictures that only some sweeps have: two objectives, a contour, crosses of the final comparison, time by outcome."""

import pytest

from tune.report.contents import Picture
from tune.report.importances_optuna import importances
from tune.report.pictures_parameters import contour_picture
from tune.report.pictures_pareto import pareto_front, pareto_picture
from tune.report.pictures_slices import slice_pictures
from tune.report.pictures_time import spent
from tune.report.results import Results
from tune.report.sections_time import time_section

pytestmark = pytest.mark.usefixtures("few_resamples")


def with_two_objectives(tree, directions=("maximize", "maximize")):
    values = {str(t["number"]): [t["objective"] or 0.0, t["seconds"]] for t in tree["search"]["trials"]}
    trade_off = {"objectives": ["B3 F1", "seconds"], "directions": directions, "values": values}
    return tree | {"trade_off": trade_off}


@pytest.mark.parametrize(
    ("directions", "front"),
    [(["maximize", "maximize"], [1, 2]), (["maximize", "minimize"], [0, 1])],
)
def test_pareto_front_holds_what_nothing_beats_in_both(directions, front):
    points = [(0.5, 1.0), (0.9, 2.0), (0.6, 3.0), (0.4, 2.0)]
    trials = [{"number": number, "values": values} for number, values in enumerate(points)]
    assert [trial["number"] for trial in pareto_front(trials, directions)] == front


def test_pareto_picture_with_two_objectives_marks_the_front(tree):
    picture = pareto_picture(Results(with_two_objectives(tree, ["maximize", "minimize"])))
    assert isinstance(picture, Picture)
    best = [row for row in picture.table.rows if row[1].text == "yes"]
    assert [row[0].text for row in best] == ["15"]
    assert "seconds (lower is better)" in picture.svg


def test_pareto_picture_with_one_objective_is_none(tree):
    assert pareto_picture(Results(tree)) is None


def test_contour_picture_shows_the_two_most_important_numeric_parameters(tree):
    results = Results(tree)
    picture = contour_picture(results, importances(results))
    assert list(picture.table.columns[:3]) == ["Trial", "State", "λ"]
    assert "rectifier" not in picture.title


def test_contour_picture_of_trials_on_a_line_is_none(tree):
    for trial in tree["search"]["trials"]:
        trial["params"]["encoder.output_layer"] = 3
        trial["params"]["loss.pair_margin"] = 2.0
    results = Results(tree)
    assert contour_picture(results, importances(results)) is None


@pytest.mark.parametrize(
    ("objective", "shown"),
    [
        ({"name": "pseudo_novel"}, True),
        ({"name": "internal"}, False),
        ({"final_metric": "novel_test.b3_f1"}, True),
        ({"final_metric": "all_test.absent"}, False),
    ],
)
def test_slices_show_the_final_comparison_where_it_is_the_same_measure(tree, objective, shown):
    tree["objective"] |= objective
    assert ("final B³ F1" in slice_pictures(Results(tree))[0].svg) is shown


def test_spent_adds_up_to_the_time_of_all_runs(tree):
    parts = {part.name: part for part in spent(Results(tree))}
    assert list(parts)[:3] == ["Search: complete", "Search: stopped early", "Search: failed"]
    assert [part.num_runs for part in parts.values()] == [10, 4, 2, 5, 5, 5]
    trained = sum(trial["seconds"] for trial in tree["search"]["trials"])
    assert sum(part.seconds for part in list(parts.values())[:3]) == pytest.approx(trained)
    assert parts["Final comparison: paper"].seconds == 63.25


@pytest.mark.parametrize(
    ("resources", "columns"),
    [
        ({"cpus_per_trial": 2.0, "gpus_per_trial": 0.0}, ["CPU-hours"]),
        ({"cpus_per_trial": 4.0, "gpus_per_trial": 0.5}, ["CPU-hours", "GPU-hours"]),
        (None, []),
    ],
)
def test_time_section_counts_hours_of_what_a_trial_held(tree, resources, columns):
    section = time_section(Results(tree | {"resources": resources}))
    table = next(block for block in section.blocks if block.kind == "table")
    assert list(table.columns[4:]) == columns
    if columns:
        seconds = float(table.rows[-1][2].exact.removesuffix(" s"))
        assert float(table.rows[-1][4].exact) == pytest.approx(seconds / 3600 * resources["cpus_per_trial"])


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ({"sessions": 1, "lost_processes": 0, "lost_with_node": 0}, None),
        ({"sessions": 2, "lost_processes": 0, "lost_with_node": 0}, "stopped or killed, and resumed, once."),
        ({"sessions": 4, "lost_processes": 0, "lost_with_node": 0}, "resumed, 3 times."),
        ({"sessions": 1, "lost_processes": 1, "lost_with_node": 0}, "lost its process once, and went on"),
        ({"sessions": 1, "lost_processes": 3, "lost_with_node": 1}, "3 times, 1 of them with its node, and"),
    ],
)
def test_time_section_tells_what_the_sweep_went_through(tree, history, sentence):
    texts = [
        getattr(block, "text", "") for block in time_section(Results(tree | {"history": history})).blocks
    ]
    told = [text for text in texts if "resumed" in text or "lost its process" in text]
    assert (told == []) if sentence is None else (len(told) == 1 and sentence in told[0])
