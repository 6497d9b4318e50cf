import io

import pytest
from rich.console import Console

from rocore.text import shown
from tests.awkward import AWKWARD
from tune.progress import Progress, format_params
from tune.records import TrialRecord

names = pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD)


def record(number=1, state="running", objective=0.5, **more):
    params = {"loss.center_weight": 0.00123456, "encoder.output_layer": 4}
    curve = [{"epoch": 3, "phase": "joint", "objective": objective, "seconds": 1.0}]
    return TrialRecord(f"{number:04d}", number, params, state=state, objective=objective, curve=curve, **more)


def render(progress):
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    console.print(progress.table())
    return console.file.getvalue()


@pytest.fixture
def progress():
    return Progress("demo: search", 4, Console(file=io.StringIO()))


def feed(progress, *records):
    for one in records:
        progress.started(one)
        progress.advanced(one, {})
        if one.state != "running":
            progress.ended(one)


def test_away_from_a_terminal_one_line_a_finished_trial_and_nothing_else(progress, capsys):
    with progress:
        feed(progress, record(0, "complete", 0.6), record(1), record(2, "failed", None, error="loss is nan"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "[1/4] 0000 complete after 3 epochs, 0 s: objective 0.6000  lambda=0.00123 layer=4"
    )
    assert lines[1].startswith("[2/4] 0002 failed after 3 epochs, 0 s: loss is nan")
    assert progress.console.file.getvalue().strip() == ""


def test_trial_in_another_process_says_that_it_goes_on(progress, capsys):
    progress.started(record(1, num_starts=2))
    assert capsys.readouterr().out == "0001 lost its process and goes on after 3 epochs\n"


def test_trial_of_an_earlier_session_is_counted_whether_its_end_was_written_or_not(progress, capsys):
    progress.restored(record(0, "complete"))
    progress.ended(record(1, "pruned"))
    assert capsys.readouterr().out.startswith("[2/4] 0001 pruned after 3 epochs, 1 s")
    assert "2 of 4 done" in render(progress)


def test_on_a_terminal_the_table_is_drawn(capsys):
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with Progress("demo: search", 4, console) as progress:
        feed(progress, record(0, "complete", 0.6))
    assert "demo: search" in console.file.getvalue()
    assert capsys.readouterr().out == ""


def test_table_shows_trials_states_and_the_best(progress):
    feed(progress, record(0, "complete", 0.6), record(1, "pruned", 0.7), record(2), record(3, "failed", None))
    text = render(progress)
    for part in ("0000 (paper)", "0001", "pruned", "running", "failed", "lambda=0.00123", "objective 0.6000"):
        assert part in text
    assert "3 of 4 done" in text
    assert "best so far: 0001 with 0.7000" in text


def test_table_shows_running_trials_and_the_latest_ended_ones(progress):
    feed(progress, *(record(number, "complete") for number in range(30)), record(30))
    text = render(progress)
    assert "0030" in text
    assert "0029" in text
    assert "0005" not in text


def test_final_runs_show_their_metric(progress):
    one = record(1, "complete", 0.0, role="final", metrics={"novel_test.b3_f1": 0.71})
    feed(progress, one)
    assert "novel-test F1 0.7100" in progress.line(one)
    assert progress.best() is None


def test_format_params_is_short():
    assert format_params({"loss.pair_margin": 2.0, "train.max_epochs": 3}) == "sigma=2 max_epochs=3"


@names
def test_table_and_line_show_a_name_as_it_is(name, capsys):
    console = Console(file=io.StringIO(), width=20_000, force_terminal=True, color_system=None)
    progress = Progress(name, 1, console)
    one = record(0, "complete", 0.6)
    one.params["encoder.name"] = name
    feed(progress, one)
    console.print(progress.table())
    assert console.file.getvalue().count(shown(name).strip()) >= (1 if name.isspace() else 2)
    assert "\x1b" not in console.file.getvalue()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f"name={shown(name + '.').removesuffix('.')}") or name.isspace()
