import numpy as np
import pytest

from rocore.errors import DataError, EncoderError
from rocore.training.cost import measure_run
from rocore.training.task import prepare


def test_cost_counts_every_layer_and_writes_nothing(config_of, tmp_path):
    config = config_of({"cache.root": str(tmp_path)})
    cost = measure_run(config, [1, 2])
    assert set(cost.epochs) == {1, 2}
    assert all(epoch.pretrain_s > 0 and epoch.joint_s > 0 for epoch in cost.epochs.values())
    assert cost.missing_layers == (1, 2)
    assert min(cost.setup_s, cost.trunk_s, cost.model_bytes, cost.memory_bytes) > 0
    assert cost.has_gold
    assert list(tmp_path.iterdir()) == []


def test_cost_trains_at_the_named_layers_alone(config_of):
    assert set(measure_run(config_of(), [1, 2, 3], train_at=[3]).epochs) == {3}


def test_cost_of_a_cache_entry_is_about_what_it_takes(config_of, tmp_path):
    config = config_of({"cache.root": str(tmp_path)})
    cost = measure_run(config, [2])
    prepare(config)
    real = sum(file.stat().st_size for file in tmp_path.rglob("hidden.bin"))
    assert cost.trunk_bytes == pytest.approx(real, rel=0.05)
    assert measure_run(config, [2, 3]).missing_layers == (3,)


def test_cost_of_a_checkpoint_is_what_the_trainer_writes(config_of, trainer_of, train, tmp_path):
    training = train(trainer_of(config_of()))
    training.trainer.save(tmp_path / "checkpoint")
    real = sum(file.stat().st_size for file in (tmp_path / "checkpoint").iterdir())
    assert measure_run(config_of(), [2]).checkpoint_bytes == pytest.approx(real, rel=0.02)


def test_cost_sample_holds_three_batches_and_four_of_each_relation(config_of, monkeypatch):
    steps = []

    def scaled(sample, seconds):
        steps.append((len(sample.known), len(sample.novel), len(sample.all_rows)))
        return 1.0

    monkeypatch.setattr("rocore.training.cost._Sample._scaled", scaled)
    measure_run(config_of({"data.builtin.instances_per_relation": 50, "train.batch_size": 8}), [2])
    # Three batches of 8, but at least 4 of each of 4 known relations; 200 known and 150 novel in all.
    assert set(steps) == {(24, 24, 350)}


def test_cost_sample_is_spread_over_the_relations(config_of, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "rocore.training.cost._Sample._scaled",
        lambda sample, seconds: seen.append(np.unique(sample._task(None).known_train_labels)) or 1.0,
    )
    measure_run(config_of({"data.builtin.instances_per_relation": 50, "train.batch_size": 2}), [2])
    assert seen[0].tolist() == [0, 1, 2, 3]


def test_cost_at_a_layer_that_is_not_there_is_refused(config_of):
    with pytest.raises(EncoderError, match=r"`encoder.output_layer` must lie in 1\.\.3"):
        measure_run(config_of(), [9])


def test_cost_of_data_that_can_not_be_split_is_refused(config_of):
    with pytest.raises(DataError, match="must leave novel instances to train on"):
        measure_run(config_of({"data.novel_test_size": 1000}), [2])
