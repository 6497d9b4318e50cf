"""What a trial is told."""

import json

import pytest

from tune.specification import final_spec, race_spec, search_spec

PARAMS = {"encoder.output_layer": 3}


@pytest.mark.parametrize(
    "make",
    [
        lambda sweep: search_spec(sweep, 1, PARAMS),
        lambda sweep: final_spec(sweep, "trial-1", PARAMS, 7),
        lambda sweep: race_spec(sweep, "trial-1", PARAMS, 0, 1, 7),
    ],
    ids=["search", "final", "race"],
)
def test_specification_names_all_layers_of_the_search_for_nodes_without_trunks(make_sweep, make):
    config = make(make_sweep())["config"]
    assert config["encoder"]["output_layer"] == 3
    assert config["cache"]["layers"] == [2, 3, 4, 5, 6]


def test_specification_is_plain_data(make_sweep):
    spec = search_spec(make_sweep(), 1, PARAMS)
    assert json.loads(json.dumps(spec)) == spec
