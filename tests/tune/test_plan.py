"""What a sweep will take, from made-up measurements."""

from dataclasses import replace

import pytest
from rich.console import Console

from rocore import EpochCost, RunCost
from tune.plan import (
    RAY_START_S,
    TRIAL_FILES_BYTES,
    Capacity,
    EncoderCost,
    count_race_runs,
    find_faults,
    make_plan,
    size_text,
)
from tune.plan_table import as_tree, hours_text, render

MIB = 2**20
COST = RunCost(
    setup_s=2.0,
    has_gold=True,
    trunk_s=60.0,
    trunk_bytes=100 * MIB,
    missing_layers=(2, 3),
    epochs={2: EpochCost(1.0, 4.0), 3: EpochCost(1.0, 6.0)},
    checkpoint_bytes=40 * MIB,
    memory_bytes=1000 * MIB,
    model_bytes=50 * MIB,
    on_gpu=False,
)
FINAL = replace(COST, epochs={3: EpochCost(1.0, 10.0)}, missing_layers=(3,))
COSTS = [EncoderCost("minilm", search=COST, final=FINAL, num_folds=2)]
NO_RACE = {"num_candidates": 0}
ROOMY = Capacity(memory_bytes=2**40, cache_free_bytes=2**40, out_free_bytes=2**40, one_disk=False)


@pytest.fixture
def plan(make_sweep):
    """Six trials of 1 + 4 epochs without early stopping; 3 configurations over 2 seeds."""
    return make_plan(make_sweep(scheduler={"name": "none"}, racing=NO_RACE), COSTS, num_concurrent=2)


def test_plan_race_takes_the_best_and_the_papers_over_every_pair_with_one_fold(make_sweep):
    sweep = make_sweep(scheduler={"name": "none"}, racing={"num_candidates": 2, "num_pairs": 4})
    plan = make_plan(sweep, COSTS, num_concurrent=2)
    assert plan.num_race_runs == 3 * 4
    assert plan.race_s == pytest.approx(12 * (2.0 + 1.0 + 4 * 5.0) / 2)


def test_plan_race_of_a_short_search_has_no_more_candidates_than_trials(make_sweep):
    sweep = make_sweep({"search.num_trials": 3}, racing={"num_candidates": 8, "num_pairs": 4})
    assert count_race_runs(sweep) == 3 * 4


def test_plan_counts_trials_epochs_and_runs(plan):
    assert (plan.num_trials, plan.pretrain_epochs, plan.joint_epochs, plan.max_joint_epochs) == (6, 6, 24, 24)
    assert plan.num_final_runs == 6
    assert plan.rungs == ()


def test_plan_search_takes_the_mean_layer_with_all_folds(plan):
    # A trial: two folds, each with 2 s of set-up, a pre-training epoch of 1 s and 4 joint epochs of 5 s.
    trial = 2 * (2.0 + 1.0 + 4 * 5.0)
    assert plan.search_s == pytest.approx(RAY_START_S + 6 * trial / 2)


def test_plan_final_comparison_takes_runs_of_one_model_to_the_end(plan):
    assert plan.final_s == pytest.approx(6 * (2.0 + 1.0 + 4 * 10.0) / 2)


def test_plan_hours_are_training_times_shares(make_sweep):
    sweep = make_sweep({"resources.cpus_per_trial": 3, "resources.gpus_per_trial": 0.5})
    plan = make_plan(sweep, COSTS, num_concurrent=1)
    assert plan.cpu_hours == pytest.approx(3 * plan.busy_s / 3600)
    assert plan.gpu_hours == pytest.approx(0.5 * plan.busy_s / 3600)


def test_plan_with_more_places_than_trials_lasts_as_long_as_one_trial(make_sweep):
    plan = make_plan(make_sweep(scheduler={"name": "none"}, racing=NO_RACE), COSTS, num_concurrent=100)
    assert plan.search_s == pytest.approx(RAY_START_S + 2 * (2.0 + 1.0 + 4 * 5.0))
    assert plan.final_s == pytest.approx(2.0 + 1.0 + 4 * 10.0)


def test_plan_under_asha_expects_fewer_epochs(make_sweep, plan):
    stopped = make_plan(make_sweep(racing=NO_RACE), COSTS, num_concurrent=2)
    assert stopped.rungs == (1, 2)
    assert stopped.joint_epochs < plan.joint_epochs
    assert stopped.search_s < plan.search_s


def test_plan_disk_counts_missing_trunks_files_and_checkpoints(plan):
    assert plan.cache_bytes == 100 * MIB
    assert [layer.cached for layer in plan.layers] == [True, False]
    checkpoints = 2 * 2 * 2 + 3  # two trials at once, two folds, newest and next; three kept models
    assert plan.out_bytes == 12 * TRIAL_FILES_BYTES + checkpoints * 40 * MIB


def test_plan_with_every_trunk_cached_builds_none(make_sweep, plan):
    costs = [replace(COSTS[0], final=replace(FINAL, missing_layers=()))]
    cached = make_plan(make_sweep(scheduler={"name": "none"}), costs, num_concurrent=2)
    assert cached.cache_bytes == 0
    assert plan.prepare_s - cached.prepare_s == pytest.approx(60.0)


def test_plan_memory_of_a_trial_holds_a_model_for_each_fold(plan):
    assert plan.trial_memory_bytes == 1050 * MIB


def test_faults_where_everything_fits_are_none(plan):
    assert find_faults(plan, ROOMY) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"cache_free_bytes": 50 * MIB}, "the trunk cache will take 100 MiB, but 50 MiB are free there"),
        ({"out_free_bytes": MIB}, "the sweep directory will take 443 MiB, but 1 MiB are free there"),
        (
            {"out_free_bytes": 450 * MIB, "one_disk": True},
            "the trunk cache and the sweep directory will take 543 MiB, but 450 MiB are free",
        ),
        ({"memory_bytes": 1500 * MIB}, "set `resources.max_concurrent_trials` to 1"),
        ({"memory_bytes": 500 * MIB}, "2 trials at once will take 2.1 GiB of memory, but there are 500 MiB"),
    ],
)
def test_faults_where_something_does_not_fit_say_what_and_what_to_do(plan, changes, fault):
    (found,) = find_faults(plan, replace(ROOMY, **changes))
    assert fault in found


def test_faults_where_memory_is_a_clusters_are_not_looked_for(plan):
    assert find_faults(plan, replace(ROOMY, memory_bytes=None)) == []


def test_table_of_a_plan_shows_an_encoders_name_as_it_is(plan):
    console = Console(width=160, record=True)
    console.print(render(replace(plan, layers=(replace(plan.layers[0], encoder="[red]a[/] [/x]\x1b"),))))
    assert r"[red]a[/] [/x]\x1b" in console.export_text()


def test_table_of_a_plan_names_every_figure(plan):
    console = Console(width=160, record=True)
    console.print(render(plan))
    text = console.export_text()
    for part in (
        "6 trials, 2 at once",
        "100 MiB (there already)",
        "at most 6 runs",
        "none stopped early",
        "12.00 s",
    ):
        assert part in text


def test_tree_of_a_plan_holds_the_wall_time(plan):
    tree = as_tree(plan)
    assert tree["wall_s"] == plan.wall_s
    assert tree["layers"][1]["output_layer"] == 3


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (2048, "2 KiB"), (5 * MIB, "5 MiB"), (2**32, "4.0 GiB")]
)
def test_size_text_takes_the_unit_that_reads_well(num_bytes, text):
    assert size_text(num_bytes) == text


@pytest.mark.parametrize(("seconds", "text"), [(50, "50 s"), (600, "10 min"), (9000, "2.5 h")])
def test_hours_text_takes_the_unit_that_reads_well(seconds, text):
    assert hours_text(seconds) == text


def test_plan_of_packs_needs_memory_and_checkpoints_for_every_member(make_sweep):
    alone, packed = (
        make_plan(
            make_sweep({"trial.pack": pack}, scheduler={"name": "none"}, racing=NO_RACE),
            COSTS,
            num_concurrent=2,
        )
        for pack in (1, 4)
    )
    assert packed.memory_bytes == 4 * alone.memory_bytes
    assert packed.out_bytes - alone.out_bytes == 3 * 2 * 2 * 2 * 40 * MIB
    assert packed.wall_s == alone.wall_s
    (fault,) = find_faults(packed, replace(ROOMY, memory_bytes=5000 * MIB))
    assert "2 packs of 4 trials at once will take" in fault
    assert "set `resources.max_concurrent_trials` to 1" in fault
    shown = Console(width=200, record=True)
    shown.print(render(packed))
    assert "6 trials, 2 pack(s) of up to 4 at once" in shown.export_text()


def test_plan_says_which_limit_the_search_ends_by_and_counts_to_there(make_sweep):
    keys = {"resources.gpus_per_trial": 0.5}
    common = {"scheduler": {"name": "none"}, "racing": NO_RACE}
    whole = make_plan(make_sweep(keys, **common), COSTS, num_concurrent=1)
    busy_s = whole.search_s - RAY_START_S
    half = {
        **keys,
        "search.max_gpu_hours": 0.5 * busy_s / 2 / 3600,
        "search.max_hours": 100,
        "search.stop_after": 3,
    }
    plan = make_plan(make_sweep(half, **common), COSTS, num_concurrent=1)
    assert (plan.ended_by, plan.num_expected, plan.num_trials) == ("max_gpu_hours", 3, 6)
    assert plan.search_s == pytest.approx(RAY_START_S + busy_s / 2)
    assert plan.busy_s == pytest.approx(whole.busy_s - busy_s / 2)
    console = Console(record=True, width=300)
    console.print(render(plan))
    assert "search.max_gpu_hours ends it after about 3 of 6 trials" in console.export_text()
    assert as_tree(plan)["ended_by"] == "max_gpu_hours"


def test_plan_with_limits_that_are_not_reached_counts_everything(make_sweep):
    common = {"scheduler": {"name": "none"}, "racing": NO_RACE}
    plan = make_plan(make_sweep({"search.max_hours": 100}, **common), COSTS, num_concurrent=1)
    whole = make_plan(make_sweep(**common), COSTS, num_concurrent=1)
    assert (plan.ended_by, plan.search_s) == (None, whole.search_s)
    console = Console(record=True, width=300)
    console.print(render(plan))
    assert "search.max_hours = 100; all 6 trials are expected to fit" in console.export_text()
