"""Rounds of a pack, with a step that only notes who took part; and trials that really train together."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

import rocore
from rocore.config import make_config
from rocore.errors import DeviceError
from tune.pack import Pack
from tune.specification import search_spec
from tune.trial_run import TrialRun, step_together

SPEC: dict[str, Any] = {"name": "0000"}


class Rounds(list[list[str]]):
    def __call__(self, runs: Sequence[TrialRun]) -> list[dict[str, Any]]:
        self.append([run.spec["name"] for run in runs])
        return [{"name": run.spec["name"], "round": len(self)} for run in runs]


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    monkeypatch.setattr("tune.pack.PATIENCE_S", 0.05)
    return Rounds()


async def joined(pack: Pack, *names: str) -> None:
    for name in names:
        assert await pack.join(name, {"name": name})


def test_pack_members_that_ask_run_in_one_round(rounds: Rounds, engine: Any) -> None:
    async def scenario() -> list[Any]:
        pack = Pack(3, engine, rounds)
        await joined(pack, "a", "b", "c")
        return await asyncio.gather(*(pack.advance(name) for name in "abc"))

    results = asyncio.run(scenario())
    assert [sorted(names) for names in rounds] == [["a", "b", "c"]]
    assert [result["name"] for result in results] == ["a", "b", "c"]


def test_pack_rounds_keep_the_order_of_joining_whoever_asks_first(rounds: Rounds, engine: Any) -> None:
    """A pack in another order would be stacked, and on a GPU recorded, anew."""

    async def scenario() -> None:
        pack = Pack(3, engine, rounds)
        await joined(pack, "a", "b", "c")
        for order in ("abc", "bca", "cab"):
            await asyncio.gather(*(pack.advance(name) for name in order))

    asyncio.run(scenario())
    assert rounds == [["a", "b", "c"]] * 3


def test_pack_round_goes_on_without_a_member_that_does_not_ask(rounds: Rounds, engine: Any) -> None:
    async def scenario() -> None:
        pack = Pack(2, engine, rounds)
        await joined(pack, "a", "b")
        await pack.advance("a")

    asyncio.run(scenario())
    assert rounds == [["a"]]


def test_pack_that_is_full_refuses_until_one_leaves(rounds: Rounds, engine: Any) -> None:
    async def scenario() -> list[bool]:
        pack = Pack(1, engine, rounds)
        answers = [await pack.join(name, SPEC) for name in ("a", "b", "a")]
        await pack.leave("a")
        return [*answers, await pack.join("b", SPEC)]

    assert asyncio.run(scenario()) == [True, False, True, True]


def test_pack_leaving_member_ends_the_wait_for_it(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune.pack.PATIENCE_S", 3600.0)
    rounds = Rounds()

    async def scenario() -> None:
        pack = Pack(2, engine, rounds)
        await joined(pack, "a", "b")
        asked = asyncio.create_task(pack.advance("a"))
        await asyncio.sleep(0.01)
        await pack.leave("b")
        await asked

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert rounds == [["a"]]


def test_pack_error_of_a_round_reaches_who_asked(rounds: Rounds, engine: Any) -> None:
    def broken(_runs: Sequence[TrialRun]) -> list[dict[str, Any]]:
        raise MemoryError("no room")

    async def scenario() -> None:
        pack = Pack(1, engine, broken)
        await joined(pack, "a")
        await pack.advance("a")

    with pytest.raises(MemoryError, match="no room"):
        asyncio.run(scenario())


def test_pack_members_save_side_by_side_and_while_others_train(
    engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that waited for another, or for the round, would wait for ever."""
    together = Barrier(3)

    def step(runs: Sequence[TrialRun]) -> list[dict[str, Any]]:
        together.wait(60)
        return [{} for _ in runs]

    def save(_run: TrialRun, folder: Path) -> None:
        together.wait(60)
        (folder / "weights").write_text("w")

    monkeypatch.setattr("tune.pack.PATIENCE_S", 0.05)
    monkeypatch.setattr(TrialRun, "save", save)

    async def scenario() -> list[Any]:
        pack = Pack(3, engine, step)
        await joined(pack, "a", "b", "c")
        return await asyncio.gather(pack.advance("a"), pack.checkpoint("b"), pack.save("c", tmp_path))

    _, files, _ = asyncio.run(scenario())
    assert files == {"weights": b"w"}
    assert (tmp_path / "weights").read_text() == "w"


@pytest.fixture
def specs(make_sweep: Any, small_corpus: dict[str, Any]) -> list[dict[str, Any]]:
    """Trials on the built-in corpus that differ in the margin."""
    sweep = make_sweep(
        small_corpus,
        search={
            "num_trials": 3,
            "space": {"loss.pair_margin": {"distribution": "uniform", "low": 0.5, "high": 4.0}},
        },
        paper={"loss.pair_margin": 2.0},
        objective={"num_relations": 2, "num_folds": 2},
    )
    return [{**search_spec(sweep, n, {"loss.pair_margin": 1.0 + n}), "folder": "unused"} for n in range(3)]


def test_step_together_equals_every_trial_alone(specs: list[dict[str, Any]]) -> None:
    alone, packed = ([TrialRun(spec, rocore) for spec in specs] for _ in range(2))
    for _ in range(3):
        expected = [run.step() for run in alone]
        for found, result in zip(step_together(packed), expected, strict=True):
            assert not found["failed"], found.get("error")
            assert found["objective"] == pytest.approx(result["objective"], abs=1e-9)
            assert found["finished"] == result["finished"]
    assert all(result["finished"] for result in expected)


def test_step_together_failure_of_one_leaves_the_others(specs: list[dict[str, Any]]) -> None:
    good, broken = specs[:2]
    broken["config"]["encoder"]["output_layer"] = 99
    make_config(broken["config"])
    first, second = step_together([TrialRun(good, rocore), TrialRun(broken, rocore)])
    assert not first["failed"]
    assert second["failed"]
    assert "99" in second["error"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.AcceleratorError("an illegal access"),
            "^the device must answer, but an illegal access; go on",
        ),
        (DeviceError("a step must be recorded"), "^a step must be recorded$"),
    ],
    ids=["any", "recording"],
)
def test_failed_device_is_no_result_of_a_trial(
    error: Exception, said: str, specs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may go on; a result would end the trial."""
    monkeypatch.setattr(rocore.Trainer, "begin_epoch", Mock(side_effect=error))
    run = TrialRun(specs[0], rocore)
    for step in (run.step, lambda: step_together([run])):
        with pytest.raises(DeviceError, match=said):
            step()


def test_run_that_cannot_be_closed_is_gone_all_the_same(specs: list[dict[str, Any]]) -> None:
    run = TrialRun(specs[0], rocore)
    run._run = SimpleNamespace(close=Mock(side_effect=torch.AcceleratorError("unspecified launch failure")))
    with pytest.raises(torch.AcceleratorError):
        run.close()
    run.close()
