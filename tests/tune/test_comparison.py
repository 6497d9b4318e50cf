"""Runs and sweeps side by side, from directories that hold only what is read."""

import csv
import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from rocore.commands.main import main
from rocore.config import dump_config, make_config
from rocore.errors import CheckpointError, ConfigError
from rocore.text import shown
from tests.awkward import AWKWARD
from tune.commands.compare import _tables
from tune.comparison import Side, differing_keys, pair, read_sides, summaries

F1 = "novel_test.b3_f1"


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a finished run of a margin and a seed."""

    def make(name, margin, seed, f1, data=None):
        folder = tmp_path / name
        folder.mkdir()
        config = make_config(
            {"seed": seed, "data": data or {}, "loss": {"pair_margin": margin}, "train": {"device": "cpu"}}
        )
        (folder / "config.yaml").write_text(dump_config(config))
        metrics = {
            "novel_test": {"b3_f1": f1},
            "known_accuracy": 0.9,
            "epochs": 3,
            "timing": {"joint_epochs": 2.0},
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return make


@pytest.fixture
def make_swept(make_sweep, tmp_path):
    """Return a function that writes a complete sweep's directory."""

    def make(name, margin, values):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(dump_config(make_sweep().config))
        params = {"loss.center_weight": 0.01, "loss.pair_margin": margin, "encoder.output_layer": 4}
        chosen = {"name": "trial-3", "params": params, "seeds": [1, 2], "metrics": {F1: {"values": values}}}
        (folder / "results.json").write_text(json.dumps({"final": [chosen]}))
        return folder

    return make


@pytest.fixture
def four_runs(make_run):
    """Two margins over two seeds each."""
    return [
        make_run(f"m{margin}-s{seed}", margin, seed, f1)
        for margin, seed, f1 in ((1.0, 0, 0.5), (1.0, 1, 0.6), (2.0, 0, 0.7), (2.0, 1, 0.9))
    ]


def test_sides_of_runs_that_differ_in_their_seed_are_one(four_runs):
    sides = read_sides(four_runs)
    assert [side.label for side in sides] == ["m1.0-s0", "m2.0-s0"]
    assert sides[0].scores == {F1: {0: 0.5, 1: 0.6}, "known_accuracy": {0: 0.9, 1: 0.9}}


def test_sides_show_the_keys_that_differ_alone(four_runs):
    assert differing_keys(read_sides(four_runs)) == {"loss.pair_margin": [1.0, 2.0]}


def test_sides_have_means_and_deviations_over_seeds(four_runs):
    first, second = summaries(read_sides(four_runs))[F1]
    assert (first.mean, second.mean) == (pytest.approx(0.55), pytest.approx(0.8))
    assert second.std == pytest.approx(0.1414, abs=1e-4)


def test_sides_are_paired_over_the_seeds_that_they_share(four_runs):
    comparison = pair(*read_sides([*four_runs[:2], four_runs[3]]), F1)
    assert (comparison.num_pairs, comparison.difference) == (1, pytest.approx(0.3))


def test_sides_of_sweeps_are_the_configurations_that_they_chose(make_swept):
    sides = read_sides([make_swept("a", 1.0, [0.5, 0.6]), make_swept("b", 3.0, [0.4, 0.5])])
    assert [side.label for side in sides] == ["a (trial-3)", "b (trial-3)"]
    assert differing_keys(sides) == {"loss.pair_margin": [1.0, 3.0]}
    assert pair(*sides, F1).difference == pytest.approx(-0.1)


def test_sides_where_two_sweeps_chose_the_same_stay_two(make_swept):
    sides = read_sides([make_swept("a", 1.0, [0.5, 0.6]), make_swept("b", 1.0, [0.4, 0.5])])
    assert len(sides) == 2
    assert differing_keys(sides) == {}


def test_sides_of_one_configuration_alone_are_refused(four_runs):
    with pytest.raises(ConfigError, match="a comparison needs two configurations"):
        read_sides(four_runs[:2])


@pytest.mark.parametrize("text", [None, "{", '{"final": []}'])
def test_sides_of_what_is_not_finished_are_refused(make_swept, tmp_path, text):
    folder = make_swept("a", 1.0, [0.5, 0.6])
    (folder / "results.json").unlink() if text is None else (folder / "results.json").write_text(text)
    with pytest.raises(CheckpointError, match="must be a complete sweep or a finished run"):
        read_sides([folder, folder])


def test_compare_command_shows_keys_figures_and_the_test(four_runs, tmp_path):
    file = tmp_path / "values.csv"
    result = CliRunner().invoke(main, ["compare", *map(str, four_runs), "--csv", str(file)])
    assert result.exit_code == 0, result.output
    for part in ("loss.pair_margin", "0.5500 +- 0.0707 (2)", "m2.0-s0", "+0.250"):
        assert part in result.stdout
    rows = list(csv.reader(file.read_text().splitlines()))
    assert rows[0] == ["configuration", "metric", "seed", "value"]
    assert ["m2.0-s0", F1, "1", "0.9"] in rows


def test_compare_command_writes_a_page_with_learning_curves(four_runs, tmp_path):
    for run, (first, second) in zip(four_runs, ((0.1, 0.2), (0.3, 0.4), (0.5, 0.6), (0.7, 0.8)), strict=True):
        rows = [{"epoch": 10, "silhouette": None}]
        rows += [{"epoch": 11 + i, "silhouette": value} for i, value in enumerate((first, second))]
        (run / "epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["compare", *map(str, four_runs), "--html", str(file)])
    assert result.exit_code == 0, result.output
    page = file.read_text()
    for part in ("Silhouette by joint epoch", "loss.pair_margin", "+0.250", "± 0.071, 2 seeds"):
        assert part in page
    assert "Pseudo labels changed by joint epoch" not in page


def test_curves_of_a_side_hold_one_value_a_seed_by_joint_epoch(four_runs):
    for run, value in zip(four_runs, (0.1, 0.3, 0.5, 0.7), strict=True):
        rows = [{"epoch": 10, "silhouette": 0.9}, {"epoch": 11, "silhouette": value}]
        (run / "epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [side.curves["silhouette"] for side in read_sides(four_runs)] == [{1: [0.1, 0.3]}, {1: [0.5, 0.7]}]


def test_curves_of_a_sweep_are_those_of_its_choice(make_swept, make_run):
    swept = make_swept("s", 1.0, [0.5, 0.6])
    events = [
        {"event": "report", "name": name, "epoch": epoch, "scalars": {"silhouette": value}}
        for name, epoch, value in (
            ("trial-3-seed1", 1, 0.1),
            ("trial-3-seed1", 2, 0.2),
            ("trial-3-seed2", 2, 0.4),
            ("paper-seed1", 2, 0.9),
        )
    ]
    (swept / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    sides = read_sides([swept, make_run("r", 2.0, 1, 0.7)])
    assert sides[0].curves["silhouette"] == {1: [0.2, 0.4]}


def test_compare_command_of_other_data_makes_no_test(make_run):
    other = make_run("b", 2.0, 0, 0.7, data={"builtin": {"instances_per_relation": 50}})
    result = CliRunner().invoke(main, ["compare", str(make_run("a", 1.0, 0, 0.5)), str(other)])
    assert result.exit_code == 0, result.output
    assert "No test of b against a: their data differ" in result.stdout


@pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD)
def test_tables_show_a_name_as_it_is(name):
    console = Console(width=30_000, force_terminal=True, color_system=None)
    sides = [Side(label, {"encoder.name": label}, {F1: {1: 0.5}}, {}) for label in (name, "other")]
    with console.capture() as capture:
        for table in _tables(sides):
            console.print(table)
    assert capture.get().count(shown(name).strip()) == 3
    assert "\x1b" not in capture.get()
