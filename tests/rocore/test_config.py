"""The configuration: what is taken and refused, in which words, overrides, and YAML there and back."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from rocore.config import (
    Config,
    Section,
    dump_config,
    explain,
    known_keys,
    load_config,
    make_config,
    nearest,
    override,
    parse_override,
    read_yaml,
    with_absolute_paths,
    with_overrides,
)
from rocore.errors import ConfigError, RocoreError

FILES = {"format": "jsonl", "known": "known.jsonl", "novel": "novel.jsonl"}


def nested(key, value):
    """Return the tree that holds one dotted key."""
    return with_overrides({}, {key: value})


def get(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


# Defaults and freezing


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss.center_weight", 0.005),
        ("loss.pair_margin", 2.0),
        ("loss.scale", "released"),
        ("incremental.enabled", False),
        ("incremental.rampup_peak", 1.0),
        ("incremental.rampup_epochs", 10),
        ("train.pretrain_epochs", 10),
        ("train.batch_size", 100),
        ("train.learning_rate", 1e-4),
        ("encoder.output_layer", 8),
        ("model.hidden_size", 512),
        ("model.relation_size", 256),
    ],
)
def test_config_by_default_is_the_papers(key, value):
    assert get(Config(), key) == value


@pytest.mark.parametrize(
    "section", [None, "data", "encoder", "model", "loss", "incremental", "train", "cache"]
)
def test_config_where_a_key_is_assigned_refuses(section):
    target = getattr(Config(), section) if section else Config()
    name = next(iter(type(target).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(target, name, getattr(target, name))


def test_config_of_equal_keys_is_equal_and_hashable():
    first, second = make_config({"loss": {"pair_margin": 3}}), override(Config(), {"loss.pair_margin": 3.0})
    assert first == second
    assert hash(first) == hash(second)


# Values out of range


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**31, "less than 2147483648"),
        ("data.format", "csv", "'builtin', 'fewrel', 'tacred' or 'jsonl'"),
        ("data.num_novel_relations", 1, "greater than or equal to 2"),
        ("data.novel_test_size", 0, "greater than 0"),
        ("data.known_test_size", -0.5, "greater than or equal to 0"),
        ("data.known_test_size", float("inf"), "a finite number"),
        ("data.builtin.num_known_relations", 1, "greater than or equal to 2"),
        ("data.builtin.num_known_relations", 21, "less than or equal to 20"),
        ("data.builtin.num_novel_relations", 1, "greater than or equal to 2"),
        ("data.builtin.num_novel_relations", 21, "less than or equal to 20"),
        ("data.builtin.instances_per_relation", 7, "greater than or equal to 8"),
        ("data.builtin.instances_per_relation", 2001, "less than or equal to 2000"),
        ("data.builtin.seed", -1, "greater than or equal to 0"),
        ("data.pseudo_novel.num_relations", 1, "greater than or equal to 2"),
        ("encoder.output_layer", 0, "greater than or equal to 1"),
        ("encoder.output_layer", 1.5, "a valid integer"),
        ("encoder.max_pieces", 7, "greater than or equal to 8"),
        ("encoder.max_pieces", 513, "less than or equal to 512"),
        ("encoder.precision", "fp16", "'auto', 'bf16' or 'fp32'"),
        ("model.hidden_size", 0, "greater than or equal to 1"),
        ("model.relation_size", 0, "greater than or equal to 1"),
        ("model.rectifier", "gelu", "'leaky_relu' or 'relu'"),
        ("loss.center_weight", -0.1, "greater than or equal to 0"),
        ("loss.center_weight", "much", "a valid number"),
        ("loss.pair_margin", 0, "greater than 0"),
        ("loss.pair_margin", float("nan"), "greater than 0|a finite number"),
        ("loss.scale", "other", "'released' or 'paper'"),
        ("loss.weight_decay", -1, "greater than or equal to 0"),
        ("loss.use_center", "perhaps", "a valid boolean"),
        ("incremental.rampup_peak", -1, "greater than or equal to 0"),
        ("incremental.rampup_epochs", 0, "greater than or equal to 1"),
        ("train.pretrain_epochs", -1, "greater than or equal to 0"),
        ("train.max_epochs", 0, "greater than or equal to 1"),
        ("train.batch_size", 1, "greater than or equal to 2"),
        ("train.learning_rate", 0, "greater than 0"),
        ("train.learning_rate", float("inf"), "a finite number"),
        ("train.dropout", 1, "less than 1"),
        ("train.dropout", -0.1, "greater than or equal to 0"),
        ("train.convergence_tolerance", -1, "greater than or equal to 0"),
        ("train.convergence_patience", 0, "greater than or equal to 1"),
        ("train.num_threads", 0, "greater than or equal to 1"),
    ],
)
def test_config_where_a_value_is_wrong_names_key_rule_and_value(key, value, rule):
    with pytest.raises(ConfigError, match=rf"`{key}`: input should be .*({rule}).*, but got .* in run\.yaml"):
        make_config(nested(key, value), "run.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2**31 - 1),
        ("loss.center_weight", 0),
        ("incremental.rampup_peak", 0),
        ("train.pretrain_epochs", 0),
        ("train.dropout", 0),
        ("train.dropout", None),
        ("train.num_threads", None),
        ("data.novel_test_size", 0.15),
        ("data.novel_test_size", 1600),
        ("data.known_test_size", 0),
        ("data.builtin.num_known_relations", 20),
        ("encoder.max_pieces", 512),
    ],
)
def test_config_where_a_value_is_at_its_bound_takes_it(key, value):
    assert get(make_config(nested(key, value)), key) == value


def test_config_where_pseudo_novel_has_no_count_asks_for_it():
    with pytest.raises(ConfigError, match=r"`data.pseudo_novel.num_relations`: field required"):
        make_config({"data": {"pseudo_novel": {"fold": 1}}})


def test_config_where_several_things_are_wrong_names_each_on_a_line():
    with pytest.raises(
        ConfigError, match=r"`loss.pair_margin`.*\n.*`train.batch_size`.*\n.*unknown key `sead`"
    ):
        make_config({"loss": {"pair_margin": -1}, "train": {"batch_size": 0}, "sead": 1})


# Files of the data section


@pytest.mark.parametrize("reader", ["fewrel", "tacred", "jsonl"])
@pytest.mark.parametrize("role", ["known", "novel"])
def test_data_where_a_reader_has_no_file_asks_for_it(reader, role):
    files = {**FILES, "format": reader}
    del files[role]
    with pytest.raises(
        ConfigError, match=rf"`data.{role}` must name a file, but is empty; name the file with {role}"
    ):
        make_config({"data": files})


def test_data_where_known_relations_are_hidden_needs_no_novel_file():
    data = {"format": "jsonl", "known": "known.jsonl", "pseudo_novel": {"num_relations": 4}}
    assert make_config({"data": data}).data.novel == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a.json", ("a.json",)),
        (["a.json", "b.json"], ("a.json", "b.json")),
        ("train*.json", ("train*.json",)),
    ],
)
def test_data_takes_one_file_or_several(given, kept):
    assert make_config({"data": {**FILES, "known": given}}).data.known == kept


# Unknown keys and nearest names


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("loss.centre_weight", "did you mean `loss.center_weight`?"),
        ("loss.center_wieght", "did you mean `loss.center_weight`?"),
        ("encodr.name", "did you mean `encoder.name`?"),
        ("train.lr_rate", "did you mean `train.learning_rate`?"),
        ("data.builtin.num_knwon_relations", "did you mean `data.builtin.num_known_relations`?"),
    ],
)
def test_override_where_the_key_is_unknown_names_the_nearest(key, hint):
    with pytest.raises(ConfigError, match=rf"unknown key `{key.split('.')[0]}.*; did you mean"):
        override(Config(), {key: 1})
    assert nearest(key, known_keys(Config)) == hint


def test_nearest_where_only_the_last_part_fits_names_the_key_that_ends_so():
    assert nearest("a_quite_different_section.pair_margin", ["seed", "loss.pair_margin"]) == (
        "did you mean `loss.pair_margin`?"
    )


def test_nearest_where_nothing_is_near_lists_the_names():
    assert nearest("xyzzy", ["seed", "loss"]) == "valid names: seed, loss"


def test_known_keys_holds_sections_and_their_keys():
    class Inner(Section):
        leaf: int = 0

    class Outer(Section):
        inner: Inner = Inner()
        absent: Inner | None = None
        top: int = 0

    assert known_keys(Outer) == ["inner", "inner.leaf", "absent", "absent.leaf", "top"]


@pytest.mark.parametrize(
    "key", ["seed", "data.pseudo_novel.fold", "data.builtin.seed", "loss.pair_margin", "cache.root"]
)
def test_known_keys_holds_keys_of_every_depth(key):
    assert key in known_keys(Config)


# Overrides


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("loss.center_weight=0.01", "loss.center_weight", 0.01),
        ("loss.center_weight=1e-4", "loss.center_weight", 1e-4),
        ("loss.center_weight=1E-4", "loss.center_weight", 1e-4),
        ("train.learning_rate=5.e-5", "train.learning_rate", 5e-5),
        ("loss.pair_margin=-1e2", "loss.pair_margin", -100.0),
        ("incremental.enabled=true", "incremental.enabled", True),
        ("data.pseudo_novel=null", "data.pseudo_novel", None),
        ("data.known=[a.json, b.json]", "data.known", ["a.json", "b.json"]),
        ("data.known=[1e-4]", "data.known", [1e-4]),
        ("data.builtin={seed: 1e0}", "data.builtin", {"seed": 1.0}),
        ("encoder.name=all-MiniLM", "encoder.name", "all-MiniLM"),
        ("encoder.name=a=b", "encoder.name", "a=b"),
        ("encoder.name=1e-model", "encoder.name", "1e-model"),
        ("encoder.name=''", "encoder.name", ""),
        (" seed =3", "seed", 3),
        ("cache.root=", "cache.root", None),
    ],
)
def test_parse_override_reads_the_value_as_yaml(text, key, value):
    parsed_key, parsed = parse_override(text)
    assert (parsed_key, parsed, type(parsed)) == (key, value, type(value))


@pytest.mark.parametrize("text", ["seed", "=3", " =3", ""])
def test_parse_override_where_there_is_no_key_shows_the_form(text):
    with pytest.raises(
        ConfigError, match=re.escape(f"`--set` takes key.path=value, but got {text!r}; for example")
    ):
        parse_override(text)


def test_parse_override_where_the_value_is_no_yaml_says_so():
    with pytest.raises(ConfigError, match=r"the value of `--set data.known=\[a` must be YAML, but"):
        parse_override("data.known=[a")


def test_with_overrides_leaves_its_input_as_it_was():
    tree = {"loss": {"pair_margin": 1.0}}
    assert with_overrides(tree, {"loss.pair_margin": 2.0, "train.max_epochs": 3}) == {
        "loss": {"pair_margin": 2.0},
        "train": {"max_epochs": 3},
    }
    assert tree == {"loss": {"pair_margin": 1.0}}


def test_with_overrides_where_a_parent_is_null_makes_it_a_section():
    tree = {"data": {"pseudo_novel": None}}
    assert with_overrides(tree, {"data.pseudo_novel.num_relations": 4}) == {
        "data": {"pseudo_novel": {"num_relations": 4}}
    }


def test_with_overrides_where_a_key_is_given_twice_keeps_the_deeper_one():
    assert with_overrides({}, {"loss": {"pair_margin": 1}, "loss.pair_margin": 2}) == {
        "loss": {"pair_margin": 2}
    }


def test_override_returns_a_checked_copy():
    base = Config()
    changed = override(base, {"loss.pair_margin": 3, "data.pseudo_novel.num_relations": 8})
    assert (changed.loss.pair_margin, changed.data.pseudo_novel.num_relations) == (3.0, 8)
    assert base == Config()


def test_override_where_the_value_is_wrong_refuses():
    with pytest.raises(ConfigError, match=r"`loss.pair_margin`: input should be greater than 0, but got -1"):
        override(Config(), {"loss.pair_margin": -1})


# Files


def test_load_config_applies_overrides_on_top_of_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("seed: 4\nloss: {center_weight: 1e-3, pair_margin: 1.5}\n", encoding="utf-8")
    config = load_config(path, {"loss.pair_margin": 3})
    assert (config.seed, config.loss.center_weight, config.loss.pair_margin) == (4, 1e-3, 3.0)


def test_load_config_where_the_file_is_empty_gives_the_defaults(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert load_config(str(path)) == Config()


def test_load_config_where_a_key_is_unknown_names_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("loss: {centre_weight: 1}\n", encoding="utf-8")
    message = f"unknown key `loss.centre_weight` in {path}; did you mean `loss.center_weight`?"
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", " must be YAML, but while parsing"),
        (b"\xff\xfe\xfa", ": must be UTF-8, but is UTF-16; save it as UTF-8"),
        (b"- 1\n- 2\n", " must hold a mapping of keys, but holds a list"),
        (b"text", " must hold a mapping of keys, but holds a str"),
        (b"!!python/object:os.system {}", " must be YAML, but could not determine a constructor"),
    ],
)
def test_read_yaml_where_the_file_is_no_mapping_says_so(tmp_path, content, message):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}{message}"):
        read_yaml(path)


def test_read_yaml_where_the_file_is_absent_says_so():
    with pytest.raises(
        ConfigError, match=r"the configuration file must exist, but absent.yaml doesn't; see configs/"
    ):
        read_yaml(Path("absent.yaml"))


def test_read_yaml_where_the_path_is_a_folder_says_so(tmp_path):
    with pytest.raises(ConfigError, match="must be a readable YAML file"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss.center_weight": 1e-7, "train.learning_rate": 1e-10},
        {
            "data": {**FILES, "known": ["a.json", "ü b.json"], "root": "Daten/größe"},
            "data.novel_test_size": 0.15,
        },
        {"data.pseudo_novel.num_relations": 8, "incremental.enabled": True, "train.dropout": 0.1},
    ],
)
def test_dump_config_is_what_load_config_takes(tmp_path, changes):
    config = override(Config(), changes)
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_dump_config_writes_every_key_and_keeps_unicode():
    text = dump_config(override(Config(), {"data.root": "größe"}))
    assert "größe" in text
    assert all(
        re.search(rf"^ *{key.rpartition('.')[2]}:", text, re.MULTILINE)
        for key in known_keys(Config)
        if key.count(".") < 2
    )


# Errors


def test_explain_names_what_was_checked():
    class Small(Section):
        size: int

    with pytest.raises(ValidationError, match="size") as caught:
        Small.model_validate({"size": "large"})
    error = explain(caught.value, Small, "here.yaml")
    assert re.match(r"`size`: input should be a valid integer.*, but got 'large' in here\.yaml$", str(error))


def test_config_error_is_a_value_error_that_the_command_line_prints():
    assert issubclass(ConfigError, RocoreError)
    assert issubclass(ConfigError, ValueError)
    assert ConfigError.exit_code == 2


def test_with_absolute_paths_leaves_urls_and_hub_names_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = {
        "data": {"root": "s3://bucket/data?region=eu-west-1"},
        "encoder": {"name": "s3://bucket/encoder"},
        "cache": {"root": "here", "store": "s3://bucket/trunks"},
    }
    config = with_absolute_paths(make_config(tree))
    assert (config.data.root, config.encoder.name) == (tree["data"]["root"], tree["encoder"]["name"])
    assert (config.cache.root, config.cache.store) == (str(tmp_path / "here"), "s3://bucket/trunks")
    assert with_absolute_paths(make_config({})).encoder.name == "minilm"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"data": {"root": "s3://key:hidden@bucket/a"}}, "must not hold credentials"),
        ({"encoder": {"name": "s3://bucket/a?secret_key=hidden"}}, "must not hold credentials"),
        ({"cache": {"store": "https://host/a"}}, "must look like s3://BUCKET/FOLDER"),
        ({"cache": {"store": "a/folder"}}, "must look like s3://BUCKET/FOLDER"),
        ({"cache": {"root": "s3://bucket/a"}}, "must be a folder of this machine.* set cache.store"),
    ],
    ids=str,
)
def test_make_config_refuses_urls_that_cannot_be_used_before_they_are_written_down(tree, message):
    with pytest.raises(ConfigError, match=message) as raised:
        make_config(tree, "my.yaml")
    assert "in my.yaml" in str(raised.value)
    assert "hidden" not in str(raised.value)
