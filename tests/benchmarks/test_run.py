import json
import subprocess
import sys
from pathlib import Path

import pytest

from rocore.encoder import native

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_writes_every_figure(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "plain/ours" in done.stdout
    found = json.loads((tmp_path / "latest.json").read_text(encoding="utf-8"))
    for figures in (found["joint_step_ratio"], found["joint_epoch_ratio"], found["encoders"]):
        assert figures.keys() == {"minilm", "bert_base"}
    assert all(value > 0 for value in found["joint_epoch_ratio"].values())
    assert found["peak_fraction"].keys() == {"trunk", "joint_step"}
    single = (*found["peak_fraction"].values(), found["overhead_fraction"], found["trial_peak_mib"])
    assert all(value > 0 for value in (*single, *found["trials_per_hour"].values()))
    assert set(found["trials_per_hour"]) == {f"pack_{size}" for size in (1, 4, 8, 16)}
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        f"growth_{axis}" for axis in ("instances", "sentence_length", "output_layer", "relations")
    }


@pytest.mark.slow
def test_quick_profile_names_what_a_step_calls():
    command = [sys.executable, "-m", "benchmarks.step_profile", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    head, columns, *rows = done.stdout.splitlines()
    assert head.startswith("minilm, ")
    assert columns.split()[0] == "operator"
    assert any(row.startswith("aten::mm ") for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(native.library() is None, reason="no compiler")
def test_quick_comparison_with_compiled_products_prints_two_ratios():
    command = [sys.executable, "-m", "benchmarks.compiled", "--quick", "--pairs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    head, steps, rest = done.stdout.splitlines()
    assert head.startswith("minilm, ")
    assert steps.startswith("joint step: plain ")
    assert rest.startswith("the rest of an epoch: plain ")


@pytest.mark.slow
def test_quick_run_of_the_token_products_counts_kernels():
    command = [sys.executable, "-m", "benchmarks.token_products", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    kernels, ratio, exact, rounded = done.stdout.splitlines()
    assert "ms to compile one" in kernels
    assert "times as fast as fp32" in ratio
    shapes = [int(line.split("epochs, ")[1].split()[0]) for line in (exact, rounded)]
    assert shapes[0] > shapes[1] > 0


@pytest.mark.slow
def test_quick_run_of_the_control_loop_writes_every_figure(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scale", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "| trials | searcher |" in done.stdout
    (sweep,) = json.loads((tmp_path / "scale.json").read_text(encoding="utf-8"))["sweeps"]
    assert sweep["num_trials"] == 8
    assert sweep["reports"] >= 8
    assert sweep["samples"]
    assert all(seconds >= 0 for seconds in sweep["rebuild"].values())
    assert (tmp_path / "scale.png").is_file()


@pytest.mark.slow
def test_gpu_benchmark_runs_on_the_cpu():
    sizes = ["--sentences", "300", "--layers", "2", "--hidden", "64", "--packs", "1", "2"]
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", *sizes]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found["sentences"] == 300
    assert set(found["packs"]) == {"1", "2"}
    for figures in found["packs"].values():
        assert all(figures[name] > 0 for name in ("pretrain_epoch_s", "joint_epoch_s", "trials_per_hour"))
        assert {"features", "pseudo_labels"} <= figures["joint_parts_s"].keys()
