import pytest

from rocore.config import make_config
from rocore.errors import ConfigError
from tune.config import Dimension
from tune.space import joint_budget, trunk_configs

UNIFORM = {"distribution": "uniform", "low": 1, "high": 2}


def one(key, paper=1.5, **dimension):
    return {"search": {"space": {key: UNIFORM | dimension}}, "paper": {key: paper}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            one("loss.pair_margn"),
            "unknown key `loss.pair_margn` in `search.space`; did you mean `loss.pair_margin`",
        ),
        (one("loss"), "takes single keys, but `loss` is a section"),
        (one("seed"), "`seed` can't be searched"),
        (one("data.novel_test_size"), "`data.novel_test_size` can't be searched"),
        (one("train.device"), "`train.device` can't be searched"),
        (
            one(
                "incremental.enabled", distribution="categorical", low=None, high=None, choices=[True, False]
            ),
            "two modes|its modes",
        ),
        (
            one("incremental.rampup_peak"),
            r"`incremental.rampup_peak` act only where `incremental.enabled` is true",
        ),
        (one("loss.pair_margin", low=2, high=2), "must have low < high, but got 2 and 2"),
        (one("loss.pair_margin", low=3), "must have low < high, but got 3 and 2"),
        (one("loss.pair_margin", low=None), "takes `low` and `high`, but got None and 2"),
        (one("loss.pair_margin", distribution="log_uniform", low=0), "must have low > 0, but got 0"),
        (one("loss.pair_margin", distribution="log_uniform", step=0.1), "takes no `step`"),
        (one("train.max_epochs", distribution="integer", high=2.5), "is integer, but got 1, 2.5"),
        (one("loss.pair_margin", low=-1), "reaches loss.pair_margin = -1, which RoCORE refuses"),
        (one("train.dropout", low=0.1, high=1.0), "reaches train.dropout = 1.0, which RoCORE refuses"),
        (
            one("model.rectifier", distribution="categorical", low=None, high=None, choices=["relu", "tanh"]),
            "tanh",
        ),
        (one("model.rectifier", distribution="categorical", low=None, high=None), "needs distinct `choices`"),
        (one("model.rectifier", distribution="categorical", choices=["relu"]), "takes `choices` only"),
        (
            one("encoder.output_layer", distribution="integer", high=7),
            r"at most 6, the number of layers of `minilm`.*7",
        ),
        (
            one("encoder.max_pieces", low=20, high=40),
            "a searched `encoder` key must be integer or categorical",
        ),
        (
            one("train.max_epochs", high=9),
            r"reaches train.max_epochs = 3.5\d+, which RoCORE refuses.*integer",
        ),
        ({"search": {"space": {}}, "paper": {}}, "must name at least one key"),
        ({"paper": {"loss.pair_margin": 2.0}}, "misses loss.center_weight, encoder.output_layer"),
        (
            one("loss.pair_margin") | {"paper": {"loss.pair_margin": 1.5, "loss.scale": "paper"}},
            "which isn't searched",
        ),
        (one("loss.pair_margin", paper=2.5), r"must lie in \[1, 2\], but is 2.5"),
        (one("loss.pair_margin", paper="a"), "must be a number, but is 'a'"),
        (one("loss.pair_margin", paper=1.3, step=0.5), "must be 1 plus steps of 0.5, but is 1.3"),
        (one("train.max_epochs", distribution="integer", paper=1.5), "must be a whole number, but is 1.5"),
        (
            one(
                "model.rectifier",
                paper="gelu",
                distribution="categorical",
                low=None,
                high=None,
                choices=["relu"],
            ),
            r"must be one of \['relu'\], but is 'gelu'",
        ),
    ],
)
def test_space_that_can_not_be_searched_is_refused(make_sweep, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep(**changes)


def test_center_weight_without_center_loss_is_refused(make_sweep):
    with pytest.raises(
        ConfigError, match=r"`loss\.center_weight` acts only where `loss\.use_center` is true"
    ):
        make_sweep({"loss.use_center": False})


def test_rampup_in_incremental_mode_is_searched(make_sweep):
    sweep = make_sweep({"incremental.enabled": True}, **one("incremental.rampup_peak"))
    assert sweep.paper == {"incremental.rampup_peak": 1.5}


def test_paper_takes_the_type_of_its_dimension(make_sweep):
    space = {"loss.pair_margin": UNIFORM, "train.max_epochs": UNIFORM | {"distribution": "integer"}}
    paper = make_sweep(search={"space": space}, paper={"loss.pair_margin": 2, "train.max_epochs": 2.0}).paper
    assert [type(value) for value in paper.values()] == [float, int]


def test_trunk_configs_reach_every_output_layer(make_sweep):
    sweep = make_sweep()
    layers = [config.encoder.output_layer for config in trunk_configs(sweep.base, sweep.config.search.space)]
    assert layers == [2, 3, 4, 5, 6]


def test_trunk_configs_without_encoder_keys_is_the_base(make_sweep):
    sweep = make_sweep(**one("loss.pair_margin"))
    assert trunk_configs(sweep.base, sweep.config.search.space) == [sweep.base]


@pytest.mark.parametrize(
    ("space", "budget"),
    [
        ({}, 10),
        ({"train.max_epochs": Dimension(distribution="integer", low=5, high=20)}, 20),
        ({"train.max_epochs": Dimension(distribution="categorical", choices=(4, 8))}, 8),
    ],
)
def test_joint_budget_takes_the_largest_of_the_space(space, budget):
    assert joint_budget(make_config({"train": {"max_epochs": 10}}), space) == budget
