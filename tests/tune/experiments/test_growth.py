"""Seeds, settings and data sets that come later."""

import dataclasses

import pytest

from rocore.errors import ConfigError
from tune.experiments.preparation import Facts
from tune.experiments.results import ExperimentResults
from tune.experiments.run import resume_experiment, run_experiment
from tune.journal import read_events

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")
MORE = {"r6": {"encoder.output_layer": 6}}


@pytest.fixture
def begun(make_experiment, tmp_path, no_ray, facts, score_of):
    """A function that runs an experiment of two settings and two seeds and returns its directory."""

    def begin(**changes):
        no_ray(score_of)
        tree = {"settings": {"paper": {}, "wide": {"loss.pair_margin": 3.0}}, "seeds": [0, 1]} | changes
        run_experiment(make_experiment(**tree), tmp_path / "out", prepare=lambda _: facts)
        return tmp_path / "out"

    return begin


def go_on(out, no_ray, facts, end, **given):
    """Go on; return what ran and the results."""
    started = no_ray(end)
    results = resume_experiment(out, prepare=lambda _: facts, **given).results
    return [spec["name"] for spec in started], results


@pytest.mark.parametrize("by_file", [True, False])
def test_seeds_and_settings_added_later_run_and_the_rest_stays(
    begun, experiment_file, no_ray, facts, score_of, by_file
):
    out = begun()
    before = ExperimentResults.read(out)
    settings = {"deep": {"encoder.output_layer": 5}, "paper": {}, "wide": {"loss": {"pair_margin": 3.0}}}
    given = (
        {"file": experiment_file(settings=settings, seeds={"number": 3})}
        if by_file
        else {"overrides": {"settings.deep": {"encoder.output_layer": 5}, "seeds.number": 3}}
    )
    started, results = go_on(out, no_ray, facts, score_of, **given)
    assert set(started) == {"paper-seed2", "wide-seed2", "deep-seed0", "deep-seed1", "deep-seed2"}
    kept = {run.name: run for run in results.runs}
    assert all(kept[run.name] == run for run in before.runs)
    assert {each.name: each.seeds for each in results.settings} == dict.fromkeys(settings, (0, 1, 2))
    # What differs now is shown for all.
    assert results.settings[0].params.keys() == {"encoder.output_layer", "loss.pair_margin"}
    assert go_on(out, no_ray, facts, score_of)[0] == []


def test_data_set_added_later_runs_and_its_facts_are_kept(begun, no_ray, facts, score_of):
    out = begun(data_sets={"a": {"builtin.seed": 1}})
    more = dataclasses.replace(facts, fingerprints={"encoder of wide": "ff", "data of paper-on-b": "ee"})
    overrides = {"data_sets.b": {"builtin.seed": 2}}
    started, results = go_on(out, no_ray, more, score_of, overrides=overrides)
    assert started == ["paper-on-b-seed0", "wide-on-b-seed0", "paper-on-b-seed1", "wide-on-b-seed1"]
    assert results.data_sets == ("a", "b")
    assert [
        event["fingerprints"] for event in read_events(out / "journal.jsonl") if event["event"] == "grow"
    ] == [more.fingerprints]
    other = dataclasses.replace(more, fingerprints={**more.fingerprints, "data of paper-on-b": "dd"})
    with pytest.raises(ConfigError, match=r"but data of paper-on-b changed; restore them"):
        go_on(out, no_ray, other, score_of)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"settings": {"paper": {}, "wide": {"loss.pair_margin": 2.5}}},
            r"`settings.wide.loss.pair_margin` would be 2.5 instead of 3.0; leave it out \(seeds, settings and data",
        ),
        ({"settings": {"paper": {}}}, "`settings` lacks wide; leave them in, or start an experiment anew"),
        ({"seeds": [1, 2]}, "`seeds` lacks 0; leave them in"),
        ({"overrides": {"train.learning_rate": 0.5}}, "`train.learning_rate` would be 0.5 instead of"),
        ({"data_sets": {"a": {}}}, "`data_sets` has names, and has no at its start"),
    ],
)
def test_experiment_that_would_no_longer_be_its_own_is_refused(
    begun, experiment_file, no_ray, facts, score_of, changes, message
):
    out = begun()
    tree = {"settings": {"paper": {}, "wide": {"loss.pair_margin": 3.0}}, "seeds": [0, 1, 2]} | changes
    with pytest.raises(ConfigError, match=message):
        go_on(out, no_ray, facts, score_of, file=experiment_file(**tree))


def test_files_of_one_name_in_two_data_sets_are_told_apart():
    entries = [
        {"files": {"a.json": "1", "b.json": "2"}, "settings": ["paper-on-a"]},
        {"files": {"a.json": "3", "b.json": "2"}, "settings": ["paper-on-b"]},
    ]
    found = Facts(tuple(entries), {}, {}, synthetic=False, warnings=())
    assert found.files == {"a.json": "1", "b.json": "2", "a.json of paper-on-b": "3"}
