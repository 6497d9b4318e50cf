from types import SimpleNamespace

import pytest

from tune.ray_scheduler import FirstCome, NamedASHA, make_scheduler


def trial(name, status="PENDING"):
    return SimpleNamespace(config={"spec": {"name": name}}, status=status)


def ask(name):
    return {"event": "ask", "name": name}


def report(name, epoch, objective, finished=False):
    return {
        "event": "report",
        "name": name,
        "joint_epoch": epoch,
        "objective": objective,
        "finished": finished,
    }


def end(name, state="complete"):
    return {"event": "end", "name": name, "state": state}


def rungs(scheduler):
    return [dict(recorded) for _, recorded in scheduler._brackets[0]._rungs]


@pytest.mark.parametrize(
    ("max_epochs", "grace", "milestones"), [(4, 1, [4, 2, 1]), (15, 3, [12, 6, 3]), (4, 50, [4])]
)
def test_scheduler_counts_joint_epochs_from_the_grace_period_on(make_sweep, max_epochs, grace, milestones):
    scheduler = make_scheduler(make_sweep({"scheduler.grace_epochs": grace, "train.max_epochs": max_epochs}))
    assert isinstance(scheduler, NamedASHA)
    assert (scheduler._time_attr, scheduler._max_t) == ("joint_epoch", max_epochs)
    assert [milestone for milestone, _ in scheduler._brackets[0]._rungs] == milestones


def test_scheduler_never_stops_a_trial_in_pretraining(make_sweep):
    scheduler = make_scheduler(make_sweep())
    for name, objective in (("0000", 0.9), ("0001", 0.0)):
        scheduler.on_trial_add(None, trial(name))
        result = {"joint_epoch": 0, "objective": objective}
        assert scheduler.on_trial_result(None, trial(name), result) == "CONTINUE"


def test_scheduler_never_stops_the_papers_configuration_and_judges_others_by_it(make_sweep):
    scheduler, decisions = make_scheduler(make_sweep()), []
    scores = {"0001": 0.9, "0002": 0.8, "0000": 0.1, "0003": 0.2}
    for name, score in scores.items():
        scheduler.on_trial_add(None, trial(name))
        decisions.append(scheduler.on_trial_result(None, trial(name), {"joint_epoch": 1, "objective": score}))
    assert decisions == ["CONTINUE", "STOP", "CONTINUE", "STOP"]
    assert rungs(scheduler)[-1] == scores


def test_scheduler_replayed_never_stops_the_papers_configuration(make_sweep):
    events = [ask("0001"), report("0001", 1, 0.9), ask("0000"), report("0000", 1, 0.1)]
    assert make_scheduler(make_sweep()).replay(events) == set()


def test_scheduler_none_is_first_in_first_out(make_sweep):
    assert type(make_scheduler(make_sweep({"scheduler.name": "none"}))) is FirstCome


@pytest.mark.parametrize("name", ["asha", "none"])
def test_scheduler_runs_who_has_waited_longest(make_sweep, name):
    scheduler = make_scheduler(make_sweep({"scheduler.name": name}))
    assert scheduler.choose_trial_to_run(None) is None
    trials = [trial(f"000{number}") for number in range(3)]
    for each in trials:
        scheduler.on_trial_add(None, each)
    assert scheduler.choose_trial_to_run(None) is trials[0]
    trials[0].status = trials[1].status = "RUNNING"
    assert scheduler.choose_trial_to_run(None) is trials[2]
    trials[2].status = "TERMINATED"
    assert scheduler.choose_trial_to_run(None) is None


def test_scheduler_replayed_has_the_rungs_of_the_one_that_lived(make_sweep):
    live, replayed = (make_scheduler(make_sweep()) for _ in range(2))
    events = []
    for name, scores in {"0000": (0.5, 0.6, 0.7, 0.8), "0001": (0.4,), "0002": (0.6, 0.1)}.items():
        live.on_trial_add(None, trial(name))
        events.append(ask(name))
        for epoch, score in enumerate(scores, start=1):
            event = report(name, epoch, score, finished=epoch == 4)
            events.append(event)
            if not event["finished"]:
                live.on_trial_result(None, trial(name), event)
        live.on_trial_complete(None, trial(name), event)
        events.append(end(name))
    replayed.replay(events)
    assert rungs(live) == rungs(replayed)
    assert rungs(live)[-1] == {"0000": 0.5, "0001": 0.4, "0002": 0.6}


def test_scheduler_replayed_names_the_trial_that_a_kill_kept_from_being_stopped(make_sweep):
    scheduler = make_scheduler(make_sweep())
    events = [ask("0000"), report("0000", 1, 0.9), end("0000"), ask("0001"), report("0001", 1, 0.1)]
    assert scheduler.replay([*events, ask("0002"), report("0002", 1, 0.95)]) == {"0001"}


def test_scheduler_keeps_failed_trials_as_they_are(make_sweep):
    scheduler = make_scheduler(make_sweep())
    assert scheduler.replay([ask("0000"), end("0000", "failed")]) == set()
    assert rungs(scheduler) == [{}, {}, {}]


def test_scheduler_knows_a_trial_that_goes_on_in_another_process(make_sweep):
    scheduler = make_scheduler(make_sweep())
    scheduler.replay([ask("0000"), report("0000", 1, 0.9)])
    scheduler.on_trial_add(None, trial("0000"))
    scheduler.on_trial_result(None, trial("0000"), {"joint_epoch": 2, "objective": 0.8})
    assert rungs(scheduler)[1:] == [{"0000": 0.8}, {"0000": 0.9}]
