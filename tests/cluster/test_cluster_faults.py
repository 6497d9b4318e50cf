"""Faults on several hosts while a sweep runs: it ends, by itself or after one resume, with every trial done once."""

import signal
import time
from types import SimpleNamespace

import pytest

from tests.conftest import CREDENTIALS
from tests.tune.crashes import read_results, without_times

from .faulted import FaultedSweep, fill
from .hosts import Lab, ObjectStore, missing, wait_until

AWAY_S = 60
REASON = missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with Lab() as lab:
        lab.start_ray()
        sweep = FaultedSweep(lab, tmp_path_factory.mktemp("quiet"), max_concurrent_trials=1).start()
        sweep.check()
        return SimpleNamespace(results=without_times(read_results(sweep.out)), num_epochs=sweep.num_epochs())


@pytest.fixture
def lab():
    with Lab() as lab:
        lab.start_ray()
        yield lab


@pytest.fixture
def sweep(lab, tmp_path):
    return FaultedSweep(lab, tmp_path, max_concurrent_trials=1).start()


def test_sweep_goes_on_elsewhere_after_a_raylet_is_killed(sweep, undisturbed):
    # Its trial's process lives on for the few seconds that it takes to notice.
    assert sweep.busy().signal(signal.SIGKILL, "/raylet/raylet ")
    sweep.recover_lost()
    sweep.check("raylet killed", undisturbed)


def test_sweep_goes_on_elsewhere_after_a_node_is_killed(sweep, undisturbed):
    assert sweep.busy().signal(signal.SIGKILL)
    sweep.recover_lost()
    sweep.check("node killed", undisturbed)


def test_sweep_waits_while_a_link_is_cut_shortly(sweep, undisturbed):
    worker = sweep.busy()
    worker.cut()
    time.sleep(2)
    worker.mend()
    sweep.recover()
    sweep.check("link cut for 2 s", undisturbed)


def test_sweep_goes_on_elsewhere_while_a_link_is_cut_and_ignores_the_old_process(sweep, undisturbed):
    worker = sweep.busy()
    worker.cut()
    sweep.recover_lost()
    worker.mend()
    sweep.check("link cut until its trial went on elsewhere", undisturbed)


def test_sweep_goes_on_elsewhere_while_a_node_is_paused(sweep, undisturbed):
    worker = sweep.busy()
    assert worker.signal(signal.SIGSTOP)
    sweep.recover_lost()
    worker.signal(signal.SIGCONT)
    sweep.check("node paused until its trial went on elsewhere", undisturbed)


def test_sweep_stops_when_a_trial_finds_the_disk_of_its_node_full_and_goes_on_after_a_resume(
    sweep, lab, undisturbed
):
    worker = sweep.busy()
    disk = worker.seen(lab.disk)
    fill(disk)
    assert sweep.wait() == 1
    said = sweep.beside("log").read_text()
    assert "No space left on device" in said
    assert worker.address in said
    (disk / "ballast").unlink()
    sweep.resume()
    sweep.check("disk of a node full", undisturbed)


def test_sweep_stops_on_a_full_shared_disk_and_goes_on_after_a_resume(undisturbed):
    with Lab(shared_mib=64) as lab:
        lab.start_ray()
        sweep = FaultedSweep(lab, lab.shared, max_concurrent_trials=1).start()
        sweep.busy()
        shared = lab.switch.seen(lab.shared)
        fill(shared)
        assert sweep.wait() == 1
        (shared / "ballast").unlink()
        sweep.resume()
        sweep.check("disk of the sweep directory full", undisturbed)


def test_sweep_goes_on_after_its_driver_is_killed(sweep, undisturbed):
    sweep.busy()
    sweep.kill()
    sweep.resume()
    sweep.check("driver killed", undisturbed)


def test_sweep_ends_when_the_heads_control_process_is_killed_and_goes_on_on_a_new_one(
    sweep, lab, undisturbed
):
    sweep.busy()
    assert lab.head.signal(signal.SIGKILL, "gcs_server")
    assert sweep.wait() != 0
    for host in (lab.head, *lab.workers):
        host.signal(signal.SIGKILL)
    lab.start_ray()
    sweep.resume()
    sweep.check("control process of the head killed, all started again", undisturbed)


def test_sweep_goes_on_on_a_head_that_was_killed_with_all_that_ran_on_it(sweep, lab, undisturbed):
    sweep.busy()
    # The sweep's own process is one of them.
    assert lab.head.signal(signal.SIGKILL)
    assert sweep.wait() != 0
    # Workers end by themselves: they don't wait for a head for ever.
    wait_until(
        lambda: not any(worker.processes("/raylet/raylet ") for worker in lab.workers), "workers ended"
    )
    lab.start_ray()
    sweep.resume()
    sweep.check("head machine killed and started again", undisturbed)


def test_sweep_waits_while_its_object_store_is_away(undisturbed, tmp_path, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "cache"))
    with Lab() as lab, ObjectStore(lab) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        url = f"{store.make_bucket('lab')}/sweeps/a"
        lab.start_ray()
        sweep = FaultedSweep(lab, tmp_path, url=url, max_concurrent_trials=1).start()
        sweep.busy()
        store.host.cut()
        sweep.hold.unlink()
        time.sleep(AWAY_S)
        assert not sweep.ended()
        store.host.mend()
        sweep.recover()
        assert sweep.events("lose") == []
        sweep.check("object store away for a minute", undisturbed)


def test_parallel_sweep_goes_on_after_a_raylet_is_killed(lab, tmp_path):
    sweep = FaultedSweep(lab, tmp_path).start()
    assert sweep.busy().signal(signal.SIGKILL, "/raylet/raylet ")
    sweep.recover_lost()
    sweep.check("raylet killed, two trials at once")


def test_number_of_concurrent_trials_follows_a_cluster_that_grows(tmp_path):
    with Lab(num_workers=1) as lab:
        lab.start_ray()
        sweep = FaultedSweep(lab, tmp_path).start()
        sweep.busy()
        late = lab.add(2)
        late.start_ray(lab.head)
        wait_until(lambda: sweep.holds(late) or sweep.ended(), "a trial on the late node")
        sweep.recover()
        sweep.check("node joins")
