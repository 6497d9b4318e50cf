"""What an experiment will take, with measurements taken out."""

from types import SimpleNamespace

import pytest

from tune.experiments.plan import plan_experiment


@pytest.fixture
def measured(monkeypatch, facts):
    """The measurements that are made: keys of the configuration and layers."""
    found = []

    def measure_run(config, layers):
        found.append((config.train.batch_size, layers))
        epochs = {layer: SimpleNamespace(pretrain_s=1.0, joint_s=float(layer)) for layer in layers}
        return SimpleNamespace(
            setup_s=10.0, epochs=epochs, trunk_s=7.0, missing_layers=tuple(layers), checkpoint_bytes=2**20
        )

    monkeypatch.setattr("rocore.measure_run", measure_run)
    monkeypatch.setattr("rocore.set_threads", lambda _: None)
    monkeypatch.setattr("tune.experiments.plan.check_experiment", lambda _: facts)
    monkeypatch.setattr("tune.smoke.count_concurrent", lambda _: 2)
    return found


def test_plan_measures_once_what_costs_the_same(make_experiment, measured, tmp_path):
    settings = {
        "paper": {},
        "wide": {"loss.pair_margin": 3.0, "train.learning_rate": 0.1},
        "long": {"train.max_epochs": 9},
        "deep": {"encoder.output_layer": 5},
        "large": {"train.batch_size": 200},
    }
    plan = plan_experiment(make_experiment(settings=settings), tmp_path)
    assert measured == [(100, [4, 5]), (200, [4])]
    # Set-up, one epoch of pre-training, and joint ones.
    seconds = {each.name: each.run_s for each in plan.settings}
    assert seconds == {
        "paper": 11 + 3 * 4.0,
        "wide": 11 + 3 * 4.0,
        "long": 11 + 9 * 4.0,
        "deep": 11 + 3 * 5.0,
        "large": 11 + 3 * 4.0,
    }
    assert plan.train_s == 3 * sum(seconds.values())
    assert (plan.prepare_s, plan.out_bytes) == (7.0, 15 * 2**20)


def test_plan_of_several_data_sets_has_runs_and_passes_of_each(make_experiment, measured, tmp_path):
    plan = plan_experiment(make_experiment(data_sets={"a": {"builtin.seed": 1}, "b": {}}), tmp_path)
    assert [each.name for each in plan.settings][:2] == ["paper-on-a", "wide-on-a"]
    assert (plan.num_runs, plan.prepare_s) == (18, 14.0)
