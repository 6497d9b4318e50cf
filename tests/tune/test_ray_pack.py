"""A sweep whose trials train in packs, on the built-in corpus, beside one whose trials train alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from rocore.errors import ConfigError
from tune.config import ResourcesConfig
from tune.ray_pack import packs
from tune.sweep import run_sweep

pytestmark = pytest.mark.ray

KEYS = {"search.searcher": "random", "resources.max_concurrent_trials": 1}
SEARCH = {
    "num_trials": 4,
    "space": {"loss.pair_margin": {"distribution": "uniform", "low": 0.5, "high": 4.0}},
}


def results_of(make_sweep: Any, keys: dict[str, Any], folder: Path, pack: int) -> dict[str, Any]:
    sweep = make_sweep(
        {**keys, **KEYS, "trial.pack": pack},
        search=SEARCH,
        paper={"loss.pair_margin": 2.0},
        objective={"num_relations": 2, "num_folds": 1},
        scheduler={"name": "none"},
        reevaluation={"top_k": 1, "num_seeds": 1},
    )
    run_sweep(sweep, folder)
    tree: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return tree


def test_sweep_in_packs_finds_what_single_trials_find(
    make_sweep: Any, small_corpus: dict[str, Any], tmp_path: Path
) -> None:
    alone, packed = (results_of(make_sweep, small_corpus, tmp_path / str(pack), pack) for pack in (1, 3))
    for found, expected in zip(packed["search"]["trials"], alone["search"]["trials"], strict=True):
        assert found["state"] == expected["state"] == "complete"
        assert found["params"] == expected["params"]
        assert found["objective"] == pytest.approx(expected["objective"], abs=1e-9)
    figures = [[entry["metrics"] for entry in tree["final"]] for tree in (packed, alone)]
    assert figures[0]
    assert json.dumps(figures[0]) == json.dumps(figures[1])


def test_packs_share_too_small_for_proxies_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"`resources.cpus_per_trial` must be above 0.5 for packs of 50"),
        packs(ResourcesConfig(cpus_per_trial=0.5), 1, 50),
    ):
        pass
