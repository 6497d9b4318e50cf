import json

import pytest


@pytest.fixture(scope="module")
def config(write_config, tmp_path_factory):
    return write_config(
        tmp_path_factory.mktemp("probe") / "c.yaml", encoder={"name": "minilm", "output_layer": 9}
    )


@pytest.fixture(scope="module")
def probed(run, config):
    """What `rocore probe` says of the built-in corpus, and its file."""
    file = config.parent / "probe.json"
    result = run("probe", config, "--layers", "4,2", "--instances", 10, "--seeds", 2, "--json", file)
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads(file.read_text())


def test_probe_shows_every_representation_and_the_key_to_set(probed):
    text, tree = probed
    for words in (
        "minilm, untrained: linear probe on 4 known relations",
        "max, max, first token",
        "max, max, between",
        "2 hold-outs of a fifth of 10 instances a relation; fp32",
        f"--set encoder.output_layer={tree['set']['encoder.output_layer']}",
        "There is no key for another pooling",
        "These sentences are synthetic",
    ):
        assert words in " ".join(text.split())
    assert len([line for line in text.splitlines() if " best " in line and "│" in line]) == 1


def test_probe_file_holds_every_figure(probed):
    _, tree = probed
    assert [score["layer"] for score in tree["scores"]] == [2] * 5 + [4] * 5
    assert tree["seeds"] == [1, 2]
    for score in tree["scores"]:
        for metric in ("b3_f1", "accuracy"):
            values = score[metric]["values"]
            assert len(values) == 2
            assert score[metric]["mean"] == pytest.approx(sum(values) / 2)
            assert score[metric]["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    best = max(tree["scores"], key=lambda score: score["b3_f1"]["mean"])
    assert tree["best"] == {"layer": best["layer"], "pooling": best["pooling"]}


def test_probe_leaves_nothing_in_the_cache(probed, config):
    assert [path.name for path in config.parent.iterdir()] == ["c.yaml", "probe.json"]


def test_probe_of_one_hold_out_names_relations_left_out_and_gives_no_deviation(run, write_config, tmp_path):
    rows = [
        {"text": f"{word} met {other}", "head": [0, 3], "tail": [8, 11], "relation": relation}
        for relation, count in (("r", 6), ("few\n", 2), ("s", 5))
        for word, other in [("Ann", "Bob"), ("Eve", "Tom")] * count
    ][:-1]
    (tmp_path / "known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"format": "jsonl", "root": str(tmp_path), "known": "known.jsonl", "novel": "absent.jsonl"}
    path = write_config(tmp_path / "c.yaml", data=data)
    result = run("probe", path, "--layers", "1", "--instances", 9, "--seeds", 1)
    assert result.exit_code == 0, result.output
    assert "left out: 1 known relations with fewer than 9 instances: few\\n" in result.stdout
    assert "One hold-out of a fifth of 9 instances" in " ".join(result.stdout.split())
    assert "+-" not in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--layers", "2,x"),
            "error: --layers must be whole numbers with commas between them, but got '2,x'",
        ),
        (("--layers", "7"), "error: layers to be probed must lie in 1..6 for encoder `minilm`, but got 7"),
        (
            ("--instances", 11),
            "at least 2 known relations must have 11 instances to be probed, but 0 of 4 have",
        ),
        (("--instances", 4), "4 is not in the range x>=5"),
        (("--seeds", 0), "0 is not in the range x>=1"),
        (("--set", "data.format=jsonl"), "`data.known` must name a file"),
        (("--set", "train.device=tpu"), "`train.device` must be auto, cpu, cuda or cuda:N"),
        (("--set", "encoder.max_pieces=512", "--set", "encoder.name=./absent"), "encoder folder must exist"),
    ],
)
def test_probe_of_what_cannot_be_probed_ends_with_2(run, config, words, message):
    result = run("probe", config, *words)
    assert result.exit_code == 2
    assert message in result.stderr
