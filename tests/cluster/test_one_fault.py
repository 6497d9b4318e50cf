"""The short form of `make cluster-test`, for every run of the tests: one fault on several hosts."""

import signal

import pytest

from .faulted import FaultedSweep
from .hosts import Lab, missing

REASON = missing()
pytestmark = [pytest.mark.ray, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


def test_small_sweep_goes_on_elsewhere_after_a_node_is_killed(tmp_path):
    with Lab() as lab:
        lab.start_ray()
        sweep = FaultedSweep(lab, tmp_path, num_trials=3, epoch_s=0.1).start()
        assert sweep.busy(num_reports=2).signal(signal.SIGKILL)
        sweep.recover_lost()
        sweep.check()
