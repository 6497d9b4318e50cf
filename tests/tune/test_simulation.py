import numpy as np
import pytest

from tune.simulation import METHODS, Method, compare_methods, simulate

EPOCHS = 4
"""Joint epochs of the small sweep."""


def curves(params):
    """A smooth hill over margin and layer, its height reached step by step."""
    distance = (params["loss.pair_margin"] - 1.0) ** 2 / 9 + (params["encoder.output_layer"] - 3) ** 2 / 18
    return [(1.0 - distance) * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)]


def test_simulation_without_early_stopping_trains_every_trial_to_its_end(make_sweep):
    sweep = Method("random", "none").of(make_sweep(), seed=0)
    records, best = simulate(sweep, curves, max_trials=6)
    assert [(record.number, record.name, record.state) for record in records] == [
        (number, f"000{number}", "complete") for number in range(6)
    ]
    assert records[0].params == sweep.paper
    assert [row["objective"] for row in records[3].curve] == curves(records[3].params)
    assert len(best) == 1 + 6 * EPOCHS
    assert best[:5] == [0.0] * 4 + [curves(sweep.paper)[-1]]
    assert best[-1] == max(record.objective for record in records)


def test_simulation_with_asha_stops_the_worse_ones_at_rungs(make_sweep):
    records, best = simulate(Method("random", "asha").of(make_sweep(), seed=0), curves, max_trials=12)
    stopped = [record for record in records if record.state == "pruned"]
    assert stopped
    assert {record.epochs for record in stopped} <= {1, 2}
    finals = {record.number: curves(record.params)[-1] for record in records}
    assert max(finals, key=finals.get) not in {record.number for record in stopped}
    assert len(best) - 1 == sum(record.epochs for record in records)


def test_simulation_ends_with_its_budget_and_leaves_the_rest_running(make_sweep):
    sweep = Method("random", "none").of(make_sweep(), seed=0)
    records, best = simulate(sweep, curves, max_epochs=10, num_workers=2)
    assert len(best) == 11
    assert [(record.epochs, record.state) for record in records] == [
        (4, "complete"),
        (4, "complete"),
        (1, "running"),
        (1, "running"),
    ]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_simulation_of_one_seed_is_reproducible(make_sweep, method):
    first, second = (
        simulate(method.of(make_sweep(), seed=3), curves, max_trials=13, num_workers=2)[0] for _ in range(2)
    )
    assert first == second


def test_searchers_that_learn_beat_random_on_a_smooth_hill(make_sweep):
    methods = [Method("random", "none"), Method("tpe", "none"), Method("gp", "none")]
    regrets = compare_methods(make_sweep(), curves, max_epochs=25 * EPOCHS, seeds=range(3), methods=methods)
    for regret in regrets.values():
        assert regret.shape == (3, 1 + 25 * EPOCHS)
        assert (regret >= 0).all()
        assert (np.diff(regret, axis=1) <= 0).all()
    chance, tpe, gp = (regrets[method][:, -1].mean() for method in methods)
    assert tpe < chance
    assert gp < chance
