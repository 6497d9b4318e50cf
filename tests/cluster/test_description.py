"""Cluster descriptions: what is taken, what is refused, and what a connection says."""

import re
from pathlib import Path

import pytest

from cluster.description import load_description
from cluster.places import is_packaged
from rocore.errors import ConfigError

ROOT = Path(__file__).parents[2]


KUBERNETES = (
    "kind: kubernetes, project: /p, shared: /s, image: i, volume_claim: v, head: {cpus: 1, memory_gib: 1}, "
    "groups: {a: {cpus: 1, memory_gib: 1}}"
)
SLURM = "kind: slurm, nodes: 1, cpus_per_node: 1, project: /p, shared: /s"


def write(folder, text):
    path = folder / "here.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "cluster").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_description_loads_under_its_file_name(path):
    assert load_description(str(path)).name == path.stem


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("kind: local", None),
        ("{kind: local, cpus_per_trial: 2, gpus_per_trial: 0}", None),
        ("{kind: existing, address: 'head:6379'}", "head:6379"),
        ("{kind: existing, jobs: 'http://head:8265', shared: /s}", "auto"),
        ("{kind: existing, address: 'head:6379', jobs: 'http://head:8265'}", "auto"),
    ],
)
def test_description_holds_the_address_of_its_kind(tmp_path, text, address):
    assert load_description(write(tmp_path, text)).ray_address == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "`kind` must be one of local, .*, slurm, but is None"),
        (
            "kind: slurn",
            "`kind` must be one of local, .*, slurm, but is 'slurn' in .*; did you mean `slurm`?",
        ),
        ("{kind: existing, adress: a}", "unknown key `adress` in .*; did you mean `address`?"),
        ("{kind: local, address: 'a:1'}", "unknown key `address`"),
        ("kind: existing", "`address` must be host:port of the Ray head, or `jobs` .*, but neither is given"),
        ("{kind: existing, address: ''}", "`address` must be host:port of the Ray head, but got ''"),
        ("{kind: existing, jobs: 'head:8265'}", "`jobs` must be http://host:port .*, but got 'head:8265'"),
        (
            "{kind: existing, address: 'a:1', environment: packaged}",
            "`environment: packaged` must come with `jobs`, but there is none",
        ),
        (
            "{kind: existing, jobs: 'http://a:1', environment: installed}",
            "`environment: installed` must come with `project`, .*, but it isn't given",
        ),
        ("{kind: slurm, environment: packaged}", "unknown key `environment`"),
        ("{kind: existing, address: auto}", "`address` must be host:port of the Ray head, but got 'auto'"),
        ("{kind: existing, address: 'a:70000'}", "must be host:port of the Ray head, but got 'a:70000'"),
        ("{kind: local, cpus_per_trial: 0}", "`cpus_per_trial`: input should be greater than 0, but got 0"),
        (
            "{kind: local, gpus_per_trial: -1}",
            "`gpus_per_trial`: input should be greater than or equal to 0, but got -1",
        ),
        ("{kind: local, name: ''}", "`name`: string should have at least 1 character"),
        ("{kind: local, name: 'a b'}", "`name`: string should match pattern"),
        (
            "{kind: aws, region: r, image: i, ssh_user: u, project: /p, shared: /s, head: h, "
            "groups: {a: {instance: x, max_nodes: 2, resources: {GPU: 1}}}}",
            "`resources` must name custom resources alone, but names GPU, which Ray counts itself",
        ),
        (
            "{kind: aws, region: r, image: i, ssh_user: u, project: /p, shared: /s, head: h, "
            "groups: {a: {instance: x, max_nodes: 2}}, instance_profile: 'arn:aws:iam::1:role/x'}",
            "`instance_profile`: string should match pattern .*, but got 'arn:aws:iam::1:role/x'",
        ),
        (
            "{kind: gcp, project_id: p, region: r, zone: z, image: i, ssh_user: u, project: /p, shared: /s, head: h, "
            "groups: {a: {instance: x, max_nodes: 2}}}",
            r"`groups\.a\.cpus` must say how many CPUs .* \(`min_nodes` 0 of 2\), but isn't given",
        ),
        (
            f"{{{KUBERNETES}, name: 9lives}}",
            "`name` must begin with a letter, .* on kubernetes, .*, but is '9lives'",
        ),
        (f"{{{KUBERNETES}, name: lives-}}", "`name` must begin with a letter, end with .*, but is 'lives-'"),
        (f"{{{KUBERNETES}, name: {'a' * 54}}}", "`name` must .* have 53 characters at most on kubernetes"),
        (
            f"{{{KUBERNETES}, setup: [module load cuda]}}",
            "`setup` must be empty on kubernetes, .*, but holds 'module load cuda'; build it into `image`",
        ),
        (
            f"{{{KUBERNETES}, env_from_secret: 'KEY=value'}}",
            "`env_from_secret`: string should match pattern .*, but got 'KEY=value'",
        ),
        (
            "{kind: aws, region: r, image: i, ssh_user: u, project: /p, shared: /s, head: h, "
            "groups: {a: {instance: x, min_nodes: 3, max_nodes: 2}}}",
            "`min_nodes` must be at most `max_nodes`, but is 3 of 2; lower it",
        ),
    ],
)
def test_description_where_a_key_is_wrong_says_what_must_hold(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_description(write(tmp_path, text))


@pytest.mark.parametrize("limit", ["4:00:00", "100:00:00", "1-12:00:00"])
def test_time_limit_is_what_slurm_takes_for_hours(tmp_path, limit):
    assert load_description(write(tmp_path, f"{{{SLURM}, time_limit: '{limit}'}}")).time_limit == limit


@pytest.mark.parametrize(
    ("limit", "value"),
    [("long", "'long'"), ("'4:00'", "'4:00'"), ("'1:75:00'", "'1:75:00'"), ("4:00:00", "14400")],
)
def test_time_limit_that_slurm_or_yaml_takes_for_something_else_is_refused(tmp_path, limit, value):
    with pytest.raises(ConfigError, match=f"`time_limit` must be hours:minutes:seconds .* is {value} "):
        load_description(write(tmp_path, f"{{{SLURM}, time_limit: {limit}}}"))


def test_gcp_machines_whose_number_is_fixed_need_no_cpus(tmp_path):
    text = (
        "{kind: gcp, project_id: p, region: r, zone: z, image: i, ssh_user: u, project: /p, shared: /s, head: h, "
        "groups: {a: {instance: x, min_nodes: 2, max_nodes: 2}}}"
    )
    assert load_description(write(tmp_path, text)).kind == "gcp"


def test_description_is_found_by_name_under_configs(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_description("local").kind == "local"


@pytest.mark.parametrize(
    ("name", "message"),
    [("exsting", "did you mean `existing`?"), ("here.yaml", "must exist, but here.yaml doesn't")],
)
def test_description_where_there_is_none_names_the_nearest(monkeypatch, name, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_description(name)


def test_description_where_there_is_no_folder_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(f"there are none in {tmp_path}")):
        load_description("local")


@pytest.mark.parametrize(
    ("text", "packaged"),
    [
        ("{kind: local}", False),
        ("{kind: existing, address: 'a:1'}", False),
        ("{kind: existing, jobs: 'http://a:1'}", True),
        ("{kind: existing, jobs: 'http://a:1', project: /p}", False),
        ("{kind: existing, jobs: 'http://a:1', project: /p, environment: packaged}", True),
        ("{kind: ssh, ssh_user: u, head: h, workers: [], project: /p, shared: /s}", False),
        (
            "{kind: ssh, ssh_user: u, head: h, workers: [], project: /p, shared: /s, environment: packaged}",
            True,
        ),
    ],
)
def test_project_travels_where_it_is_asked_for_or_not_installed(tmp_path, text, packaged):
    assert is_packaged(load_description(write(tmp_path, text))) is packaged


def test_address_of_jobs_with_a_password_is_refused_without_repeating_it(tmp_path):
    with pytest.raises(ConfigError, match=r"but got 'http://\.\.\.@head:8265'") as refusal:
        load_description(write(tmp_path, "{kind: existing, jobs: 'http://me:s3cret@head:8265'}"))
    assert "s3cret" not in str(refusal.value)
