import json

import optuna
import pytest

from tune.config import ObjectiveConfig
from tune.optuna_study import Study, StudyMirror, quiet_optuna
from tune.records import TrialRecord
from tune.trade_off import describe_trade_off, values

ACCURACY = ObjectiveConfig(second="known_accuracy")
SECONDS = ObjectiveConfig(second="training_seconds")
INCREMENTAL = {"incremental.enabled": True}


def record(number=0, state="complete", objective=0.5, accuracy=0.9, params=None):
    rows = [{"epoch": 1, "phase": "joint", "objective": objective, "seconds": 2.5}]
    metrics = None if accuracy is None else {"known_accuracy": accuracy}
    return TrialRecord(
        f"{number:04d}", number, params or {}, state=state, objective=objective, metrics=metrics, curve=rows
    )


@pytest.mark.parametrize(
    ("objective", "found"), [(ACCURACY, [0.5, 0.9]), (SECONDS, [0.5, 2.5]), (ObjectiveConfig(), [0.5])]
)
def test_values_of_a_complete_trial_are_one_an_objective(objective, found):
    assert values(record(), objective) == found


@pytest.mark.parametrize("trial", [record(state="pruned"), record(accuracy=None), record(state="failed")])
def test_values_of_a_trial_that_lacks_one_are_none(trial):
    assert values(trial, ACCURACY) is None


def test_trade_off_of_one_objective_is_nothing():
    assert describe_trade_off(ObjectiveConfig(), [record()]) == {}


def test_trade_off_names_objectives_and_directions():
    tree = describe_trade_off(SECONDS, [record(), record(1, "pruned")])
    assert tree["objectives"] == ["B-cubed F1 on hidden known relations", "training time in seconds"]
    assert tree["directions"] == ["maximize", "minimize"]
    assert tree["values"] == {"0": [0.5, 2.5], "1": None}
    assert json.loads(json.dumps(tree)) == tree


@pytest.fixture(params=["tpe", "gp", "random"])
def sweep(request, make_sweep):
    quiet_optuna()
    return make_sweep({"search.searcher": request.param, "objective.second": "known_accuracy", **INCREMENTAL})


def searched(study, number):
    """Let trials end by themselves, stopped, or failed, beyond the random start of the searchers."""
    records = []
    for index in range(number):
        proposed, params = study.propose()
        assert proposed == index
        state = ("complete", "complete", "pruned", "failed")[index % 4]
        margin = float(params["loss.pair_margin"])
        trial = record(index, state, 1 / margin, 0.1 * margin, params)
        study.advanced(trial, {})
        study.ended(trial)
        records.append(trial)
    return records


def test_study_of_two_objectives_rebuilt_from_records_proposes_the_same(sweep):
    study = Study(sweep, "live")
    records = searched(study, 16)
    assert Study(sweep, "rebuilt", records).propose() == study.propose()


def test_study_of_two_objectives_is_mirrored_with_both_values(sweep, tmp_path):
    study = Study(sweep, "mirrored")
    records = searched(study, 4)
    StudyMirror(study, tmp_path / "study.db").close()
    stored = optuna.load_study(study_name="mirrored", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [direction.name for direction in stored.directions] == ["MAXIMIZE", "MAXIMIZE"]
    assert [t.state.name for t in stored.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    assert [t.values for t in stored.trials[:2]] == [values(r, ACCURACY) for r in records[:2]]
    assert stored.best_trials
