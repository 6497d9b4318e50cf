from pathlib import Path

import pytest
import yaml

from rocore.config import dump_config
from rocore.errors import ConfigError
from tune.experiments.checks import check_here
from tune.experiments.config import ExperimentConfig, load_experiment

ROOT = Path(__file__).parents[3]


def test_settings_are_the_base_with_their_keys(make_experiment):
    experiment = make_experiment({"loss.weight_decay": 0.0})
    assert {name: each.loss.pair_margin for name, each in experiment.configurations.items()} == {
        "paper": 2.0,
        "wide": 3.0,
        "deep": 2.0,
    }
    assert {each.train.max_epochs for each in experiment.configurations.values()} == {3}
    assert {each.loss.weight_decay for each in experiment.configurations.values()} == {0.0}
    assert experiment.num_runs == 9


def test_keys_may_stand_in_sections_and_leave_the_rest_of_theirs(make_experiment):
    settings = {"paper": None, "deep": {"encoder": {"output_layer": 5}}}
    experiment = make_experiment(settings=settings, base={"encoder": {"max_pieces": 64}})
    assert experiment.configurations["deep"].encoder.output_layer == 5
    assert experiment.configurations["deep"].encoder.max_pieces == 64


def test_overrides_of_the_file_apply_to_every_setting(experiment_file):
    tree = {"train": {"max_epochs": 9}, "loss.weight_decay": 0.5}
    experiment = load_experiment(experiment_file(overrides=tree))
    assert {each.train.max_epochs for each in experiment.configurations.values()} == {9}
    assert {each.loss.weight_decay for each in experiment.configurations.values()} == {0.5}


def test_resolved_file_gives_the_same_experiment(make_experiment, tmp_path):
    experiment = make_experiment()
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(experiment.config))
    assert load_experiment(path) == experiment


@pytest.mark.parametrize(
    ("overrides", "seeds"),
    [
        ({"seeds.number": 2}, (0, 1)),
        ({"seeds": [7, 3]}, (7, 3)),
        ({"seeds.first": 4}, (4, 5, 6)),
    ],
)
def test_set_changes_seeds(make_experiment, overrides, seeds):
    assert make_experiment(overrides).config.seeds == seeds


def test_set_changes_the_number_of_listed_seeds_in_a_row(make_experiment):
    assert make_experiment({"seeds.number": 4}, seeds=[3, 4]).config.seeds == (3, 4, 5, 6)


def test_set_changes_one_setting_whose_name_holds_dots(make_experiment):
    settings = {"lr1": {}, "lr1.5": {}}
    experiment = make_experiment(
        {"settings.lr1.5.train.learning_rate": 0.5}, settings=settings, reference="lr1"
    )
    assert experiment.configurations["lr1.5"].train.learning_rate == 0.5
    assert experiment.configurations["lr1"].train.learning_rate != 0.5


def test_params_are_the_keys_in_which_settings_differ(make_experiment):
    assert make_experiment().params == {
        "paper": {"encoder.output_layer": 4, "loss.pair_margin": 2.0},
        "wide": {"encoder.output_layer": 4, "loss.pair_margin": 3.0},
        "deep": {"encoder.output_layer": 5, "loss.pair_margin": 2.0},
    }


def test_other_data_make_no_pairs(make_experiment):
    settings = {
        "paper": {},
        "few": {"data.builtin.instances_per_relation": 20},
        "wide": {"loss.pair_margin": 3},
    }
    experiment = make_experiment(settings=settings)
    assert [experiment.shares_data(name) for name in settings] == [True, False, True]


def test_data_sets_train_every_setting_on_each(make_experiment, tmp_path):
    data_sets = {"few": {"builtin": {"instances_per_relation": 20}}, "wide": {"train.batch_size": 8}}
    experiment = make_experiment({"data_sets.few.builtin.seed": 4}, data_sets=data_sets)
    assert list(experiment.parts.items())[2:4] == [
        ("deep-on-few", ("deep", "few")),
        ("paper-on-wide", ("paper", "wide")),
    ]
    assert experiment.num_runs == 2 * 3 * 3
    few, wide = (experiment.configurations[f"deep-on-{name}"] for name in data_sets)
    assert (few.data.builtin.instances_per_relation, few.data.builtin.seed) == (20, 4)
    assert (few.encoder.output_layer, wide.encoder.output_layer) == (5, 5)
    assert wide.train.batch_size == 8 != few.train.batch_size
    assert experiment.references["deep-on-wide"] == "paper-on-wide"
    assert "paper-on-few" not in experiment.references
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(experiment.config))
    assert load_experiment(path) == experiment


def test_set_adds_a_setting_and_a_data_set(make_experiment):
    overrides = {"settings.r6": {"encoder.output_layer": 6}, "data_sets.a": {"builtin.seed": 4}}
    experiment = make_experiment(overrides)
    assert list(experiment.configurations) == ["paper-on-a", "wide-on-a", "deep-on-a", "r6-on-a"]
    assert experiment.configurations["r6-on-a"].encoder.output_layer == 6


WRONG = [
    ({"settngs": {}}, "unknown key `settngs` in .*; did you mean `settings`"),
    ({"settings": {}}, "`settings`: dictionary should have at least 1 item"),
    (
        {"settings": {"a": {"loss.pair_magin": 1}}, "reference": "a"},
        "`loss.pair_magin` in setting `a` .* `loss.pair_margin`",
    ),
    ({"settings": {"a": {"loss.pair_margin": -1}}, "reference": "a"}, "greater than 0.* in setting `a` of"),
    (
        {"settings": {"a": {"seed": 1}}, "reference": "a"},
        "`seed` must be left to `seeds`, but stands in setting `a`",
    ),
    ({"overrides": {"seed": 1}}, "`seed` must be left to `seeds`, but stands in `overrides`"),
    ({"overrides": {"loss.pair_magin": 1}}, "unknown key `loss.pair_magin` in `overrides`"),
    (
        {"settings": {"a": {"loss": {"pair_margin": 1}, "loss.pair_margin": 2}}, "reference": "a"},
        "`loss.pair_margin` stands twice in setting `a`",
    ),
    ({"settings": {"a/b": {}}, "reference": "a/b"}, "must serve as a folder's .* is 'a/b'; call it 'a_b'"),
    ({"settings": {"a": {}, "A": {}}, "reference": "a"}, "must differ in more than capitals"),
    ({"reference": "papre"}, "`reference` must name a setting, but is 'papre'; did you mean `paper`"),
    ({"metric": "novel_test.b3"}, "`metric` must be a figure .* did you mean `novel_test.b3_f1`"),
    ({"metric": "all_test.b3_f1"}, "needs incremental mode in every setting, but paper, wide, deep lacks it"),
    ({"data_sets": {"a": {"data.instances": 3}}}, "unknown key `data.instances` in data set `a` of"),
    (
        {"data_sets": {"a": {"bultin": {"seed": 3}}}},
        "unknown key `data.bultin.seed` in data set `a` of .* `data.b",
    ),
    ({"data_sets": {"a": {"seed": 3}}}, "`seed` must be left to `seeds`, but stands in data set `a`"),
    ({"data_sets": {"a/b": {}}}, "the name of a data set must serve as a folder's .*; call it 'a_b'"),
    (
        {"data_sets": {"c": {}, "b-on-c": {}}, "settings": {"a-on-b": {}, "a": {}}, "reference": "a"},
        "names of a setting on a data set must differ .* 'a-on-b-on-c' and 'a-on-b-on-c' don't",
    ),
    (
        {
            "data_sets": {"c": {"builtin.seed": 1}},
            "settings": {"a": {"data.builtin.seed": 2}},
            "reference": "a",
        },
        "`data.builtin.seed` is set by every setting, so that setting it for data set `c` has no effect",
    ),
    (
        {"data_sets": {"c": {"builtin.seed": 1}}, "overrides": {"data.builtin.seed": 2}},
        "`data.builtin.seed` is set by every data set, so that setting it for all has no effect",
    ),
    ({"seeds": [1, 1]}, r"`seeds` must differ, but are \[1, 1\]"),
    ({"seeds": []}, "`seeds`: .*at least 1 item"),
    ({"seeds": {"number": 0}}, "`number`: .* in `seeds` of"),
    ({"seeds": {"nummer": 3}}, "unknown key `nummer` in `seeds` of .*; did you mean `number`"),
    ({"seeds": ...}, "`seeds`: field required"),
    ({"resources": {"cpus_a_trial": 1}}, "unknown key .* did you mean `resources.cpus_per_trial`"),
    ({"base": "absent.yaml"}, "the configuration file must exist, but .*absent.yaml doesn't"),
    (
        {"overrides": {"loss.pair_margin": 1}, "settings": {"a": {"loss.pair_margin": 2}}, "reference": "a"},
        "`loss.pair_margin` is set by every setting",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_experiment_that_is_wrong_is_refused(experiment_file, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_experiment(experiment_file(**changes))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("seedz.number", "unknown key `seedz.number` in `--set`; did you mean `seed"),
        ("settings.papr.loss.pair_margin", "there is no such setting; did you mean `paper`"),
        ("settings.paper.loss.pair_magin", "unknown key `loss.pair_magin` in setting `paper`"),
    ],
)
def test_set_of_an_unknown_key_is_refused(experiment_file, key, message):
    with pytest.raises(ConfigError, match=message):
        load_experiment(experiment_file(), {key: 1})


def test_object_store_is_refused():
    with pytest.raises(ConfigError, match="--out must be a folder, but is the URL s3://b/a"):
        check_here("s3://b/a")


@pytest.mark.parametrize(
    ("name", "configurations"),
    [
        ("ablation_quickstart", ["paper", "no-center", "no-reconstruction"]),
        (
            "labeled_quickstart",
            [
                f"{setting}-on-{data}"
                for data in ("all", "n320", "n160")
                for setting in ("paper", "no-center")
            ],
        ),
    ],
)
def test_example_is_one_that_runs(name, configurations):
    path = ROOT / "configs" / "experiments" / f"{name}.yaml"
    assert list(load_experiment(path).configurations) == configurations
    assert set(yaml.safe_load(path.read_text())) <= set(ExperimentConfig.model_fields)
