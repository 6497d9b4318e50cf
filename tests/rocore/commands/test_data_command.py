import json

import pytest
from click.testing import CliRunner

import rocore.data.fetch
from rocore.commands.main import main


@pytest.fixture
def config(tmp_path):
    """A configuration of two small JSONL files."""

    def lines(relations, word):
        records = (
            {"tokens": ["in", f"{word}{i}", "Curie"], "head": [1, 2], "tail": [2, 3], "relation": r}
            for i, r in enumerate(relations)
        )
        return "".join(json.dumps(record) + "\n" for record in records)

    (tmp_path / "known.jsonl").write_text(lines(["r", "q"] * 4, "a"))
    (tmp_path / "novel.jsonl").write_text(lines(["s", "t"] * 7, "b"))
    path = tmp_path / "config.yaml"
    data = f"data: {{format: jsonl, root: '{tmp_path}', known: known.jsonl, novel: novel.jsonl}}\n"
    path.write_text(f"{data}encoder: {{output_layer: 2}}\n")
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def test_data_describe_shows_counts_and_relations(config):
    result = run("describe", config)
    assert result.exit_code == 0
    for text in ("instances", "known.jsonl", "Novel relations", "Clusters looked for: 2"):
        assert text in result.output
    assert "synthetic" not in result.output


def test_data_describe_builtin_says_synthetic(tmp_path):
    (tmp_path / "c.yaml").write_text("data: {builtin: {num_known_relations: 2, num_novel_relations: 2}}\n")
    result = run("describe", tmp_path / "c.yaml", "--set", "data.builtin.instances_per_relation=8")
    assert result.exit_code == 0
    assert "These sentences are synthetic" in result.output


def test_data_describe_shows_what_cuts_left(config):
    result = run(
        "describe",
        config,
        "--set",
        "data.resplit.num_novel_relations=2",
        "--set",
        "data.subset.num_labeled=4",
    )
    assert result.exit_code == 0
    lines = [line.replace("│", " ").split() for line in result.output.splitlines()]
    assert ["files", "4", "22", "0"] in lines
    assert [line[0] for line in lines if line and line[0].startswith("data.")] == [
        "data.resplit",
        "data.subset.num_labeled",
    ]
    assert "Cuts" not in run("describe", config).output


def test_data_validate_tells_an_impossible_cut_with_everything_else(config):
    arguments = ["--set", "data.subset.num_known_relations=3", "--set", "encoder.output_layer=7"]
    result = run("validate", config, *arguments)
    assert result.exit_code == 2
    assert "must be at most the 2 known relations that there are, but is 3; lower it" in result.output
    assert "`encoder.output_layer` must lie in 1..6" in result.output


def test_data_convert_says_what_it_wrote_and_what_it_left_out(tmp_path):
    fact = {"text": "Ada met Eve", "subject": [0, 3], "object": [8, 11]}
    relations = ["CEO", "SPOUSE"]
    facts = [fact | {"relation": name} for name in relations] + [fact | {"relation": "CEO", "object": [4, 7]}]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in facts))
    result = run("convert", "knowledgenet", tmp_path / "facts.jsonl", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert result.output == (
        f"{tmp_path}/out/knowledgenet.jsonl: 1 instances\n"
        "2 facts were left out: their pair of entities has another relation, too\n"
    )
    assert run("convert", "knowledgenet", tmp_path / "absent", "--out", tmp_path / "out").exit_code == 2


def test_data_validate_good_data_says_ok(config):
    result = run("validate", config)
    assert (result.exit_code, result.output) == (0, "ok\n")


def test_data_validate_overlapping_names_ends_with_2_after_the_warnings(config):
    result = run(
        "validate",
        config,
        "--set",
        "data.novel=known.jsonl",
        "--set",
        "data.known=[known.jsonl, novel.jsonl]",
    )
    assert result.exit_code == 2
    assert "warning: an instance should stand once, but 8 stand in both known and novel" in result.output
    assert "error: no relation may be both known and novel, but 2 are: q, r" in result.output
    assert "ok\n" not in result.output


def test_data_validate_duplicates_warn_and_pass(config, tmp_path):
    lines = (tmp_path / "novel.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "novel.jsonl").write_text("".join(lines[:1] * 8 + lines[1:2] * 8))
    result = run("validate", config)
    assert result.exit_code == 0
    assert "warning: an instance should stand once" in result.output
    assert result.output.endswith("ok\n")


def test_data_validate_broken_line_ends_with_2_and_its_place(config, tmp_path):
    with (tmp_path / "known.jsonl").open("a") as stream:
        stream.write("{\n")
    result = run("validate", config)
    assert result.exit_code == 2
    assert "error: known.jsonl line 9: must be JSON" in result.output


def test_data_validate_tells_everything_that_training_would_refuse(config, tmp_path):
    odd = ["\u00ad", "\u200b", "\u0301", "\u202e", "\u0000", "\ufe0f", " ".join(["word"] * 300)]
    with (tmp_path / "novel.jsonl").open("a") as stream:
        for word in odd:
            record = {"tokens": [word, "met", "Curie"], "head": [0, 1], "tail": [2, 3], "relation": "s"}
            stream.write(json.dumps(record) + "\n")
    arguments = [
        "--set",
        "data.known_test_size=8",
        "--set",
        "encoder.output_layer=7",
        "--set",
        "data.novel_test_size=99",
    ]
    result = run("validate", config, *arguments)
    assert result.exit_code == 2
    assert "ok\n" not in result.output
    for line in range(15, 21):
        assert f"novel.jsonl line {line}: the head must have at least one word piece" in result.output
    assert "novel.jsonl line 21: the entities must fit into `encoder.max_pieces` = 128" in result.output
    assert (
        "`data.novel_test_size` must leave novel instances to train on, but takes 99 of 21" in result.output
    )
    assert "`encoder.output_layer` must lie in 1..6" in result.output


def test_data_commands_warn_of_names_that_look_alike(config, tmp_path):
    record = {"tokens": ["in", "Rome", "Curie"], "head": [1, 2], "tail": [2, 3], "relation": "r "}
    with (tmp_path / "known.jsonl").open("a") as stream:
        stream.write((json.dumps(record) + "\n") * 2)
    for command in ("validate", "describe"):
        result = run(command, config)
        assert result.exit_code == 0
        assert "warning: names of relations should differ" in result.output
        assert "'r' and 'r ' count as 2 relations, of 4 and 2 instances" in result.output


def test_data_commands_isolate_right_to_left_names_in_warnings(config, tmp_path):
    record = {"tokens": ["in", "Rome", "Curie"], "head": [1, 2], "tail": [2, 3]}
    with (tmp_path / "known.jsonl").open("a") as stream:
        for name in ("\u05d0", "\u05d0 "):
            stream.write((json.dumps({**record, "relation": name}) + "\n") * 2)
    for command in ("validate", "describe"):
        assert "'\u2068\u05d0\u2069' and '\u2068\u05d0\u2069 ' count as 2" in run(command, config).output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.num_novel_relations", "`--set` takes key.path=value"),
        ("data.num_novel_relation=3", "did you mean `data.num_novel_relations`?"),
        ("data.num_novel_relations=20", "14 instances for 20 clusters"),
    ],
)
def test_data_validate_bad_override_ends_with_2(config, override, message):
    result = run("validate", config, "--set", override)
    assert result.exit_code == 2
    assert message in result.output


def test_data_validate_absent_config_ends_with_2(tmp_path):
    result = run("validate", tmp_path / "c.yaml")
    assert result.exit_code == 2
    assert "the configuration file must exist" in result.output


@pytest.mark.parametrize(
    ("arguments", "folder", "base_url"),
    [
        ((), "data/fewrel", rocore.data.fetch.BASE_URL),
        (("--to", "there", "--base-url", "http://mirror/"), "there", "http://mirror/"),
    ],
)
def test_data_fetch_passes_folder_and_address(monkeypatch, arguments, folder, base_url):
    calls = []

    def fetch(to, url, progress):
        calls.append((str(to), url, progress.disable))
        return [to / "val_wiki.json"]

    monkeypatch.setattr(rocore.data.fetch, "fetch_fewrel", fetch)
    result = run("fetch", "fewrel", *arguments)
    assert (result.exit_code, result.output) == (0, f"{folder}/val_wiki.json\n")
    assert calls == [(folder, base_url, True)]


def test_data_fetch_unknown_data_set_is_refused():
    result = run("fetch", "fewrle")
    assert result.exit_code == 2
    assert "'fewrle' is not 'fewrel'" in result.output


def test_data_push_says_what_is_there_and_refuses_what_is_no_folder(config, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/known.jsonl").write_bytes((tmp_path / "known.jsonl").read_bytes())
    url = f"file://{tmp_path}/there"
    for _ in range(2):
        result = run("push", tmp_path / "here", url)
        assert (result.exit_code, result.stdout) == (0, "known.jsonl\n")
    assert run("push", tmp_path / "nowhere", url).exit_code == 2
    result = run("push", tmp_path / "here", "https://host/a")
    assert result.exit_code == 2
    assert "must look like s3://BUCKET/FOLDER" in result.stderr
