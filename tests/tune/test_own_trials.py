"""Trials of the user's own, in a sweep that ended or was stopped, with Ray taken out."""

import json

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.errors import CheckpointError, ConfigError, SweepInterrupted
from tune.config import load_sweep
from tune.journal import Journal, read_events
from tune.own_trials import add_trial
from tune.replay import check_record
from tune.status import read_status

from .conftest import PAPER
from .without_ray import EPOCHS, take_ray_out

NO_STOPS = {"scheduler.name": "none", "search.num_trials": 4}
MARGIN = {"loss.pair_margin": 1}


@pytest.fixture
def without(monkeypatch, tmp_path):
    return take_ray_out(monkeypatch, tmp_path / "out")


def interrupt(without, sweep, epochs):
    without.epochs_left = epochs
    with pytest.raises(SweepInterrupted):
        without.run(sweep)
    without.epochs_left = None


def read(without):
    return json.loads((without.out / "results.json").read_text())


def params_of(without):
    return [trial["params"] for trial in read(without)["search"]["trials"]]


def check_replay(without, number):
    agreement = check_record(
        load_sweep(without.out / "config.yaml"), read_events(without.out / "journal.jsonl")
    )
    assert agreement.first_difference is None
    assert agreement.num_proposals == number


def test_trial_added_to_an_interrupted_sweep_runs_after_what_was_cut_off_and_before_new_ones(
    make_sweep, without
):
    interrupt(without, make_sweep(NO_STOPS), EPOCHS + 2)
    point = add_trial(without.out, {**MARGIN, "encoder.output_layer": 6})
    assert point == {**PAPER, "loss.pair_margin": 1.0, "encoder.output_layer": 6}
    assert type(point["loss.pair_margin"]) is float
    assert read_status(without.out).phases[0].most == 5
    without.resume()
    assert params_of(without)[2] == point
    assert [trial["is_added"] for trial in read(without)["search"]["trials"]] == [
        False,
        False,
        True,
        False,
        False,
    ]
    check_replay(without, 5)


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_trial_added_survives_kills_and_is_never_doubled(make_sweep, without, epochs):
    interrupt(without, make_sweep(NO_STOPS), EPOCHS)
    point = add_trial(without.out, MARGIN)
    for _ in range(2):
        without.epochs_left = epochs
        with pytest.raises(SweepInterrupted):
            without.resume()
    without.epochs_left = None
    without.resume()
    without.resume()
    assert params_of(without).count(point) == 1
    assert len(params_of(without)) == 5
    check_replay(without, 5)


def test_trial_added_to_a_sweep_that_ended_is_run_whatever_ended_it_and_compared(make_sweep, without):
    without.run(make_sweep({**NO_STOPS, "search.num_trials": 9, "search.max_hours": 7 / 60}))
    assert read_status(without.out).is_complete
    point = add_trial(without.out, MARGIN)
    assert not read_status(without.out).is_complete
    without.resume()
    assert params_of(without)[2:] == [point]
    # The best there is: it enters the final comparison.
    assert "trial-2" in [entry["name"] for entry in read(without)["final"]]
    assert read_status(without.out).is_complete


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss.pair_margin": 4.5}, r"`--set` of `loss.pair_margin` must lie in \[0.5, 4.0\], but is 4.5"),
        ({"loss.pair_margin": "x"}, r"`--set` of `loss.pair_margin` must be a number, but is 'x'"),
        ({"encoder.output_layer": 4.5}, r"`--set` of `encoder.output_layer` must be a whole number"),
        ({"train.learning_rate": 1e-3}, r"`train.learning_rate` isn't searched; .* `rocore experiment`"),
        ({"loss.pair_margn": 1}, r"`loss.pair_margn` isn't searched; .*`?loss.pair_margin"),
        ({}, r"must be new, but trial 0000 has the same values"),
    ],
)
def test_trial_that_is_no_new_point_of_the_space_is_refused(make_sweep, without, given, message):
    interrupt(without, make_sweep(NO_STOPS), EPOCHS)
    before = (without.out / "journal.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=message):
        add_trial(without.out, given)
    assert (without.out / "journal.jsonl").read_bytes() == before


def test_trial_added_twice_before_it_ran_is_refused(make_sweep, without):
    interrupt(without, make_sweep(NO_STOPS), EPOCHS)
    add_trial(without.out, MARGIN)
    with pytest.raises(ConfigError, match="the same one has been added and waits"):
        add_trial(without.out, MARGIN)


def test_trial_is_not_added_to_a_sweep_that_runs_or_that_tried_nothing_or_to_none(
    make_sweep, without, tmp_path
):
    interrupt(without, make_sweep(NO_STOPS), EPOCHS)
    with (
        Journal(without.out / "journal.jsonl"),
        pytest.raises(ConfigError, match="another one is running"),
    ):
        add_trial(without.out, MARGIN)
    with pytest.raises(CheckpointError, match=r"must be a sweep directory that holds config\.yaml"):
        add_trial(tmp_path, MARGIN)
    (without.out / "journal.jsonl").write_text("")
    with pytest.raises(ConfigError, match="added to a sweep that has begun its search, but"):
        add_trial(without.out, MARGIN)


def test_add_command_says_what_was_added_and_how_to_run_it(make_sweep, without):
    interrupt(without, make_sweep(NO_STOPS), EPOCHS)
    result = CliRunner().invoke(main, ["sweep", "add", str(without.out), "--set", "loss.pair_margin=1"])
    assert result.exit_code == 0, result.output
    assert "added: lambda=0.005 sigma=1 layer=4" in result.stdout
    assert f"run it: rocore sweep --resume {without.out}" in result.stdout
    again = CliRunner().invoke(main, ["sweep", "add", str(without.out), "--set", "loss.pair_margin=9"])
    assert again.exit_code == 2
