import io
import pickle
import re
import threading
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from tune.ledger import Ledger, SweepDirectory
from tune.ray_callbacks import LedgerCallback

SPEC = {"name": "0002", "role": "search", "number": 2, "params": {"a": 1}, "seed": 0}
EPOCH = {"epoch": 1, "phase": "joint", "objective": 0.3, "seconds": 1.0, "scalars": '{"loss/pair": 2.0}'}


def make_trial(last=None, error=None):
    return SimpleNamespace(
        config={"spec": SPEC}, last_result=last, get_pickled_error=lambda: error, get_error=lambda: None
    )


@pytest.fixture
def ledger(tmp_path):
    return Ledger(SweepDirectory(tmp_path))


def test_callback_turns_rays_events_into_a_record(ledger):
    callback = LedgerCallback(ledger)
    callback.on_trial_start(0, [], make_trial())
    callback.on_trial_result(0, [], make_trial(), EPOCH | {"metrics": "null"})
    callback.on_trial_complete(0, [], make_trial(EPOCH | {"finished": True}))
    record = ledger.records["0002"]
    assert (record.number, record.params, record.state, record.objective) == (2, {"a": 1}, "complete", 0.3)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RayActorError(error_msg="killed by signal 9\nand more"), "RayActorError.*killed by signal 9"),
        (None, "was lost$"),
    ],
)
def test_callback_says_why_a_process_was_lost(ledger, error, cause):
    LedgerCallback(ledger).on_trial_error(0, [], make_trial(error=error))
    record = ledger.records["0002"]
    assert record.state == "failed"
    assert record.error.startswith("the trial's process was lost")
    assert re.search(cause, record.error)
    assert "\n" not in record.error


def test_callback_is_stored_by_ray_without_the_ledger(tmp_path):
    listener = SimpleNamespace(lock=threading.Lock(), file=io.StringIO())
    callback = LedgerCallback(Ledger(SweepDirectory(tmp_path), (listener,)))
    assert vars(pickle.loads(pickle.dumps(callback))) == {}
