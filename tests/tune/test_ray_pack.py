"""A sweep whose trials train in packs, on the built-in corpus, beside one whose trials train alone."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from rocore.errors import ConfigError, DeviceError, SweepError
from tune import ray_pack
from tune.config import ResourcesConfig
from tune.ray_pack import PackedTrial, packs
from tune.sweep import run_sweep

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


@pytest.mark.ray
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


def test_pack_whose_device_failed_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that joined it next would fail, too, each within moments."""

    class Ended(BaseException):
        pass

    actor = ray_pack.PackActor(1)
    monkeypatch.setattr(actor._pack, "advance", AsyncMock(side_effect=DeviceError("the device must answer")))
    monkeypatch.setattr(ray_pack.os, "_exit", Mock(side_effect=Ended))
    with pytest.raises(Ended):
        asyncio.run(actor.advance("a"))


def test_packs_share_too_small_for_proxies_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"`resources.cpus_per_trial` must be above 0.5 for packs of 50"),
        packs(ResourcesConfig(cpus_per_trial=0.5), 1, 50),
    ):
        pass


class FakePack:
    """A pack's handle: a call is its own answer, and None where the pack never starts."""

    def __init__(self, starts: bool, room: int = 1) -> None:
        self.starts, self.room, self.members = starts, room, []  # type: ignore[var-annotated]
        for name in ("__ray_ready__", "join", "advance", "leave"):
            setattr(self, name, SimpleNamespace(remote=getattr(self, f"_{name.strip('_')}")))

    def _ray_ready(self) -> Any:
        return self

    def _join(self, name: str, spec: Any) -> bool:
        assert self.starts, "the call waits for ever"
        if len(self.members) == self.room:
            return False
        self.members.append(name)
        return True

    def _advance(self, name: str) -> dict[str, Any]:
        return {"epoch": 1}

    def _leave(self, name: str) -> None:
        self.members.remove(name)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(refs: list[FakePack], num_returns: int, timeout: float) -> Any:
        return [ref for ref in refs if ref.starts], [ref for ref in refs if not ref.starts]

    fake = SimpleNamespace(get=lambda value, timeout=None: value, wait=wait)
    monkeypatch.setattr(ray_pack, "ray", fake)
    monkeypatch.setattr(ray_pack, "JOIN_PERIOD_S", 0.0)


def member_of(actors: list[FakePack], name: str = "0001") -> PackedTrial:
    member = PackedTrial.__new__(PackedTrial)
    member.setup({"spec": {"name": name, "checkpoint_share": 1.0}}, packs=actors)
    return member


def test_packed_trial_passes_over_a_pack_that_has_no_place(fake_ray: None) -> None:
    actors = [FakePack(starts=False), FakePack(starts=True, room=0), FakePack(starts=True)]
    member = member_of(actors)
    assert member.step() == {"epoch": 1, "should_checkpoint": True}
    assert [pack.members for pack in actors] == [[], [], ["0001"]]
    member.reset_config({"spec": {"name": "0002", "checkpoint_share": 1.0}})
    assert actors[2].members == []
    member.cleanup()
    assert member.step() == {"epoch": 1, "should_checkpoint": True}
    assert actors[2].members == ["0002"]


def test_packed_trial_of_packs_that_never_start_says_what_to_do(
    fake_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pack, "START_TIMEOUT_S", 0.0)
    member = member_of([FakePack(starts=False), FakePack(starts=False)])
    with pytest.raises(
        SweepError, match=r"within 0 s, but none of 2 did: no node has a trial's share .* free"
    ):
        member.step()
    member.cleanup()
