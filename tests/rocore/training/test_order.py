"""The order in which instances are visited."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rocore.training.order import derive_seed, paired_batches

counts = st.integers(min_value=1, max_value=60)


@settings(max_examples=80, deadline=None)
@given(num_labeled=counts, num_unlabeled=counts, batch_size=st.integers(2, 25), epoch=st.integers(0, 3))
def test_paired_batches_of_any_size_pass_once_over_labeled_and_evenly_over_unlabeled(
    num_labeled, num_unlabeled, batch_size, epoch
):
    batches = list(paired_batches(num_labeled, num_unlabeled, batch_size=batch_size, seed=5, epoch=epoch))
    labeled = np.concatenate([batch.labeled for batch in batches])
    unlabeled = np.concatenate([batch.unlabeled for batch in batches])
    assert sorted(labeled) == list(range(num_labeled))
    assert {len(batch.unlabeled) for batch in batches} == {min(batch_size, num_unlabeled)}
    assert all(len(batch.labeled) == batch_size for batch in batches[:-1])
    visits = np.bincount(unlabeled, minlength=num_unlabeled)
    assert len(visits) == num_unlabeled
    assert visits.max() - visits.min() <= 1


def test_paired_batches_with_fewer_unlabeled_than_batch_give_each_of_them_in_every_step():
    batches = list(paired_batches(50, 4, batch_size=10, seed=0, epoch=0))
    assert [sorted(batch.unlabeled) for batch in batches] == [[0, 1, 2, 3]] * 5


def test_paired_batches_shuffle_unlabeled_anew_each_time_round():
    first, second = paired_batches(40, 20, batch_size=20, seed=0, epoch=0)
    assert sorted(first.unlabeled) == sorted(second.unlabeled)
    assert first.unlabeled.tolist() != second.unlabeled.tolist()


@pytest.mark.parametrize(
    ("other", "equal"), [({}, True), ({"epoch": 2}, False), ({"seed": 8}, False)], ids=str
)
def test_paired_batches_depend_on_seed_and_epoch_alone(other, equal):
    base = {"batch_size": 8, "seed": 7, "epoch": 1}

    def order(arguments):
        return [
            (batch.labeled.tolist(), batch.unlabeled.tolist())
            for batch in paired_batches(30, 20, **arguments)
        ]

    assert (order(base) == order(base | other)) is equal


def test_derive_seed_gives_each_purpose_its_own():
    purposes = [
        ("weights",),
        ("kmeans",),
        *((what, epoch) for what in ("epoch", "order") for epoch in range(50)),
    ]
    seeds = {derive_seed(seed, *purpose) for seed in range(5) for purpose in purposes}
    assert len(seeds) == 5 * len(purposes)
    assert all(0 <= seed < 2**32 for seed in seeds)


@settings(max_examples=60, deadline=None)
@given(num_labeled=counts, batch_size=st.integers(2, 25), num_steps=st.integers(1, 30))
def test_paired_batches_of_so_many_steps_are_full_and_even(num_labeled, batch_size, num_steps):
    batches = list(
        paired_batches(num_labeled, 40, batch_size=batch_size, seed=5, epoch=1, num_steps=num_steps)
    )
    assert len(batches) == num_steps
    assert {len(batch.labeled) for batch in batches} == {min(batch_size, num_labeled)}
    assert {len(batch.unlabeled) for batch in batches} == {min(batch_size, 40)}
    visits = np.bincount(np.concatenate([batch.labeled for batch in batches]), minlength=num_labeled)
    assert visits.max() - visits.min() <= 1
