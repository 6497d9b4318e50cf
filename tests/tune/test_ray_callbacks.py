import pickle
import re
from types import SimpleNamespace

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
)

from rocore.errors import DiskFullError, StorageAwayError, SweepError
from tune import ray_callbacks
from tune.ledger import Ledger
from tune.ray_callbacks import LedgerCallback
from tune.specification import record_of
from tune.sweep_directory import SweepDirectory

SPEC = {"name": "0002", "role": "search", "number": 2, "params": {"a": 1}, "seed": 0}
EPOCH = {
    "epoch": 1,
    "phase": "joint",
    "objective": 0.3,
    "seconds": 1.0,
    "finished": False,
    "scalars": '{"loss/pair": 2.0}',
    "metrics": "null",
}
NODE = {"hostname": "worker-7", "node_ip": "10.0.0.7"}
NO_ROOM = r"node worker-7 \(10.0.0.7\), where trial 0002 ran, has none: .*No space left.* free some there, .*--resume"
AWAY = "the store was asked for 180 s"
FAILED = {"objective": 0.0, "failed": True, "disk_full": False, "error": "loss is nan", "traceback": "line 3"}
FULL = "[Errno 28] No space left on device"


@pytest.fixture
def make_trial(tmp_path):
    """Return a function that makes a trial of Ray's, with its error where Ray writes it."""

    def make(error=None):
        path = tmp_path / "error.pkl"
        if error is not None:
            path.write_bytes(pickle.dumps(error))
        return SimpleNamespace(
            config={"spec": SPEC},
            pickled_error_file=str(path),
            error_file=str(tmp_path / "error.txt"),
            last_result=NODE,
            node_ip="10.0.0.7",
            run_metadata=SimpleNamespace(pickled_error_filename="error.pkl"),
        )

    return make


@pytest.fixture
def ledger(tmp_path):
    with Ledger(SweepDirectory(tmp_path)) as ledger:
        ledger.start(record_of(SPEC))
        yield ledger


@pytest.fixture
def waiting():
    return []


@pytest.fixture
def callback(ledger, waiting):
    return LedgerCallback(ledger, SimpleNamespace(wait=waiting.append))


def test_callback_turns_a_result_of_rays_into_an_epoch(callback, ledger, make_trial):
    callback.on_trial_result(0, [], make_trial(), EPOCH)
    record = ledger.records["0002"]
    assert (record.number, record.params, record.state, record.objective) == (2, {"a": 1}, "running", 0.3)


def test_callback_ends_a_trial_that_says_why_it_failed(callback, ledger, make_trial):
    callback.on_trial_result(0, [], make_trial(), FAILED)
    assert (ledger.records["0002"].state, ledger.records["0002"].error) == ("failed", "loss is nan")


def test_callback_stops_the_sweep_and_names_the_node_where_the_disk_is_full(callback, ledger, make_trial):
    full = FAILED | {"disk_full": True, "error": FULL, "failed_on": "worker-7"}
    with pytest.raises(DiskFullError, match=NO_ROOM):
        callback.on_trial_result(0, [], make_trial(), full | NODE)
    with pytest.raises(DiskFullError, match=r"node worker-8, where trial 0002 ran"):
        callback.on_trial_result(0, [], make_trial(), full | NODE | {"failed_on": "worker-8"})
    saving = RayTaskError("save", FULL, RuntimeError("I/O error: No space left on device (os error 28)"))
    with pytest.raises(DiskFullError, match=NO_ROOM):
        callback.on_trial_error(0, [], make_trial(saving))
    assert ledger.records["0002"].state == "running"


def test_callback_stops_the_sweep_and_not_the_trial_where_the_store_stays_away(callback, ledger, make_trial):
    with pytest.raises(StorageAwayError, match="asked for 180 s"):
        callback.on_trial_result(0, [], make_trial(), FAILED | {"store_away": True, "error": AWAY})
    with pytest.raises(StorageAwayError, match="asked for 180 s"):
        callback.on_trial_error(0, [], make_trial(RayTaskError("save", AWAY, StorageAwayError(AWAY))))
    assert ledger.records["0002"].state == "running"


def test_callback_ends_the_sweep_where_no_pack_starts(callback, ledger, make_trial):
    said = "a pack must start within 1800 s"
    with pytest.raises(SweepError, match=said):
        callback.on_trial_error(0, [], make_trial(RayTaskError("train", said, SweepError(said))))
    assert ledger.records["0002"].state == "running"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RayActorError(error_msg="killed by signal 9\nand more"), "RayActorError.*killed by signal 9"),
        (None, "was lost$"),
    ],
)
def test_callback_lets_a_trial_whose_process_was_lost_wait_for_another(
    callback, ledger, waiting, error, cause, make_trial
):
    callback.on_trial_error(0, [], make_trial(error))
    record = ledger.records["0002"]
    assert waiting == [SPEC]
    assert record.state == "running"
    assert record.error.startswith("the trial's process was lost")
    assert re.search(cause, record.error)
    assert "\n" not in record.error


def test_callback_does_not_try_a_trial_again_that_ran_out_of_memory(callback, ledger, waiting, make_trial):
    callback.on_trial_error(0, [], make_trial(OutOfMemoryError("2 GiB over the limit")))
    assert (ledger.records["0002"].state, waiting) == ("failed", [])
    assert "2 GiB over the limit" in ledger.records["0002"].error


def test_callback_is_stored_by_ray_without_the_ledger(callback):
    assert vars(pickle.loads(pickle.dumps(callback))) == {}


@pytest.mark.parametrize(
    ("dead", "said"),
    [(["raylet"], "its raylet died"), (["gcs_server", "raylet"], "its gcs_server and raylet died")],
)
def test_callback_ends_the_sweep_where_ray_itself_has_died(callback, monkeypatch, dead, said):
    node = SimpleNamespace(dead_processes=lambda: [(kind, None) for kind in dead])
    monkeypatch.setattr(ray_callbacks.ray._private.worker, "_global_node", node)
    with pytest.raises(SweepError, match=f"{said}; nothing is lost: .* --resume"):
        callback.on_step_end(0, [])


@pytest.mark.parametrize("dead", [[], ["log_monitor"]])
def test_callback_goes_on_while_ray_lives(callback, monkeypatch, dead):
    node = SimpleNamespace(dead_processes=lambda: [(kind, None) for kind in dead])
    monkeypatch.setattr(ray_callbacks.ray._private.worker, "_global_node", node)
    callback.on_step_end(0, [])
    monkeypatch.setattr(ray_callbacks.ray._private.worker, "_global_node", None)
    callback.on_step_end(0, [])


@pytest.mark.parametrize(
    ("message", "with_node"),
    [
        ("The actor died because its node has died. Node Id: 12", True),
        ("the actor's node was terminated unexpectedly: health check failed", True),
        ("Worker exit type: SYSTEM_ERROR", False),
    ],
)
def test_callback_tells_the_loss_of_a_node_from_that_of_a_process(message, with_node):
    error = ActorDiedError()
    error.error_msg = message
    assert ray_callbacks.went_with_node(error) is with_node


def test_callback_takes_a_process_that_nobody_reaches_for_lost_with_its_node():
    assert ray_callbacks.went_with_node(
        ActorUnavailableError("RPC error: recvmsg:Connection reset by peer", None)
    )


def test_callback_finds_the_error_where_ray_has_just_written_it(callback, ledger, waiting, make_trial):
    callback.on_trial_error(0, [], make_trial(NodeDiedError("node 12 died")))
    assert waiting == [SPEC]
    assert ledger.records["0002"].num_lost == 0
    assert "node 12 died" in ledger.records["0002"].error


def test_callback_lets_nobody_look_for_the_pickle_in_the_sweeps_storage(callback, make_trial):
    trial = make_trial(NodeDiedError("node 12 died"))
    callback.on_trial_error(0, [], trial)
    assert trial.run_metadata.pickled_error_filename is None


class Opened:
    """Its pickle runs code."""

    def __reduce__(self):
        return pytest.fail, ("the pickle was read",)


def test_callback_of_an_error_that_everybody_may_write_takes_the_text(
    callback, ledger, waiting, make_trial, tmp_path
):
    trial = make_trial(Opened())
    (tmp_path / "error.pkl").chmod(0o666)
    (tmp_path / "error.txt").write_text("killed by signal 9\n")
    callback.on_trial_error(0, [], trial)
    assert waiting == [SPEC]
    assert "killed by signal 9" in ledger.records["0002"].error
