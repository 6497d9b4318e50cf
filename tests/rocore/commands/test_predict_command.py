"""`rocore predict`: clusters or known relations of new sentences."""

import json
import shutil

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.config import BuiltinConfig
from rocore.data import read_jsonl
from rocore.data.builtin import generate

from .conftest import write_relations

BUILTIN = {"num_known_relations": 4, "num_novel_relations": 3}


@pytest.fixture(scope="module")
def pools():
    """Known and novel instances of the runs."""
    return generate(BuiltinConfig(instances_per_relation=10, **BUILTIN))


def predictions(text):
    return [json.loads(line) for line in text.splitlines()]


def test_predict_of_the_runs_own_novel_test_sentences_repeats_its_predictions(
    trained, pools, run, write_sentences, tmp_path
):
    written = predictions((trained["standard"] / "predictions.jsonl").read_text())
    own = write_sentences(tmp_path / "own.jsonl", [pools[1][row["index"]] for row in written])
    result = run("predict", trained["standard"], own)
    assert result.exit_code == 0
    found = predictions(result.stdout)
    assert [row["cluster"] for row in found] == [row["cluster"] for row in written]
    assert [row["probability"] for row in found] == pytest.approx(
        [row["probability"] for row in written], abs=1e-4
    )


@pytest.mark.parametrize("mode", ["standard", "incremental"])
def test_predict_of_new_sentences_gives_each_a_line(mode, trained, run, write_sentences, tmp_path):
    known, novel = generate(BuiltinConfig(instances_per_relation=8, seed=9, **BUILTIN))
    new = write_sentences(tmp_path / "new.jsonl", known + novel)
    result = run("predict", trained[mode], new, "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 0
    assert result.stdout == f"56 predictions in {tmp_path / 'out.jsonl'}\n"
    found = predictions((tmp_path / "out.jsonl").read_text())
    assert [row["index"] for row in found] == list(range(56))
    names = json.loads((trained[mode] / "run.json").read_text())["known_relations"]
    assert all((row["cluster"] is None) != (row["relation"] is None) for row in found)
    assert {row["cluster"] for row in found} <= {None, 0, 1, 2}
    assert {row["relation"] for row in found} <= ({None} if mode == "standard" else {None, *names})
    classes = 3 if mode == "standard" else 7
    assert all(1 / classes <= row["probability"] <= 1 for row in found)


def test_predict_of_an_incremental_run_names_known_relations_and_clusters(
    pools, run, write_config, write_sentences, tmp_path
):
    faster = {"max_epochs": 6, "batch_size": 8, "learning_rate": 5e-4}
    config = write_config(tmp_path / "c.yaml", incremental={"enabled": True}, train=faster)
    assert run("train", config, "--out", tmp_path / "run").exit_code == 0
    own = write_sentences(tmp_path / "own.jsonl", [*pools[0], *pools[1]])
    found = predictions(run("predict", tmp_path / "run", own).stdout)
    known = [instance.relation for instance in pools[0]]
    right = [row["relation"] == relation for row, relation in zip(found[:40], known, strict=True)]
    assert sum(right) > 30
    clusters = [row["cluster"] is not None for row in found]
    assert sum(clusters[40:]) / 30 > sum(clusters[:40]) / 40


def test_predict_reads_no_relation(trained, run, tmp_path):
    row = {"tokens": ["Curie", "met", "Marconi"], "head": [0, 1], "tail": [2, 3]}
    lines = [json.dumps({**row, "relation": relation}) for relation in ("x", None, "")]
    (tmp_path / "three.jsonl").write_text("\n".join(lines))
    result = run("predict", trained["standard"], tmp_path / "three.jsonl")
    assert result.exit_code == 0
    found = [(row["cluster"], row["probability"]) for row in predictions(result.stdout)]
    assert len(found) == 3
    assert len({cluster for cluster, _ in found}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data file must hold instances, but "),
        ('{"tokens": ["a"], "head": [0, 1], "tail": [4, 5]}', "bad.jsonl line 1"),
        ("{", "bad.jsonl line 1"),
    ],
)
def test_predict_of_a_broken_file_names_the_line_and_writes_nothing(text, message, trained, run, tmp_path):
    (tmp_path / "bad.jsonl").write_text(text)
    result = run("predict", trained["standard"], tmp_path / "bad.jsonl", "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("absent", [None, "run.json", "checkpoints"])
def test_predict_with_a_folder_that_is_no_whole_run_says_so(
    absent, trained, pools, run, write_sentences, tmp_path
):
    folder = tmp_path / "run"
    folder.mkdir()
    if absent is not None:
        ignored = shutil.ignore_patterns(absent)
        shutil.copytree(trained["standard"], folder, ignore=ignored, dirs_exist_ok=True)
    sentences = write_sentences(tmp_path / "some.jsonl", pools[1][:2])
    result = run("predict", folder, sentences)
    expected = {
        None: "a run directory must hold config.yaml, but ",
        "run.json": "run.json must be readable, but ",
        "checkpoints": "must hold a whole checkpoint, but holds none; train it with `rocore train`",
    }
    assert result.exit_code == 2
    assert expected[absent] in result.stderr


def test_predict_of_a_run_without_gold_gives_clusters(run, pools, write_config, write_sentences, tmp_path):
    novel = write_sentences(tmp_path / "novel.jsonl", pools[1])
    write_relations(tmp_path / "known.jsonl", pools[0])
    assert len(read_jsonl(novel)) == 30
    data = {"format": "jsonl", "root": str(tmp_path), "known": "known.jsonl", "novel": "novel.jsonl"}
    config = write_config(tmp_path / "c.yaml", data={**data, "num_novel_relations": 3})
    result = run("train", config, "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert "no gold relations in the novel file: clusters are in predictions.jsonl" in result.stdout
    assert "synthetic" not in result.output
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["gold"] is False
    written = predictions((tmp_path / "run" / "predictions.jsonl").read_text())
    found = predictions(run("predict", tmp_path / "run", novel).stdout)
    assert [found[row["index"]]["cluster"] for row in written] == [row["cluster"] for row in written]


def test_predict_of_a_sentence_beyond_the_runs_limit_names_it(trained, run, tmp_path):
    sentence = {"text": "x" * 20_001, "head": [0, 1], "tail": [1, 2]}
    (tmp_path / "long.jsonl").write_text(json.dumps(sentence) + "\n")
    result = run("predict", trained["standard"], tmp_path / "long.jsonl")
    assert result.exit_code == 2
    assert "long.jsonl line 1: a sentence must have at most 20000 characters, but has 20001" in result.stderr


def test_predict_of_entities_without_pieces_names_their_lines_and_writes_nothing(trained, run, tmp_path):
    good, bad = ({"text": f"{word} met Bo", "head": [0, 1], "tail": [6, 8]} for word in ("A", "\u200b"))
    texts = [json.dumps(row) for row in (good, bad, good, bad)]
    (tmp_path / "new.jsonl").write_text("\n\n".join(texts))
    result = run("predict", trained["standard"], tmp_path / "new.jsonl")
    assert result.exit_code == 2
    assert result.stdout == ""
    places = [line.removeprefix("error: ").partition(":")[0] for line in result.stderr.splitlines()]
    assert places == ["new.jsonl line 3", "new.jsonl line 7"]


@pytest.mark.parametrize("charset", ["ascii", "utf-8"])
def test_predict_in_any_locale_prints_json_with_the_relations_names(
    charset, trained, pools, write_sentences, tmp_path
):
    folder = shutil.copytree(trained["incremental"], tmp_path / "run")
    described = json.loads((folder / "run.json").read_text())
    described["known_relations"] = [f"né 出 {n}" for n in range(len(described["known_relations"]))]
    (folder / "run.json").write_text(json.dumps(described))
    own = write_sentences(tmp_path / "own.jsonl", [*pools[0], *pools[1]])
    result = CliRunner(charset=charset).invoke(main, ["predict", str(folder), str(own)])
    assert result.exit_code == 0, result.output
    named = {row["relation"] for row in predictions(result.stdout)} - {None}
    assert named
    assert named <= set(described["known_relations"])


def test_predict_with_a_raised_limit_takes_a_longer_sentence(trained, run, tmp_path):
    sentence = {"text": "Ada met Bob " + "x" * 20_001, "head": [0, 3], "tail": [8, 11]}
    (tmp_path / "long.jsonl").write_text(json.dumps(sentence) + "\n")
    arguments = ["predict", trained["standard"], tmp_path / "long.jsonl"]
    assert run(*arguments).exit_code == 2
    assert run(*arguments, "--set", "data.max_sentence_characters=30000").exit_code == 0
