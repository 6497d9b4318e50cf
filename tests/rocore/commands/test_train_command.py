"""`rocore train`: what it says, what it refuses, and that a killed run goes on."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from transformers import BertConfig, BertModel

from rocore.config import BuiltinConfig, load_config
from rocore.data.builtin import generate
from rocore.encoder import cache
from tests.conftest import SECRET

from ..encoder.damage import FAULTS
from ..tiny import save_encoder
from .conftest import write_relations

MODES = pytest.mark.parametrize("mode", ["standard", "incremental"])


@pytest.fixture
def config(write_config, tmp_path):
    return write_config(tmp_path / "tiny.yaml")


def test_train_says_what_it_found_and_where(config, run, tmp_path):
    result = run("train", config, "--out", tmp_path / "run", "--set", "train.max_epochs=1")
    assert result.exit_code == 0
    assert "2 epochs, stopped: max_epochs; " + str(tmp_path / "run") in result.stdout
    assert "novel_test: b3_precision 0." in result.stdout
    assert "built-in synthetic corpus; its figures say nothing about real text" in result.stderr
    assert "40 labeled instances of 4 known relations, 21 unlabeled for 3 novel relations" in result.stderr
    assert re.search(r"; cpu, (fp32|bf16), attention by (C|tensors)\n", result.stderr)
    assert "epoch   1 pretrain" in result.stderr
    assert "epoch   2 joint" in result.stderr


def test_train_without_out_names_the_folder_by_configuration_and_seed(config, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("train", config, "--set", "seed=5", "--set", "train.max_epochs=1")
    assert result.exit_code == 0
    written = load_config(tmp_path / "runs" / "tiny-seed5" / "config.yaml")
    assert (written.seed, written.train.max_epochs) == (5, 1)


@MODES
def test_train_from_a_written_configuration_finds_the_same(mode, trained, run, tmp_path):
    result = run("train", trained[mode] / "config.yaml", "--out", tmp_path / "again")
    assert result.exit_code == 0
    assert found_in(tmp_path / "again") == found_in(trained[mode])


def test_train_in_a_used_folder_is_refused(trained, run):
    result = run("train", trained["standard"] / "config.yaml", "--out", trained["standard"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the run directory must be new, but ")
    assert "add --resume to go on with it, or name another with --out" in result.stderr


def test_train_in_a_folder_with_other_files_is_refused(config, run, tmp_path):
    result = run("train", config, "--out", tmp_path)
    assert result.exit_code == 2
    assert "must be new or empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_train_resumed_with_another_configuration_is_refused(trained, run):
    folder = trained["standard"]
    result = run("train", folder / "config.yaml", "--out", folder, "--resume", "--set", "loss.pair_margin=1")
    assert result.exit_code == 2
    assert "a run must be resumed with its own configuration" in result.stderr


def test_train_resumed_on_other_threads_goes_on(trained, run):
    folder = trained["standard"]
    before = found_in(folder)
    arguments = ["--out", folder, "--resume", "--set", "train.num_threads=null"]
    result = run("train", folder / "config.yaml", *arguments)
    assert result.exit_code == 0
    assert "resumed after epoch 3" in result.stderr
    assert found_in(folder) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.centre_weight=1", "did you mean `loss.center_weight`?"),
        ("train.learning_rate=-1", "`train.learning_rate`: input should be greater than 0, but got -1"),
        ("encoder.output_layer=9", "`encoder.output_layer` must lie in 1..6 for minilm, but got 9"),
        ("encoder.name=./nowhere", "encoder folder must exist, but nowhere doesn't"),
        ("data.builtin.num_known_relations=2.5", "`data.builtin.num_known_relations`: "),
        ("data.num_novel_relations=100", "there must be at least as many novel instances as novel relations"),
        ("train.device=tpu", "`train.device` must be auto, cpu, cuda or cuda:N, but got 'tpu'"),
    ],
)
def test_train_with_a_wrong_value_says_which(override, message, config, run, tmp_path):
    result = run("train", config, "--out", tmp_path / "run", "--set", override)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_train_of_an_absent_configuration_says_so(run, tmp_path):
    result = run("train", tmp_path / "absent.yaml")
    assert result.exit_code == 2
    assert "the configuration file must exist, but " in result.stderr


def test_train_that_diverges_ends_with_exit_code_3_and_can_go_on(config, run, tmp_path):
    arguments = ["train", config, "--out", tmp_path / "run", "--set", "train.learning_rate=1e30"]
    result = run(*arguments)
    assert result.exit_code == 3
    assert "error: every loss must be finite, but " in result.stderr
    assert "lower `train.learning_rate`" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert run(*arguments, "--resume").exit_code == 3


def found_in(folder):
    """metrics.json without timing, and predictions."""
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["timing"]
    return metrics, (folder / "predictions.jsonl").read_text()


@pytest.fixture(scope="module")
def longer(write_config, tmp_path_factory):
    """A configuration of ten epochs."""
    long = {"pretrain_epochs": 2, "max_epochs": 8, "batch_size": 8, "device": "cpu", "num_threads": 1}
    path = tmp_path_factory.mktemp("longer") / "longer.yaml"
    return write_config(path, incremental={"enabled": True}, train=long)


@pytest.fixture(scope="module")
def uninterrupted(longer, run):
    folder = longer.parent / "uninterrupted"
    assert run("train", longer, "--out", folder).exit_code == 0
    return folder


KILLS = {"after-pretraining": 2, "in-joint-phase": 5}
"""After how many epochs the process is killed."""


@pytest.fixture(scope="module")
def killed(longer):
    """Run directories of processes that were killed, by place; the processes run at the same time."""
    folders = {place: longer.parent / place for place in KILLS}
    command = [sys.executable, "-m", "rocore", "train", str(longer), "--out"]
    running = {
        place: subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for place, folder in folders.items()
    }
    deadline = time.monotonic() + 180
    while running and time.monotonic() < deadline:
        for place, process in list(running.items()):
            if process.poll() is not None or count_epochs(folders[place]) >= KILLS[place]:
                process.send_signal(signal.SIGKILL)
                assert process.wait(60) == -signal.SIGKILL
                del running[place]
        time.sleep(0.005)
    for process in running.values():
        process.kill()
    assert not running
    return folders


def count_epochs(folder):
    path = folder / "epochs.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.parametrize("place", KILLS)
def test_train_killed_and_resumed_finds_what_an_uninterrupted_run_finds(
    place, killed, longer, uninterrupted, run
):
    folder = killed[place]
    assert KILLS[place] <= count_epochs(folder) < 10
    assert not (folder / "metrics.json").exists()
    result = run("train", longer, "--out", folder, "--resume")
    assert result.exit_code == 0, result.output
    assert "resumed after epoch " in result.stderr
    assert found_in(folder) == found_in(uninterrupted)
    rows = [json.loads(line)["epoch"] for line in (folder / "epochs.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 11))


def test_train_writes_out_what_cannot_be_seen_in_a_warning(run, write_config, tmp_path):
    pools = generate(BuiltinConfig(num_known_relations=4, num_novel_relations=3, instances_per_relation=8))
    twice = replace(pools[1][0], relation=pools[0][0].relation)
    write_relations(tmp_path / "a\u202e.jsonl", [*pools[0], twice])
    write_relations(tmp_path / "novel.jsonl", pools[1])
    data = {"format": "jsonl", "root": str(tmp_path), "known": "a\u202e.jsonl", "novel": "novel.jsonl"}
    config = write_config(tmp_path / "c.yaml", data=data, train={"pretrain_epochs": 0, "max_epochs": 1})
    result = run("train", config, "--out", tmp_path / "run")
    assert r"(same text and spans): a\u202e.jsonl line 33 = novel.jsonl line 1" in result.stderr


@pytest.fixture
def stored(bucket, run, minilm, tmp_path):
    """Keys that name data, encoder and the trunk cache's store by their URLs on an S3 server."""
    BertModel(
        BertConfig(
            vocab_size=len(minilm.tokenizer),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
        )
    ).save_pretrained(tmp_path / "encoder")
    minilm.tokenizer.save_pretrained(tmp_path / "encoder")
    (tmp_path / "data").mkdir()
    pools = generate(BuiltinConfig(num_known_relations=4, num_novel_relations=3, instances_per_relation=10))
    for name, instances in zip(("known", "novel"), pools, strict=True):
        write_relations(tmp_path / "data" / f"{name}.jsonl", instances)
    for name in ("data", "encoder"):
        assert run("data", "push", tmp_path / name, f"{bucket}/{name}").exit_code == 0
    return {
        "data": {"format": "jsonl", "root": f"{bucket}/data", "known": "known.jsonl", "novel": "novel.jsonl"},
        "encoder": {"name": f"{bucket}/encoder"},
        "cache": {"store": f"{bucket}/trunks"},
    }


def test_train_with_everything_on_an_object_store_finds_the_same_on_a_machine_that_has_nothing(
    stored, run, write_config, tmp_path, monkeypatch
):
    passes, real = [], cache.run_trunk
    monkeypatch.setattr(cache, "run_trunk", lambda *a, **k: (passes.append(1), real(*a, **k)))
    for machine in ("first", "second"):
        monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / machine))
        stored["cache"]["root"] = str(tmp_path / machine)
        config = write_config(tmp_path / f"{machine}.yaml", **stored)
        result = run("train", config, "--out", tmp_path / f"run-{machine}")
        assert result.exit_code == 0, result.stderr
    assert len(passes) == 2  # of the first machine, over known and novel sentences
    assert found_in(tmp_path / "run-first") == found_in(tmp_path / "run-second")
    assert SECRET not in "".join(path.read_text() for path in (tmp_path / "run-first").glob("*.*"))


@pytest.mark.parametrize("fault", ["prefix", "weights cut", "nan", "no tokenizer"])
def test_train_with_an_encoder_that_is_not_whole_begins_nothing(config, run, tmp_path, fault):
    model_type, damage, match = FAULTS[fault]
    damage(save_encoder(tmp_path / "encoder", model_type))
    keys = {"encoder.name": tmp_path / "encoder", "encoder.output_layer": 2, "cache.root": tmp_path / "cache"}
    overrides = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    result = run("train", config, "--out", tmp_path / "run", *overrides)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert re.search(match, result.stderr)
    assert not (tmp_path / "cache").exists()
    assert {path.name for path in (tmp_path / "run").rglob("*")} <= {"config.yaml"}


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_use_of_a_run_whose_encoder_is_not_whole_any_more_is_refused(
    command, config, run, tmp_path, write_sentences
):
    save_encoder(tmp_path / "encoder", "electra")
    keys = {"encoder.name": tmp_path / "encoder", "encoder.output_layer": 2, "train.max_epochs": 1}
    overrides = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    assert run("train", config, "--out", tmp_path / "run", *overrides).exit_code == 0
    _, damage, match = FAULTS["part absent"]
    damage(tmp_path / "encoder")
    pool, _ = generate(BuiltinConfig(num_known_relations=2, num_novel_relations=2, instances_per_relation=8))
    sentences = write_sentences(tmp_path / "new.jsonl", pool)
    result = run(command, tmp_path / "run", *([sentences] if command == "predict" else []))
    assert result.exit_code == 2
    assert re.search(match, result.stderr)
