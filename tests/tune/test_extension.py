"""Sweeps that are extended with a narrower or a wider space, with Ray taken out."""

import json

import optuna
import pytest

from rocore.errors import ConfigError, SweepInterrupted
from tune.config import load_sweep
from tune.journal import read_events
from tune.replay import check_record
from tune.report.results import Results
from tune.report.sections_search import search_section

from .conftest import SPACE
from .without_ray import EPOCHS, take_ray_out

NO_STOPS = {"scheduler.name": "none", "search.num_trials": 12}
NARROW = {"loss.pair_margin": {"distribution": "uniform", "low": 1.5, "high": 2.5}}
WIDE = {"encoder.output_layer": {"distribution": "categorical", "choices": [2, 3, 4, 5, 6, 1]}}


@pytest.fixture
def without(monkeypatch, tmp_path):
    return take_ray_out(monkeypatch, tmp_path / "out")


def search_of(without):
    return json.loads((without.out / "results.json").read_text())["search"]


def check_replay(without, number):
    agreement = check_record(
        load_sweep(without.out / "config.yaml"), read_events(without.out / "journal.jsonl")
    )
    assert agreement.first_difference is None
    assert agreement.num_same_proposals == agreement.num_proposals == number


def test_narrower_space_is_searched_from_trials_inside_it_and_all_stay_in_the_record(make_sweep, without):
    without.run(make_sweep(NO_STOPS))
    before = search_of(without)["trials"]
    without.resume(num_more=6, space=NARROW)
    search = search_of(without)
    assert search["trials"][:12] == before
    margins = [trial["params"]["loss.pair_margin"] for trial in search["trials"]]
    assert all(1.5 <= margin <= 2.5 for margin in margins[12:])
    outside = [margin for margin in margins[:12] if not 1.5 <= margin <= 2.5]
    assert search["num_outside"] == len(outside) > 0
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{without.out / 'study.db'}")
    assert [trial.params["loss.pair_margin"] for trial in study.trials] == [
        margin for margin in margins if 1.5 <= margin <= 2.5
    ]
    check_replay(without, 18)
    text = search_section(Results(json.loads((without.out / "results.json").read_text()))).blocks[0].text
    assert f"The space was changed before trial 12; {len(outside)} trials lie outside" in text


def test_spaces_changed_twice_and_interrupted_are_replayed_as_they_were(make_sweep, without):
    without.run(make_sweep(NO_STOPS))
    without.epochs_left = EPOCHS + 1
    with pytest.raises(SweepInterrupted):
        without.resume(num_more=4, space=NARROW)
    without.epochs_left = None
    # One part of a dimension, by its key.
    without.resume(num_more=2, space=WIDE, overrides={"search.space.loss.pair_margin.high": 3.5})
    space = search_of(without)["space"]
    assert space["loss.pair_margin"] == {"distribution": "uniform", "low": 1.5, "high": 3.5}
    assert space["encoder.output_layer"]["choices"] == [2, 3, 4, 5, 6, 1]
    assert len(search_of(without)["trials"]) == 18
    assert [change["before_trial"] for change in search_of(without)["earlier_spaces"]] == [12, 14]
    check_replay(without, 18)


def test_trial_that_was_cut_off_outside_the_new_space_goes_on_unlearned(make_sweep, without):
    without.epochs_left = EPOCHS + 2
    with pytest.raises(SweepInterrupted):
        without.run(make_sweep({**NO_STOPS, "search.num_trials": 2}))
    without.epochs_left = None
    record = [event for event in read_events(without.out / "journal.jsonl") if event["event"] == "ask"][1]
    margin = record["params"]["loss.pair_margin"]
    bounds = {"low": 1.9, "high": 2.1}
    assert not bounds["low"] <= margin <= bounds["high"]
    without.resume(num_more=1, space={"loss.pair_margin": {"distribution": "uniform", **bounds}})
    trials = search_of(without)["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 3
    assert trials[1]["params"]["loss.pair_margin"] == margin
    check_replay(without, 3)


def test_space_written_down_by_an_extension_that_was_killed_at_once_is_taken_back(
    make_sweep, without, monkeypatch
):
    without.run(make_sweep(NO_STOPS))

    def die(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tune.sweep.write_begin", die)
        with pytest.raises(SweepInterrupted):
            without.resume(num_more=2, space=NARROW)
    without.resume(num_more=2)
    assert "high: 4.0" in (without.out / "config.yaml").read_text()
    check_replay(without, 14)


@pytest.mark.parametrize(
    ("space", "overrides", "message"),
    [
        (
            {"loss.pair_margin": {"distribution": "uniform", "low": 2.5, "high": 4}},
            {},
            r"must lie in \[2.5, 4\]",
        ),
        (
            {"loss.use_center": {"distribution": "categorical", "choices": [True]}},
            {},
            "must search the keys that it began with, but loss.use_center isn't one",
        ),
        ({}, {"search.num_trials": 9}, "`search.num_trials` is set, too"),
        ({}, {"train.learning_rate": 1e-3}, "must compute what it began to, but `train.learning_rate`"),
        ({}, {"search.searcher": "random"}, "must compute what it began to, but `search.searcher`"),
    ],
)
def test_extension_that_leaves_the_record_behind_is_refused(make_sweep, without, space, overrides, message):
    without.run(make_sweep({**NO_STOPS, "search.num_trials": 2}))
    before = (without.out / "journal.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=message):
        without.resume(num_more=2, space=space, overrides=overrides)
    assert (without.out / "journal.jsonl").read_bytes() == before


def test_extension_keeps_the_longest_trial_and_the_space_of_a_shared_study(make_sweep, without):
    space = {**SPACE, "train.max_epochs": {"distribution": "integer", "low": 2, "high": 4}}
    paper = {
        "loss.center_weight": 0.005,
        "loss.pair_margin": 2.0,
        "encoder.output_layer": 4,
        "train.max_epochs": 3,
    }
    without.run(make_sweep(search={"num_trials": 2, "space": space}, paper=paper))
    longer = {"train.max_epochs": {"distribution": "integer", "low": 2, "high": 5}}
    with pytest.raises(ConfigError, match=r"must keep the longest trial, .* would reach 5 instead of 4"):
        without.resume(num_more=2, space=longer)
    config = without.out / "config.yaml"
    config.write_text(config.read_text().replace("others: []", "others: [/elsewhere]"))
    with pytest.raises(ConfigError, match="sweeps that learn from each other must have the same space"):
        without.resume(num_more=2, space=NARROW)
