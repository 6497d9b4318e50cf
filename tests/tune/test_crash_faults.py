"""What befalls a sweep besides kills: a full disk, a torn checkpoint, a lost trial process, Ctrl-C, an empty search."""

import signal

import pytest

from rocore.errors import ConfigError
from tune.journal import Journal

from .crashes import Driver, check_nothing_lost_nothing_twice, read_results

pytestmark = pytest.mark.ray


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out.faults").mkdir()
    return tmp_path / "out"


def test_sweep_goes_on_after_a_full_disk_with_a_torn_checkpoint_and_after_ctrl_c(sweep_file, out):
    faults = out.with_name("out.faults")
    (faults / "lose-once").touch()
    always = {"checkpoint_share": 1}
    driver = Driver(out, "run", sweep_file(resources={"max_concurrent_trials": 1}, trial=always))
    assert driver.wait_for_events(16)
    (faults / "disk-full").touch()
    assert driver.wait() == 1
    assert not (faults / "lose-once").exists()
    said = driver.log.read_text()
    assert "No space left on device" in said
    assert f"rocore sweep --resume {out}" in said

    # Space is there again, but what was written last is torn.
    (faults / "disk-full").unlink()
    for newest in (
        max(folder.glob("checkpoint_*"), default=None) for folder in (out / "ray/search").glob("0*")
    ):
        if newest is not None:
            (newest / "scores.json").write_text("[0.1, 0.")
    driver = Driver(out, "resume")
    assert driver.wait_for_events(12)
    with pytest.raises(ConfigError, match="another one is running"):
        Journal(out / "journal.jsonl")
    driver.process.send_signal(signal.SIGINT)
    assert driver.wait() == 130
    assert f"go on with: rocore sweep --resume {out}" in driver.log.read_text()
    assert read_results(out)["status"] == "interrupted"
    assert (out / "report.html").exists()

    assert Driver(out, "resume").wait() == 0
    check_nothing_lost_nothing_twice(out, 6)
    assert Driver(out, "extend", 2).wait() == 0
    check_nothing_lost_nothing_twice(out, 8)
