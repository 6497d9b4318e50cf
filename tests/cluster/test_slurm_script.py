"""The batch script for Slurm, run by a real shell and a real Ray; srun and scontrol stand in for Slurm's."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.description import SlurmCluster
from cluster.slurm import batch_script
from cluster.sweep_line import SweepLine

pytestmark = [pytest.mark.slow, pytest.mark.ray]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600
PROGRAMS = {
    "srun": '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n',
    "scontrol": "#!/bin/bash\necho here\n",
}
SETTINGS = (
    *("search.num_trials=3", "reevaluation.num_seeds=2", "reevaluation.top_k=1"),
    *("train.pretrain_epochs=1", "train.max_epochs=3", "data.builtin.instances_per_relation=20"),
)


@pytest.fixture
def job(tmp_path):
    """Return a function that starts the job as Slurm would, and ends what is left of it afterwards."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    project = tmp_path / "project"
    project.mkdir()
    (project / ".venv").symlink_to(sys.prefix)
    shared = tmp_path / "shared"
    shared.mkdir()
    description = SlurmCluster(
        name="job",
        kind="slurm",
        nodes=1,
        cpus_per_node=1,
        time_limit="1:00:00",
        project=str(project),
        shared=str(shared),
    )
    config = shared / "quickstart.yaml"
    text = (ROOT / "configs" / "tune" / "quickstart.yaml").read_text()
    config.write_text(text.replace("../rocore/", f"{ROOT}/configs/rocore/"))
    script = tmp_path / "job.sbatch"
    script.write_text(batch_script(description, SweepLine(config, str(shared / "sweep"), SETTINGS)))
    started = []

    def start():
        log = tmp_path / f"log{len(started)}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            number = free.getsockname()[1] % 10000
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SLURM_JOB_ID": str(40000 + number),
            "SLURM_JOB_NODELIST": "here",
        }
        with log.open("w") as file:
            process = subprocess.Popen(
                ["bash", str(script)], stdout=file, stderr=file, env=environment, start_new_session=True
            )
        started.append(process)
        return process, log, shared / "sweep"

    yield start
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_for(condition, process, log):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def test_job_told_that_its_time_is_up_stops_cleanly_and_goes_on_when_submitted_again(job):
    process, log, out = job()
    journal = out / "journal.jsonl"
    wait_for(lambda: journal.exists() and '"report"' in journal.read_text(), process, log)
    process.terminate()
    assert process.wait(PATIENCE_S) == 130
    assert "stopped; go on with: rocore sweep --resume" in log.read_text()
    process, log, _ = job()
    assert process.wait(PATIENCE_S) == 0, log.read_text()
    results = json.loads((out / "results.json").read_text())
    assert results["status"] == "complete"
    assert len(results["search"]["trials"]) == 3
    assert list(out.parent.glob(".ray-*")) == []  # tokens go with their job
