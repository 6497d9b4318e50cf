from tune.curves import CurveLogger
from tune.records import TrialRecord


def test_curve_logger_takes_the_end_of_a_trial_that_another_session_ran(tmp_path):
    CurveLogger(tmp_path).ended(TrialRecord("0001", 1, {}, state="complete"))
    assert list(tmp_path.iterdir()) == []


def test_curve_logger_keeps_the_run_of_a_trial_that_gets_another_process(tmp_path):
    logger, record = CurveLogger(tmp_path), TrialRecord("0001", 1, {})
    for _ in range(2):
        logger.started(record)
    logger.ended(record)
    assert len(list(tmp_path.rglob("events.*"))) == 1
