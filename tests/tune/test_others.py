import json
from pathlib import Path

import pytest

from rocore import Storage
from rocore.config import dump_config
from rocore.errors import CheckpointError, ConfigError, StorageAwayError
from tune import others
from tune.journal import FILE, read_events
from tune.ledger import Ledger
from tune.optuna_study import Study
from tune.others import Others
from tune.records import TrialRecord
from tune.replay import check_record
from tune.report.results import Results
from tune.report.sections_time import time_section
from tune.sweep_directory import SweepDirectory

PRINTS = {"encoder": "abc"}
ROW = {"phase": "joint", "seconds": 1.5, "metrics": None}


@pytest.fixture(autouse=True)
def at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(others, "PERIOD_S", 0.0)
    monkeypatch.setattr(others, "READ_SHARE", 1e9)
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "cache"))


def play(ledger, study, objectives, state="complete"):
    """Let the search's next trial run."""
    number, params = study.propose()
    record = ledger.start(TrialRecord(f"{number:04d}", number, params))
    for epoch, objective in enumerate(objectives, start=1):
        finished = state == "complete" and epoch == len(objectives)
        ledger.report(
            record.name,
            {**ROW, "epoch": epoch, "joint_epoch": epoch, "objective": objective, "finished": finished},
        )
    if state != "running":
        ledger.end(record.name, state, "loss is nan" if state == "failed" else None)
    return record


@pytest.fixture
def begin(tmp_path, make_sweep):
    """Return a function that begins a sweep in a folder, and gives its ledger and study."""

    def begin(name, changes=None, fingerprints=PRINTS):
        sweep, directory = make_sweep(changes), SweepDirectory(tmp_path / name)
        directory.create()
        directory.write_text("config.yaml", dump_config(sweep.config))
        ledger = Ledger(directory)
        ledger.begin({"study": name, "fingerprints": fingerprints, "files": {}})
        study = Study(sweep, name, ledger.of("search"), ledger.state.learned)
        ledger.listeners = (study,)
        return ledger, study

    return begin


def others_of(make_sweep, ledger, *places, **changes):
    sweep = make_sweep({"search.others": [str(place) for place in places], **changes})
    return Others(sweep, str(ledger.directory.root), PRINTS, ledger.state.learned)


def learn(ledger, study, found):
    for place, record in found.news():
        study.learn(ledger.learn(place, record))


def told(study):
    return [(t.number, t.state.name, t.params, t.user_attrs.get("sweep")) for t in study.optuna.trials]


def test_search_learns_from_trials_that_ended_well_once(begin, make_sweep, tmp_path):
    one, study = begin("one")
    two, other = begin("two", {"seed": 50})
    records = [play(two, other, (0.1, 0.2), state) for state in ("complete", "pruned", "failed", "running")]
    found = others_of(make_sweep, one, tmp_path / "two")
    learn(one, study, found)
    learn(one, study, found)
    place = str(tmp_path / "two")
    assert told(study) == [
        (0, "COMPLETE", records[0].params, place),
        (1, "PRUNED", records[1].params, place),
    ]
    play(two, other, (0.3,))
    learn(one, study, found)
    assert [trial.user_attrs["trial"] for trial in study.optuna.trials] == ["0000", "0001", "0004"]
    assert one.state.history["learned"] == 3
    assert one.of("search") == []


def test_own_trials_keep_their_numbers_beside_learned_ones(begin, make_sweep, tmp_path):
    one, study = begin("one")
    two, other = begin("two", {"seed": 50})
    found = others_of(make_sweep, one, tmp_path / "two")
    play(two, other, (0.1,))
    learn(one, study, found)
    first = play(one, study, (0.1, 0.4))
    play(two, other, (0.2,))
    learn(one, study, found)
    second = play(one, study, (0.1, 0.5))
    assert (first.number, first.is_paper, second.number) == (0, True, 1)
    states = [(trial.value, "sweep" in trial.user_attrs) for trial in study.optuna.trials]
    assert states == [(0.1, True), (0.4, False), (0.2, True), (0.5, False)]


@pytest.mark.parametrize("searcher", ["tpe", "gp"])
def test_resumed_search_proposes_as_the_uninterrupted_one_and_so_does_its_replay(
    begin, make_sweep, tmp_path, searcher
):
    one, study = begin("one", {"search.searcher": searcher})
    two, other = begin("two", {"seed": 50})
    found = others_of(make_sweep, one, tmp_path / "two")
    for index in range(8):
        play(two, other, (0.1, 0.05 * index), "complete" if index % 2 else "pruned")
        learn(one, study, found)
        play(one, study, (0.1, 0.04 * index), "pruned" if index % 2 else "complete")
    again = Study(study.sweep, "again", one.of("search"), one.state.learned)
    assert told(again) == told(study)
    assert again.propose() == study.propose()
    agreement = check_record(study.sweep, read_events(tmp_path / "one" / FILE))
    assert (agreement.num_proposals, agreement.num_same_proposals) == (8, 8)


def test_proposals_depend_on_what_was_learned(begin, make_sweep, tmp_path):
    one, study = begin("one")
    two, other = begin("two", {"seed": 50})
    alone = Study(study.sweep, "alone")
    for index in range(12):
        play(two, other, (0.05 * index,))
    learn(one, study, others_of(make_sweep, one, tmp_path / "two"))
    assert study.propose() == alone.propose()
    assert study.propose() != alone.propose()


def test_own_directory_and_sweeps_that_have_not_begun_are_passed_over(begin, make_sweep, tmp_path):
    one, study = begin("one")
    play(one, study, (0.1,))
    found = others_of(make_sweep, one, tmp_path / "one", tmp_path / "later", f"file://{tmp_path}/store/a")
    assert found.news() == []
    two, other = begin("later", {"seed": 50})
    play(two, other, (0.2,))
    assert [place for place, _ in found.news()] == [str(tmp_path / "later")]


def test_sweep_on_a_store_is_learned_from_by_its_url(begin, make_sweep, tmp_path):
    one, _ = begin("one")
    two, other = begin("two", {"seed": 50})
    play(two, other, (0.1, 0.2))
    storage = Storage.at(f"file://{tmp_path}/store/two")
    storage.push(tmp_path / "two")
    ((place, record),) = others_of(make_sweep, one, storage.url).news()
    assert (place, record.objective) == (storage.url, 0.2)


def test_store_that_is_away_is_asked_again_later(begin, make_sweep, tmp_path, monkeypatch):
    one, _ = begin("one")
    two, other = begin("two", {"seed": 50})
    play(two, other, (0.1,))
    found = others_of(make_sweep, one, tmp_path / "two")

    def away(_):
        raise StorageAwayError("it was asked for 180 s")

    with monkeypatch.context() as patch:
        patch.setattr(others, "has_begun", away)
        assert found.news() == []
    assert len(found.news()) == 1


@pytest.mark.parametrize(
    ("changes", "fingerprints", "said"),
    [
        ({"search.space.loss.pair_margin.high": 3.0}, PRINTS, "search.space"),
        ({"objective.num_relations": 5}, PRINTS, "objective"),
        ({"train.batch_size": 7, "train.num_threads": 3}, PRINTS, "train.batch_size;"),
        ({}, {"encoder": "other"}, "data or encoder"),
    ],
)
def test_sweeps_whose_objectives_cannot_be_compared_are_refused(
    begin, make_sweep, tmp_path, changes, fingerprints, said
):
    one, _ = begin("one")
    begin("two", {"seed": 50, **changes}, fingerprints)
    with pytest.raises(ConfigError, match=f"must have the same space, objective and base, .* in {said}"):
        others_of(make_sweep, one, tmp_path / "two").news()


def test_final_seeds_that_another_search_used_are_refused(begin, make_sweep, tmp_path):
    one, study = begin("one")
    begin("two", {"seed": study.sweep.final_seeds[1]})
    with pytest.raises(ConfigError, match=r"set `reevaluation.first_seed` above it"):
        others_of(make_sweep, one, tmp_path / "two").news()


def test_corrupt_journal_of_another_sweep_is_named(begin, make_sweep, tmp_path):
    one, _ = begin("one")
    begin("two", {"seed": 50})
    journal = tmp_path / "two" / FILE
    journal.write_text("no event\n" + journal.read_text())
    with pytest.raises(CheckpointError, match=r"two/journal.jsonl must hold one JSON object a line"):
        others_of(make_sweep, one, tmp_path / "two").news()


def test_others_and_a_second_objective_exclude_each_other(make_sweep):
    with pytest.raises(ConfigError, match=r"`search.others` needs a single objective"):
        make_sweep({"search.others": ["a"], "objective.second": "training_seconds"})


def test_places_of_others_do_not_depend_on_the_working_directory(make_sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make_sweep({"search.others": ["a", "s3://b/c"]}).config.search.others == (
        str(Path("a").resolve()),
        "s3://b/c",
    )


def test_report_says_from_how_many_trials_of_others_the_search_learned():
    tree = {"search": {"trials": [], "space": {}}, "history": {"sessions": 1, "learned": 12}}
    texts = [
        getattr(block, "text", "") for block in time_section(Results(json.loads(json.dumps(tree)))).blocks
    ]
    assert "Its search also learned from 12 trials of other sweeps." in texts
