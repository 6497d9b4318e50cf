import pickle
import warnings

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tune.config import Dimension
from tune.optuna_searcher import TruthfulOptunaSearch, distributions, make_sampler, quiet_optuna, write_study


@pytest.fixture
def searcher(make_sweep):
    quiet_optuna()
    return TruthfulOptunaSearch(make_sweep(), study_name="test")


def result(epoch, value, **more):
    return {"epoch": epoch, "objective": value, "finished": False, "failed": False} | more


def states(searcher):
    return {trial.number: trial.state.name for trial in searcher.study.trials}


def test_first_suggestion_is_the_papers_configuration(searcher):
    spec = searcher.suggest("a")["spec"]
    assert spec["params"] == {"loss.center_weight": 0.005, "loss.pair_margin": 2.0, "encoder.output_layer": 4}
    assert (spec["name"], spec["number"], spec["role"]) == ("0000", 0, "search")
    assert searcher.study.trials[0].user_attrs == {"tune_trial_id": "a", "is_paper": True}


def test_suggestions_lie_in_the_space_and_enter_the_configuration(searcher):
    specs = [searcher.suggest(str(i))["spec"] for i in range(12)]
    assert [spec["number"] for spec in specs] == list(range(12))
    assert len({str(spec["params"]) for spec in specs}) == 12
    for spec in specs:
        assert 1e-4 <= spec["config"]["loss"]["center_weight"] <= 0.1
        assert spec["config"]["encoder"]["output_layer"] in range(2, 7)
        assert spec["config"]["loss"]["pair_margin"] == spec["params"]["loss.pair_margin"]
        assert (spec["config"]["train"]["device"], spec["num_threads"]) == ("cpu", 1)


def test_same_seed_suggests_the_same(make_sweep):
    first, second = (TruthfulOptunaSearch(make_sweep(), study_name=name) for name in ("one", "two"))
    assert [first.suggest(str(i)) for i in range(5)] == [second.suggest(str(i)) for i in range(5)]


def test_trial_that_reached_its_end_is_complete_with_its_last_value(searcher):
    searcher.suggest("a")
    searcher.on_trial_result("a", result(1, 0.9))
    searcher.on_trial_complete("a", result(2, 0.4, finished=True))
    (trial,) = searcher.study.trials
    assert (trial.state.name, trial.value, trial.intermediate_values) == ("COMPLETE", 0.4, {1: 0.9, 2: 0.4})


def test_trial_that_was_stopped_is_pruned_with_its_last_value(searcher):
    searcher.suggest("a")
    searcher.on_trial_result("a", result(1, 0.1))
    searcher.on_trial_complete("a", result(2, 0.2))
    (trial,) = searcher.study.trials
    assert (trial.state.name, trial.value, trial.intermediate_values) == ("PRUNED", 0.2, {1: 0.1, 2: 0.2})


@pytest.mark.parametrize(
    ("last", "error", "cause"),
    [
        ({"objective": 0.0, "failed": True, "error": "loss is nan"}, False, "loss is nan"),
        (result(2, float("nan"), finished=True), False, "lost"),
        (None, True, "the trial's process was lost"),
        (result(2, 0.5, finished=True), True, "lost"),
    ],
)
def test_trial_that_failed_is_failed_and_never_running(searcher, last, error, cause):
    searcher.suggest("a")
    searcher.on_trial_complete("a", last, error=error)
    (trial,) = searcher.study.trials
    assert trial.state.name == "FAIL"
    assert cause in trial.user_attrs["error"]


def test_epochs_trained_again_are_reported_once(searcher):
    searcher.suggest("a")
    for epoch, value in ((1, 0.1), (2, 0.2), (2, 0.2), (3, 0.3)):
        searcher.on_trial_result("a", result(epoch, value))
    assert searcher.study.trials[0].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3}


def test_trial_that_ends_twice_counts_once(searcher):
    searcher.suggest("a")
    searcher.on_trial_complete("a", result(1, 0.2))
    searcher.on_trial_complete("a", result(2, 0.9, finished=True))
    assert states(searcher) == {0: "PRUNED"}


def test_searcher_survives_rays_snapshot(searcher, make_sweep, tmp_path):
    searcher.suggest("a")
    searcher.save(str(tmp_path / "snapshot"))
    other = TruthfulOptunaSearch(make_sweep(), study_name="other")
    other.restore(str(tmp_path / "snapshot"))
    other.on_trial_complete("a", result(1, 0.2, finished=True))
    assert states(other) == {0: "COMPLETE"}
    assert pickle.dumps(other.sweep)


def test_write_study_gives_a_file_with_the_same_trials(searcher, tmp_path):
    for name in "abc":
        searcher.suggest(name)
    searcher.on_trial_complete("a", result(1, 0.2, finished=True))
    searcher.on_trial_complete("b", result(1, 0.1))
    searcher.on_trial_complete("c", None, error=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_study(searcher, tmp_path / "study.db")
    copy = optuna.load_study(study_name="test", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [trial.state.name for trial in copy.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert copy.trials[0].params == searcher.study.trials[0].params


def test_distributions_are_optunas():
    space = {
        "a": Dimension(distribution="log_uniform", low=1e-3, high=1),
        "b": Dimension(distribution="uniform", low=0, high=1, step=0.5),
        "c": Dimension(distribution="integer", low=2, high=6, step=2),
        "d": Dimension(distribution="categorical", choices=("x", None, True)),
    }
    assert distributions(space) == {
        "a": FloatDistribution(1e-3, 1, log=True),
        "b": FloatDistribution(0, 1, step=0.5),
        "c": IntDistribution(2, 6, step=2),
        "d": CategoricalDistribution(("x", None, True)),
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("tpe", optuna.samplers.TPESampler), ("random", optuna.samplers.RandomSampler)]
)
def test_make_sampler_by_name(name, kind):
    assert isinstance(make_sampler(name, 0), kind)
