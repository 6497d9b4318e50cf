"""The same seed gives the same bits; a training that is interrupted after any epoch too."""

import pytest
import torch

MODES = pytest.mark.parametrize("incremental", [False, True], ids=["standard", "incremental"])
LONGER = {"train.pretrain_epochs": 2, "train.max_epochs": 3}


@pytest.fixture(scope="module")
def uninterrupted(config_of, trainer_of, train):
    """The same configuration, trained in one go, by mode."""
    return {
        incremental: train(trainer_of(config_of({**LONGER, "incremental.enabled": incremental})))
        for incremental in (False, True)
    }


@MODES
def test_trainer_with_the_same_seed_repeats_every_bit(
    incremental, config_of, trainer_of, train, uninterrupted, outcome
):
    with torch.random.fork_rng():
        torch.manual_seed(99)  # nothing may come from the global generator
        again = train(trainer_of(config_of({**LONGER, "incremental.enabled": incremental})))
    assert outcome(again) == outcome(uninterrupted[incremental])


def test_trainer_leaves_the_global_random_state_alone(config_of, trainer_of, train):
    before = torch.get_rng_state()
    train(trainer_of(config_of()))
    assert torch.equal(torch.get_rng_state(), before)


def test_trainer_with_another_seed_gives_other_weights_and_reports(
    config_of, trainer_of, train, uninterrupted, outcome
):
    other = train(trainer_of(config_of({**LONGER, "seed": 4})))
    first, second = outcome(uninterrupted[False]), outcome(other)
    assert (
        first["checkpoint"]["sha256"]["model.safetensors"]
        != second["checkpoint"]["sha256"]["model.safetensors"]
    )
    assert all(a.losses != b.losses for a, b in zip(first["reports"], second["reports"], strict=True))


@MODES
@pytest.mark.parametrize(
    "epochs_before", [1, 2, 3, 4], ids=["in-pretraining", "at-boundary", "joint-1", "joint-2"]
)
def test_trainer_loaded_after_an_epoch_goes_on_with_the_same_bits(
    incremental, epochs_before, config_of, trainer_of, train, uninterrupted, outcome, tmp_path
):
    config = config_of({**LONGER, "incremental.enabled": incremental})
    interrupted = trainer_of(config)
    for _ in range(epochs_before):
        interrupted.run_epoch()
    interrupted.save(tmp_path / "checkpoint")
    resumed = trainer_of(config)
    resumed.load(tmp_path / "checkpoint")
    assert resumed.epoch == epochs_before
    expected = outcome(uninterrupted[incremental])
    expected["reports"] = expected["reports"][epochs_before:]
    assert outcome(train(resumed)) == expected


@MODES
def test_trainer_loaded_at_its_end_predicts_the_same(
    incremental, config_of, trainer_of, train, uninterrupted, outcome, tmp_path
):
    done = uninterrupted[incremental]
    done.trainer.save(tmp_path / "checkpoint")
    loaded = trainer_of(config_of({**LONGER, "incremental.enabled": incremental}))
    loaded.load(tmp_path / "checkpoint")
    assert loaded.stop_reason == "max_epochs"
    assert outcome(train(loaded)) == outcome(done) | {"reports": []}


def test_trainer_loaded_into_a_used_one_goes_on_with_the_same_bits(
    config_of, trainer_of, train, uninterrupted, outcome, tmp_path
):
    first = trainer_of(config_of(LONGER))
    for _ in range(3):
        first.run_epoch()
    first.save(tmp_path / "checkpoint")
    used = train(first).trainer
    used.load(tmp_path / "checkpoint")
    assert outcome(train(used)) == outcome(uninterrupted[False]) | {
        "reports": outcome(uninterrupted[False])["reports"][3:]
    }


@pytest.mark.parametrize("epochs_before", [3, 4])
def test_trainer_loaded_on_its_way_to_convergence_ends_at_the_same_epoch(
    epochs_before, config_of, trainer_of, train, tmp_path
):
    still = {"train.learning_rate": 1e-12, "train.max_epochs": 9, "train.convergence_patience": 3}
    assert len(train(trainer_of(config_of(still))).reports) == 5
    trainer = trainer_of(config_of(still))
    for _ in range(epochs_before):
        trainer.run_epoch()
    trainer.save(tmp_path)
    resumed = trainer_of(config_of(still))
    resumed.load(tmp_path)
    reports = train(resumed).reports
    assert (reports[-1].epoch, resumed.stop_reason) == (5, "converged")
