import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from rocore.errors import CheckpointError
from tune import optuna_study
from tune.config import Dimension
from tune.optuna_study import Study, StudyMirror, distributions, make_sampler, quiet_optuna, seed_of
from tune.records import TrialRecord


@pytest.fixture
def study(make_sweep):
    quiet_optuna()
    return Study(make_sweep(), "test")


def play(study, objectives, state="complete"):
    """Propose a trial and let it run; return its record."""
    number, params = study.propose()
    record = TrialRecord(f"{number:04d}", number, params)
    for epoch, objective in enumerate(objectives, start=1):
        record.curve.append({"epoch": epoch, "objective": objective, "seconds": 1.0})
        record.objective = objective
        study.advanced(record, {})
    record.state = state
    if state == "failed":
        record.objective, record.error = None, "loss is nan"
    if state != "running":
        study.ended(record)
    return record


def play_many(study, number=13):
    # Beyond the random start of TPE.
    return [
        play(study, (0.1, 0.01 * index), ("complete", "pruned", "failed")[index % 3])
        for index in range(number)
    ]


def told(study):
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in study.optuna.trials]


def test_first_proposal_is_the_papers_configuration(study):
    paper = {"loss.center_weight": 0.005, "loss.pair_margin": 2.0, "encoder.output_layer": 4}
    assert study.propose() == (0, paper)


def test_proposals_are_numbered_distinct_and_in_the_space(study):
    proposals = [study.propose() for _ in range(12)]
    assert [number for number, _ in proposals] == list(range(12))
    assert len({str(params) for _, params in proposals}) == 12
    for _, params in proposals:
        assert 1e-4 <= params["loss.center_weight"] <= 0.1
        assert params["encoder.output_layer"] in range(2, 7)


@pytest.mark.parametrize(
    ("state", "told_state", "value"),
    [("complete", "COMPLETE", 0.4), ("pruned", "PRUNED", 0.4), ("failed", "FAIL", None)],
)
def test_study_is_told_how_a_trial_really_ended(study, state, told_state, value):
    play(study, (0.9, 0.4), state)
    (trial,) = study.optuna.trials
    assert (trial.state.name, trial.value, trial.intermediate_values) == (told_state, value, {1: 0.9, 2: 0.4})
    assert trial.user_attrs.get("error") == ("loss is nan" if state == "failed" else None)


def test_study_ignores_the_final_comparison(study):
    record = TrialRecord("paper-seed1", 1, {}, role="final", objective=0.0)
    study.advanced(record, {})
    record.state = "complete"
    study.ended(record)
    assert study.optuna.trials == []


@pytest.mark.parametrize("searcher", ["tpe", "random"])
def test_study_rebuilt_from_records_is_the_same_and_proposes_the_same(make_sweep, searcher):
    sweep = make_sweep({"search.searcher": searcher})
    lived = Study(sweep, "lived")
    records = play_many(lived)
    running = play(lived, (0.3,), "running")
    rebuilt = Study(sweep, "rebuilt", [*records, running])
    assert told(rebuilt) == told(lived)
    assert [rebuilt.propose() for _ in range(3)] == [lived.propose() for _ in range(3)]


def test_study_rebuilt_lets_a_running_trial_go_on(make_sweep):
    lived = Study(make_sweep(), "lived")
    record = play(lived, (0.3,), "running")
    rebuilt = Study(make_sweep(), "rebuilt", [record])
    record.curve.append({"epoch": 2, "objective": 0.5, "seconds": 1.0})
    record.objective, record.state = 0.5, "complete"
    rebuilt.advanced(record, {})
    rebuilt.ended(record)
    assert told(rebuilt) == [(0, "COMPLETE", 0.5, record.params, {1: 0.3, 2: 0.5})]


def test_study_with_a_missing_number_is_refused(make_sweep, study):
    record = play(study, (0.1,))
    record.number = 1
    with pytest.raises(CheckpointError, match="trial 0 must be in the journal"):
        Study(make_sweep(), "rebuilt", [record])


def test_other_seeds_propose_otherwise(make_sweep):
    one, two = (Study(make_sweep({"seed": seed}), "s") for seed in (0, 1))
    assert [one.propose() for _ in range(2)][1] != [two.propose() for _ in range(2)][1]
    assert len({seed_of(seed, number) for seed in range(9) for number in range(9)}) == 81


def load(path):
    return optuna.load_study(study_name=None, storage=f"sqlite:///{path}")


@pytest.mark.parametrize("share", [1.0, 1e-9])
def test_mirror_follows_the_study_as_its_share_of_the_time_allows(study, tmp_path, monkeypatch, share):
    monkeypatch.setattr(optuna_study, "MIRROR_SHARE", share)
    path = tmp_path / "study.db"
    mirror = StudyMirror(study, path)
    record = play(study, (0.3,), "running")
    mirror.started(record)
    assert len(load(path).trials) == (share == 1.0)
    mirror.close()
    assert load(path).trials[0].intermediate_values == {1: 0.3}


def test_mirror_shows_new_epochs_of_a_running_trial(study, tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_study, "MIRROR_SHARE", 1.0)
    record = play(study, (0.3,), "running")
    mirror = StudyMirror(study, tmp_path / "study.db")
    record.curve.append({"epoch": 2, "objective": 0.4})
    record.objective = 0.4
    study.advanced(record, {})
    mirror.advanced(record, {})
    assert load(tmp_path / "study.db").trials[0].intermediate_values == {1: 0.3, 2: 0.4}
    mirror.close()


def test_mirror_of_a_long_study_takes_no_more_than_a_slice_at_once(study, tmp_path, monkeypatch):
    play_many(study, 4)
    monkeypatch.setattr(optuna_study, "MIRROR_SLICE_S", 0.0)
    mirror = StudyMirror(study, tmp_path / "study.db")
    assert load(tmp_path / "study.db").trials == []
    mirror.close()
    assert len(load(tmp_path / "study.db").trials) == 4


def test_mirror_follows_the_study_and_starts_anew(study, tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_study, "MIRROR_SHARE", 1.0)
    path = tmp_path / "study.db"
    path.write_text("torn")
    mirror = StudyMirror(study, path)
    record = play(study, (0.3,), "running")
    mirror.started(record)
    assert [trial.state.name for trial in load(path).trials] == ["RUNNING"]
    record.state = "pruned"
    study.ended(record)
    mirror.ended(record)
    for one in play_many(study, 4):
        mirror.started(one)
    mirror.close()
    copy = load(path)
    assert copy.study_name == "test"
    assert [t.user_attrs for t in copy.trials] == [t.user_attrs for t in study.optuna.trials]
    assert [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in copy.trials] == told(
        study
    )


def test_distributions_are_optunas():
    space = {
        "a": Dimension(distribution="log_uniform", low=1e-3, high=1),
        "b": Dimension(distribution="uniform", low=0, high=1, step=0.5),
        "c": Dimension(distribution="integer", low=2, high=6, step=2),
        "d": Dimension(distribution="categorical", choices=("x", None, True)),
    }
    assert distributions(space) == {
        "a": FloatDistribution(1e-3, 1, log=True),
        "b": FloatDistribution(0, 1, step=0.5),
        "c": IntDistribution(2, 6, step=2),
        "d": CategoricalDistribution(("x", None, True)),
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("tpe", optuna.samplers.TPESampler), ("random", optuna.samplers.RandomSampler)]
)
def test_make_sampler_by_name(name, kind):
    assert isinstance(make_sampler(name, 0, {}), kind)


@pytest.mark.parametrize("states", [("complete",), ("complete", "pruned", "running"), ("failed",)])
def test_tpe_that_is_told_the_space_draws_what_optunas_own_does(make_sweep, monkeypatch, states):
    def proposals():
        study = Study(make_sweep(), "test")
        return [play(study, (0.1 * (n % 7),), states[n % len(states)]).params for n in range(24)]

    ours = proposals()
    monkeypatch.setattr(
        optuna_study, "make_sampler", lambda _name, seed, _space: optuna.samplers.TPESampler(seed=seed)
    )
    assert proposals() == ours


def learned_from(make_sweep, ends, order):
    """Return the next proposals after trials that ran at once and ended in some order; `ends` are states and curves."""
    study = Study(make_sweep(), "test")
    records = []
    for number in range(len(ends)):
        _, params = study.propose()
        records.append(TrialRecord(f"{number:04d}", number, params))
    for number in order:
        state, curve = ends[number]
        for epoch, objective in enumerate(curve, start=1):
            records[number].curve.append({"epoch": epoch, "objective": objective, "seconds": 1.0})
            records[number].objective = objective
            study.advanced(records[number], {})
        records[number].state = state
        study.ended(records[number])
    return [study.propose() for _ in range(2)]


STOPPED = [("complete", (0.1, 0.2, 0.3)), *(("pruned", (0.01 * number,)) for number in range(1, 14))]


def test_proposals_after_the_same_ends_in_another_order_are_the_same(make_sweep):
    orders = [range(14), reversed(range(14)), (3, 0, 13, 7, 1, 12, 2, 11, 5, 4, 10, 6, 9, 8)]
    first, *others = [learned_from(make_sweep, STOPPED, order) for order in orders]
    assert others == [first, first]


def test_tpe_learns_from_stopped_trials_by_their_last_epoch(make_sweep):
    one = learned_from(make_sweep, STOPPED, range(14))
    # The same trials, but others of them were the good ones; then, others went further.
    other = [STOPPED[0], *(("pruned", (0.01 * (14 - number),)) for number in range(1, 14))]
    further = [STOPPED[0], *(("pruned", (0.01,) * (3 if number == 2 else 1)) for number in range(1, 14))]
    assert learned_from(make_sweep, other, range(14)) != one
    assert learned_from(make_sweep, further, range(14)) not in (
        one,
        learned_from(make_sweep, [STOPPED[0], *[("pruned", (0.01,))] * 13], range(14)),
    )
