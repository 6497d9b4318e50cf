import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_writes_every_figure(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "plain/ours" in done.stdout
    found = json.loads((tmp_path / "latest.json").read_text(encoding="utf-8"))
    encoders = {"minilm", "bert_base"}
    for figures in (
        found["joint_step_ratio"],
        found["joint_epoch_ratio"],
        found["peak_fraction"]["trunk"],
        found["peak_fraction"]["joint_step"],
        found["overhead_fraction"],
        found["trial_peak_mib"],
    ):
        assert figures.keys() == encoders
        assert all(value > 0 for value in figures.values())
    assert set(found["trials_per_hour"]) == {f"pack_{size}" for size in (1, 4, 8, 16)}
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        f"growth_{axis}" for axis in ("instances", "sentence_length", "output_layer", "relations")
    }
