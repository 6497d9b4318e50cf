import pytest

from benchmarks.convergence import (
    PATIENCES,
    TOLERANCES,
    Curve,
    Stop,
    main,
    read_curve,
    stop,
    stopping_epoch,
)
from rocore.errors import DataError
from rocore.run_directory import RunDirectory
from rocore.training.trainer import EpochReport

CHANGES = (None, 0.3, 0.004, 0.02, 0.004, 0.003, 0.0)
SCORES = (0.3, 0.5, 0.625, 0.75, 0.5, 0.625, 0.5)


def write_run(folder, changes=CHANGES, scores=SCORES):
    """Write epochs.jsonl as a run does: an epoch of pre-training, then the joint ones."""
    folder.mkdir()
    directory = RunDirectory(folder)
    directory.append_epoch(EpochReport(1, "pretrain", {}, None, None), {})
    for epoch, (change, score) in enumerate(zip(changes, scores, strict=True), 2):
        metrics = {} if score is None else {"novel_test.b3_f1": score, "novel_test.ari": 0.0}
        directory.append_epoch(EpochReport(epoch, "joint", {}, change, 0.5), metrics)
    return folder


@pytest.mark.parametrize(
    ("tolerance", "patience", "epoch"),
    [(0.004, 1, 3), (0.004, 2, 6), (0.004, 3, 7), (0.02, 3, 5), (0.003, 2, 7), (0.002, 2, None), (0.5, 1, 2)],
)
def test_stopping_epoch_is_the_first_after_enough_small_changes_in_a_row(tolerance, patience, epoch):
    assert stopping_epoch(CHANGES, tolerance, patience) == epoch


def test_read_curve_takes_the_joint_epochs_of_a_run_or_of_its_file(tmp_path):
    folder = write_run(tmp_path / "a")
    assert read_curve(folder) == Curve(str(folder), CHANGES, SCORES)
    assert read_curve(folder / "epochs.jsonl").changes == CHANGES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"phase": "joint", "pseudo', r"must be an epoch's, but .*epochs\.jsonl:1 is"),
        ('{"epoch": 1}', "KeyError"),
        ("[1]", "TypeError"),
        ('{"phase": "pretrain"}', "at least 2 joint epochs, but .* has 0"),
    ],
)
def test_read_curve_where_the_file_is_no_record_refuses(tmp_path, text, message):
    file = tmp_path / "epochs.jsonl"
    file.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_curve(file)


def test_read_curve_where_there_is_no_run_refuses(tmp_path):
    with pytest.raises(DataError, match="RUN must be a run directory"):
        read_curve(tmp_path)


def test_stop_compares_with_the_last_and_the_best_epoch():
    found = stop(Curve("a", CHANGES, SCORES), 0.004, 1)
    assert found == Stop(3, True, pytest.approx(4 / 7), 0.625, 0.125, -0.125)


def test_stop_where_the_rule_is_never_met_is_the_last_epoch():
    assert stop(Curve("a", CHANGES, SCORES), 0.002, 3) == Stop(7, False, 0.0, 0.5, 0.0, -0.25)


def test_stop_without_gold_has_no_scores():
    assert stop(Curve("a", CHANGES, None), 0.004, 1) == Stop(3, True, pytest.approx(4 / 7))


def rows_of(block):
    return [line.strip("| ").split(" | ") for line in block.splitlines()[2:]]


def test_main_prints_every_rule_for_each_run_and_on_average(tmp_path, capsys):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", scores=[None] * len(CHANGES))]
    assert main(list(map(str, runs))) == 0
    first_head, first, second_head, second, mean_head, means = capsys.readouterr().out.split("\n\n")
    assert first_head.endswith(
        "a: 7 joint epochs; B3 F1 0.500 at the last, 0.750 at the best; smallest change 0.0000"
    )
    assert second_head.endswith("b: 7 joint epochs; smallest change 0.0000")
    assert mean_head == "mean over 2 runs"
    rules = [[f"{tolerance:g}", str(patience)] for tolerance in TOLERANCES for patience in PATIENCES]
    for block in (first, second, means):
        assert [row[:2] for row in rows_of(block)] == rules
    by_rule = [{tuple(row[:2]): row[2:] for row in rows_of(block)} for block in (first, second, means)]
    assert by_rule[0]["0.02", "3"] == ["5", "0.500", "+0.000", "-0.250", "29%"]
    assert by_rule[0]["0.002", "2"] == ["(7)", "0.500", "+0.000", "-0.250", "0%"]
    assert by_rule[1]["0.005", "1"] == ["3", "-", "-", "-", "57%"]
    assert by_rule[2]["0.005", "1"] == ["2 of 2", "3.0", "0.625", "+0.125", "+0.125", "-0.125", "57%"]


def test_main_where_a_run_is_absent_says_so_and_ends_with_2(tmp_path, capsys):
    assert main([str(tmp_path / "gone")]) == 2
    assert "RUN must be a run directory" in capsys.readouterr().err
