from pathlib import Path

import pytest
import yaml

from rocore.config import dump_config
from rocore.errors import ConfigError
from tune.config import load_sweep
from tune.results import describe_scheduler
from tune.specification import final_spec, race_spec, search_spec

ROOT = Path(__file__).parents[2]


def test_load_sweep_resolves_base_seed_and_paths(sweep_file, tmp_path):
    (tmp_path / "base.yaml").write_text("data: {root: here}\ntrain: {max_epochs: 3}\n")
    sweep = load_sweep(sweep_file(base="base.yaml", seed=7, overrides={"train.pretrain_epochs": 2}))
    assert (sweep.base.seed, sweep.base.train.max_epochs, sweep.base.train.pretrain_epochs) == (7, 3, 2)
    assert Path(sweep.base.data.root).is_absolute()
    assert sweep.config.name == "small"


def test_load_sweep_takes_its_own_dump_again(sweep_file, tmp_path):
    sweep = load_sweep(sweep_file(overrides={"train.max_epochs": 9}), {"search.num_trials": 3})
    (tmp_path / "again.yaml").write_text(dump_config(sweep.config))
    again = load_sweep(tmp_path / "again.yaml")
    assert again == sweep


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("search.num_trials", 3, lambda sweep: sweep.config.search.num_trials),
        ("seed", 5, lambda sweep: sweep.base.seed),
        ("train.max_epochs", 9, lambda sweep: sweep.base.train.max_epochs),
        ("paper.loss.pair_margin", 1.5, lambda sweep: sweep.paper["loss.pair_margin"]),
        ("overrides.train.max_epochs", 9, lambda sweep: sweep.base.train.max_epochs),
        (
            "search.space.loss.pair_margin.high",
            3,
            lambda sweep: sweep.config.search.space["loss.pair_margin"].high,
        ),
    ],
)
def test_load_sweep_applies_a_set_key_where_it_belongs(sweep_file, key, value, read):
    assert read(load_sweep(sweep_file(), {key: value})) == value


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("search.num_trails", "did you mean `search.num_trials`"),
        ("loss.centre_weight", "did you mean `loss.center_weight`"),
        ("sheduler.name", "did you mean `scheduler.name`"),
        ("overrides.train.max_epoch", "did you mean `train.max_epochs`"),
    ],
)
def test_load_sweep_with_an_unknown_set_key_names_the_nearest(sweep_file, key, hint):
    with pytest.raises(ConfigError, match=hint):
        load_sweep(sweep_file(), {key: 1})


def test_load_sweep_refuses_to_set_a_searched_key(sweep_file):
    with pytest.raises(
        ConfigError, match=r"`loss.pair_margin` is searched, so that setting it has no effect"
    ):
        load_sweep(sweep_file(), {"loss.pair_margin": 1.0})


def test_load_sweep_with_an_unknown_distribution_names_the_key(sweep_file):
    space = {"loss.pair_margin": {"distribution": "gaussian", "low": 1, "high": 2}}
    with pytest.raises(
        ConfigError, match=r"'log_uniform'.*got 'gaussian' in `search.space` of `loss.pair_margin`"
    ):
        load_sweep(sweep_file(search={"space": space}))


def test_load_sweep_with_an_absent_base_says_which_file(sweep_file):
    with pytest.raises(ConfigError, match=r"must exist, but .*nowhere\.yaml doesn't"):
        load_sweep(sweep_file(base="nowhere.yaml"))


def test_final_seeds_never_hold_the_search_seed(make_sweep):
    assert make_sweep(seed=3).final_seeds == (4, 5)
    assert make_sweep({"reevaluation.first_seed": 10}).final_seeds == (10, 11)
    with pytest.raises(ConfigError, match=r"differ from those of search and race, \[3\], but are \[2, 3\]"):
        make_sweep({"reevaluation.first_seed": 2}, seed=3)


def test_tree_sets_parameters_and_seed(make_sweep):
    tree = make_sweep().tree({"loss.pair_margin": 3.0}, seed=11)
    assert (tree["loss"]["pair_margin"], tree["seed"]) == (3.0, 11)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "tune").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_sweep_loads(path, monkeypatch):
    # bert-base-uncased isn't here.
    monkeypatch.setattr("rocore.num_layers", lambda name: 6 if name == "minilm" else 12, raising=False)
    sweep = load_sweep(path)
    assert sweep.paper["loss.center_weight"] == 0.005


@pytest.mark.parametrize("name", ["main", "fewrel_minilm"])
def test_main_sweeps_search_the_five_dimensions(name):
    tree = yaml.safe_load((ROOT / "configs" / "tune" / f"{name}.yaml").read_text())
    assert set(tree["search"]["space"]) == {
        "loss.center_weight",
        "loss.pair_margin",
        "incremental.rampup_peak",
        "incremental.rampup_epochs",
        "encoder.output_layer",
    }


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({}, "incremental.enabled = false"),
        ({"incremental.enabled": True, "data.known_test_size": 0}, "data.known_test_size = 0"),
    ],
)
def test_second_objective_of_accuracy_that_nobody_measures_is_refused(make_sweep, changes, got):
    with pytest.raises(ConfigError, match=rf"known_accuracy needs `incremental.enabled`.*{got}"):
        make_sweep({"objective.second": "known_accuracy", **changes})


@pytest.mark.parametrize("section", ["overrides", "paper"])
@pytest.mark.parametrize("order", [1, -1])
def test_load_sweep_with_a_key_beside_its_section_is_refused(sweep_file, section, order):
    keys = [("train", {"max_epochs": 2}), ("train.max_epochs", 3)]
    with pytest.raises(
        ConfigError, match=rf"`{section}` must set a key in one place, but has both `train` and"
    ):
        load_sweep(sweep_file(**{section: dict(keys[::order])}))


def test_search_has_a_budget_of_its_own(make_sweep):
    sweep = make_sweep({"search.max_epochs": 2})
    assert (sweep.search_base.train.max_epochs, sweep.base.train.max_epochs) == (2, 4)
    specs = [
        search_spec(sweep, 1, sweep.paper),
        race_spec(sweep, "paper", sweep.paper, 0, 1, 1),
        final_spec(sweep, "paper", sweep.paper, 5),
    ]
    assert [spec["config"]["train"]["max_epochs"] for spec in specs] == [2, 2, 4]
    assert describe_scheduler(sweep)["max_epochs"] == 2


def test_search_without_a_budget_has_the_final_ones(make_sweep):
    assert make_sweep().search_base.train.max_epochs == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search.max_epochs": 5}, r"`search.max_epochs` must be at most `train.max_epochs`.* but is 5 of 4"),
        (
            {
                "search.max_epochs": 3,
                "search.space.train.max_epochs.distribution": "integer",
                "search.space.train.max_epochs.low": 2,
                "search.space.train.max_epochs.high": 4,
                "paper.train.max_epochs": 4,
            },
            r"a trial must have one budget, but `search.max_epochs` is set and `train.max_epochs` is searched",
        ),
    ],
)
def test_search_with_a_budget_that_does_not_fit_is_refused(make_sweep, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(changes)


def test_objective_that_is_gone_is_refused_in_a_sentence(make_sweep):
    with pytest.raises(ConfigError, match=r"is internal, which is gone: .* choose pseudo_novel"):
        make_sweep({"objective.name": "internal"})


OLDER = {"name": "pseudo_novel", "num_relations": 4, "num_folds": 2, "seed": 0, "second": None}
"""The section of an older version, resolved."""


def test_objective_in_the_directory_of_an_older_sweep_stays_what_it_was(sweep_file):
    """Resumed, its trials must be scored as those before were."""
    path = sweep_file(objective=OLDER)
    path.with_name("journal.jsonl").touch()
    sweep = load_sweep(path)
    objective = sweep.config.objective
    assert (objective.labeled_per_epoch, objective.incremental_score) == (None, "novel")
    path.write_text(dump_config(sweep.config))
    assert load_sweep(path).config.objective == objective


def test_objective_in_a_file_of_ones_own_has_todays_defaults(sweep_file):
    objective = load_sweep(sweep_file(objective=OLDER)).config.objective
    assert (objective.labeled_per_epoch, objective.incremental_score) == ("real", "all_test")


def test_wide_sweep_holds_what_the_paper_did_not_search():
    space = yaml.safe_load((ROOT / "configs" / "tune" / "wide.yaml").read_text())["search"]["space"]
    assert {"train.learning_rate", "train.dropout", "train.batch_size", "loss.pretrain_center"} < set(space)
