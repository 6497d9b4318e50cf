import pytest

from tune.advice import advise

RACE = {"num_candidates": 3, "num_pairs": 8}
FIXED = {
    "scheduler": {"grace_epochs": 1, "reduction_factor": 2},
    "racing": RACE,
    "reevaluation": {"num_seeds": 5},
}


def ramped(make_sweep, max_epochs, grace_epochs, longest=20):
    return make_sweep(
        {"incremental.enabled": True, "train.max_epochs": max_epochs},
        search={
            "num_trials": 20,
            "space": {"incremental.rampup_epochs": {"distribution": "integer", "low": 2, "high": longest}},
        },
        paper={"incremental.rampup_epochs": 10},
        scheduler={"grace_epochs": grace_epochs, "reduction_factor": 2},
        racing=RACE,
        reevaluation={"num_seeds": 5},
    )


def test_advice_on_a_sound_sweep_is_silent(make_sweep):
    assert advise(make_sweep({"search.num_trials": 20}, **FIXED)) == []


def test_advice_where_tpe_never_learns_says_so(make_sweep):
    (warning,) = advise(make_sweep({"search.num_trials": 10}, **FIXED))
    assert "draws at random until 10 trials have ended" in warning


def test_advice_where_seeds_are_few_says_so(make_sweep):
    (warning,) = advise(make_sweep({"search.num_trials": 20, "reevaluation.num_seeds": 2}, **FIXED))
    assert (
        "with 2 seeds (`reevaluation.num_seeds`) the final comparison sees differences of about 0.35"
        in warning
    )
    assert warning.endswith("5 seeds see 0.05")


def test_advice_where_there_is_one_seed_says_that_there_is_no_test(make_sweep):
    (warning,) = advise(make_sweep({"search.num_trials": 20, "reevaluation.num_seeds": 1}, **FIXED))
    assert "the final comparison has no test" in warning


def test_advice_where_nothing_races_says_that_the_papers_configuration_stays(make_sweep):
    (warning,) = advise(make_sweep({"search.num_trials": 20, "racing.num_candidates": 0}, **FIXED))
    assert (
        "without a race (`racing.num_candidates` = 0) the paper's configuration stays the choice" in warning
    )


@pytest.mark.parametrize(
    ("candidates", "pairs", "gain", "enough"), [(3, 2, "1.04", 7), (1, 2, "0.35", 6), (8, 4, "0.13", 9)]
)
def test_advice_where_a_race_is_too_short_to_decide_says_how_long_one_decides(
    make_sweep, candidates, pairs, gain, enough
):
    rules = {"racing.num_candidates": candidates, "racing.num_pairs": pairs, "racing.min_pairs": 2}
    (warning,) = advise(make_sweep({"search.num_trials": 20, **rules}, **FIXED))
    assert (
        f"over {pairs} pairs is too short to decide: it would see gains of about {gain} and more" in warning
    )
    assert warning.endswith(f"`racing.num_pairs` = {enough} sees 0.05")


def test_advice_where_stopped_trials_lack_the_second_objective_says_so(make_sweep):
    changes = {"search.num_trials": 20, "objective.second": "training_seconds"}
    (warning,) = advise(make_sweep(changes, **FIXED))
    assert "trials that are stopped early have no second objective" in warning


def test_advice_where_the_grace_period_is_the_whole_budget_says_so(make_sweep):
    (warning,) = advise(make_sweep({"search.num_trials": 20, "scheduler.grace_epochs": 4}, **FIXED))
    assert "`scheduler.grace_epochs` = 4 reaches the end of the 4 joint epochs" in warning


def test_advice_where_a_ramp_up_outlasts_the_budget_says_so(make_sweep):
    (warning,) = advise(ramped(make_sweep, max_epochs=12, grace_epochs=3))
    assert "ramp-ups of up to 20 epochs" in warning
    assert "longer than the 12 joint epochs" in warning


def test_advice_where_a_ramp_up_outlasts_the_first_rung_says_so(make_sweep):
    (warning,) = advise(ramped(make_sweep, max_epochs=30, grace_epochs=3))
    assert "still rising at joint epoch 3" in warning


def test_advice_where_ramp_ups_end_before_the_first_rung_is_silent(make_sweep):
    assert advise(ramped(make_sweep, max_epochs=30, grace_epochs=10, longest=10)) == []


@pytest.mark.parametrize(
    ("dimension", "warning"),
    [
        ({"loss.scale": ["released"]}, "`loss.scale` is searched but has one value only"),
        ({"loss.pretrain_center": [True, False]}, "`loss.pretrain_center` is searched but acts in no epoch"),
    ],
)
def test_advice_where_a_dimension_is_dead_names_it(make_sweep, dimension, warning):
    ((key, choices),) = dimension.items()
    sweep = make_sweep(
        {"search.num_trials": 20, "train.pretrain_epochs": 0},
        search={"space": {key: {"distribution": "categorical", "choices": choices}}},
        paper={key: choices[0]},
        **FIXED,
    )
    (found,) = advise(sweep)
    assert warning in found
