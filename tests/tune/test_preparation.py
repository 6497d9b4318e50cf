"""What a sweep needs of its data, said by the keys of its file."""

import pytest

from rocore.errors import ConfigError
from tune.config import ObjectiveConfig
from tune.preparation import check_folds, prepare_sweep
from tune.smoke import measure_costs

ASKED = [
    (5, 1, 5, r"`objective\.num_relations` hides 5 of 5; set it to at most 3"),
    (4, 1, 5, r"`objective\.num_relations` hides 4 of 5; set it to at most 3"),
    (
        2,
        4,
        5,
        r"`objective\.num_folds` 4 times `objective\.num_relations` 2 is more than the 5 .* at most 2, or",
    ),
    (
        2,
        1,
        3,
        r"`pseudo_novel` needs 4 known relations, .* but there are 3; label instances of others",
    ),
]


@pytest.mark.parametrize(("hidden", "folds", "known", "message"), ASKED)
def test_check_folds_that_hide_too_much_names_the_keys_of_the_sweep(hidden, folds, known, message):
    with pytest.raises(ConfigError, match=message):
        check_folds(ObjectiveConfig(num_relations=hidden, num_folds=folds), known)


@pytest.mark.parametrize(("hidden", "folds"), [(2, 2), (3, 1), (2, 1)])
def test_check_folds_that_leave_enough_known_takes_them(hidden, folds):
    check_folds(ObjectiveConfig(num_relations=hidden, num_folds=folds), 5)


@pytest.mark.parametrize("start", [prepare_sweep, measure_costs])
def test_sweep_that_hides_too_much_is_refused_before_anything_is_built(start, make_sweep):
    sweep = make_sweep({"objective.num_folds": 9})
    with pytest.raises(ConfigError, match=r"`objective\.num_folds` 9 times `objective\.num_relations` 4"):
        start(sweep)
