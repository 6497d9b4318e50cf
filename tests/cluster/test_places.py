"""What every node sees, and what this machine alone has."""

from pathlib import Path

import pytest

from cluster.description import ExistingCluster, LocalCluster, SlurmCluster
from cluster.places import check_inputs, config_files, is_within
from rocore.errors import ConfigError

HERE = LocalCluster(name="here", kind="local")
INSTALLED = SlurmCluster(
    name="far",
    kind="slurm",
    nodes=1,
    cpus_per_node=1,
    time_limit="1:00:00",
    project="/project",
    shared="/shared",
)
PACKAGED = ExistingCluster(
    name="theirs", kind="existing", jobs="http://127.0.0.1:8265", shared="/shared", visible=("/data",)
)
HERE_AND_THERE = ExistingCluster(
    name="grown", kind="existing", address="10.0.0.5:6379", shared="/shared", visible=("/data",)
)
JSONL = "{data: {format: jsonl, root: %s, known: a.jsonl, novel: b.jsonl}}"


@pytest.fixture
def config(tmp_path):
    """Return a function that writes a sweep over a base, and gives the sweep's path."""

    def write(base, sweep="base: base.yaml"):
        (tmp_path / "base.yaml").write_text(base)
        path = tmp_path / "sweep.yaml"
        path.write_text(sweep)
        return path

    return write


@pytest.mark.parametrize(
    ("path", "folder", "within"),
    [
        ("/shared/a", "/shared", True),
        ("/shared", "/shared", True),
        ("/sharedelsewhere", "/shared", False),
        ("/shared/../home", "/shared", False),
        ("a", "/shared", False),
    ],
)
def test_is_within_goes_by_whole_names(path, folder, within):
    assert is_within(path, folder) is within
    assert is_within(path, folder, strictly=True) is (within and path != folder)


@pytest.mark.parametrize("root", ["s3://bucket/d", "/shared/d", "/shared", "/data/fewrel"])
def test_data_that_every_node_sees_may_be_named(config, root):
    check_inputs(PACKAGED, config(JSONL % root), [])


@pytest.mark.parametrize("root", ["data/fewrel", ".", "/home/me/d", "~/d", "/shared/../home", "/project/d"])
def test_data_of_this_machine_alone_is_refused_where_the_project_travels(config, root):
    with pytest.raises(
        ConfigError, match=r"`data\.root` must be a URL or an absolute path that every node sees"
    ):
        check_inputs(PACKAGED, config(JSONL % root), [])


@pytest.mark.parametrize(
    ("root", "refused"), [("data/fewrel", False), ("/project/d", False), ("/home/me/d", True), ("../d", True)]
)
def test_data_inside_an_installed_project_is_seen(config, root, refused):
    path = config(JSONL % root)
    if not refused:
        check_inputs(INSTALLED, path, [])
        return
    with pytest.raises(
        ConfigError, match=r"a path inside the project or an absolute path .*\(/shared, /project\), but is"
    ):
        check_inputs(INSTALLED, path, [])


def test_builtin_corpus_needs_no_data(config):
    check_inputs(PACKAGED, config("{data: {root: data}}"), [])


def test_setting_wins_over_the_file_and_the_files_overrides_over_its_base(config):
    path = config(JSONL % "data/fewrel", "{base: base.yaml, overrides: {data.root: /home/me}}")
    check_inputs(PACKAGED, path, ["data.root=s3://bucket/d"])
    with pytest.raises(ConfigError, match="but is /home/me, which this machine alone may have"):
        check_inputs(PACKAGED, path, [])
    with pytest.raises(ConfigError, match="but is other,"):
        check_inputs(PACKAGED, path, ["overrides.data.root=other"])


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("encoder.name=/home/me/bert", "encoder.name"),
        ("encoder.name=~/bert", "encoder.name"),
        ("encoder.name=mine", "encoder.name"),
        ("data.known=[/home/me/a.jsonl]", "data.known"),
        ("data.novel=~/b.jsonl", "data.novel"),
    ],
)
def test_encoder_or_file_of_this_machine_alone_is_refused(config, monkeypatch, tmp_path, setting, key):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"`{key}` must be a URL or an absolute path that every node sees"):
        check_inputs(PACKAGED, config(JSONL % "s3://bucket/d"), [setting])


@pytest.mark.parametrize(
    "name", ["minilm", "bert-base-uncased", "google/bert", "s3://bucket/bert", "/data/bert"]
)
def test_encoder_that_every_node_finds_may_be_named(config, name):
    check_inputs(PACKAGED, config("{}"), [f"encoder.name={name}"])


def test_sweep_that_runs_here_may_name_what_is_here(config):
    check_inputs(HERE, config(JSONL % "data/fewrel"), [])


@pytest.mark.parametrize("root", ["s3://bucket/d", "/shared/d", "/data/fewrel", "fewrel", "../{name}", "~/d"])
def test_data_that_nodes_of_a_foreign_ray_see_may_be_named(config, monkeypatch, tmp_path, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    description = HERE_AND_THERE.model_copy(update={"visible": ("/data", str(tmp_path))})
    check_inputs(description, config(JSONL % root.format(name=tmp_path.name)), [])


@pytest.mark.parametrize("root", ["data/fewrel", "/home/me/d", "/shared/../home/me/d"])
def test_data_of_this_machine_alone_is_refused_where_its_sweep_has_trials_elsewhere(config, root):
    with pytest.raises(ConfigError, match=r"must be a URL or an absolute path .*\(/shared, /data\), but is"):
        check_inputs(HERE_AND_THERE, config(JSONL % root), [])


def test_ray_on_a_loopback_address_is_this_machine(config):
    own = ExistingCluster(name="own", kind="existing", address="127.0.0.1:6379")
    check_inputs(own, config(JSONL % "/home/me/d"), [])


def test_config_that_lies_on_the_cluster_alone_is_left_to_the_sweep():
    check_inputs(INSTALLED, Path("/shared/nobody/a.yaml"), [])


def test_config_that_should_travel_must_be_here():
    with pytest.raises(ConfigError, match=r"must exist, but configs/gone\.yaml doesn't"):
        check_inputs(PACKAGED, Path("configs/gone.yaml"), [])


def test_config_files_are_the_sweep_and_its_base(config):
    path = config("{}")
    assert config_files(path) == [path, path.parent / "base.yaml"]
    assert config_files(config("{}", "{base: {seed: 1}}")) == [path]


@pytest.mark.parametrize(
    ("file", "settings", "refused"),
    [
        ("search: {others: [s3://b/a, /shared/b]}", [], None),
        ("search: {others: [s3://b/a, sweeps/b]}", [], "sweeps/b"),
        ("search: {num_trials: 3}", ["search.others=[/home/me/b]"], "/home/me/b"),
        ("search: {others: [sweeps/b]}", ["search.others=[s3://b/a]", "search.num_trials=3"], None),
    ],
)
def test_sweeps_to_learn_from_must_be_seen_by_the_nodes(config, file, settings, refused):
    path = config("{}", f"base: base.yaml\n{file}")
    if refused is None:
        check_inputs(PACKAGED, path, settings)
        return
    with pytest.raises(ConfigError, match=rf"`search\.others` must be a URL .* but is {refused}, which"):
        check_inputs(PACKAGED, path, settings)
