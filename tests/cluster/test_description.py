"""Cluster descriptions: what is taken, what is refused, and what a connection says."""

import re
import socket
from pathlib import Path

import pytest

from cluster import description as module
from cluster.description import ClusterError, connect, load_description, split_address
from rocore.errors import ConfigError

ROOT = Path(__file__).parents[2]


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
        ("{kind: existing, address: 'ray://10.0.0.5:10001'}", "ray://10.0.0.5:10001"),
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
        ("kind: existing", "`address` must be host:port of the Ray head, but got ''"),
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
            "{kind: slurm, nodes: 1, cpus_per_node: 1, time_limit: long, project: /p, shared: /s}",
            "`time_limit`: string should match pattern .*, but got 'long'",
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
    ("address", "parts"),
    [
        ("head:6379", ("head", 6379)),
        ("ray://10.0.0.5:10001", ("10.0.0.5", 10001)),
        ("[::1]:6379", ("::1", 6379)),
    ],
)
def test_split_address_gives_host_and_port(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "head", "head:", ":1", "head:0", "http://head:1", "a b:1", "head:1/x"]
)
def test_split_address_where_the_form_is_another_refuses(address):
    with pytest.raises(ValueError, match="must be host:port of the Ray head"):
        split_address(address)


def test_connect_where_something_listens_returns():
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(f"127.0.0.1:{server.getsockname()[1]}", timeout_s=5)


def test_connect_where_nothing_listens_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ClusterError, match=rf"127.0.0.1:{port} must take connections.*`ray start --head`"):
        connect(f"127.0.0.1:{port}", timeout_s=5)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (TimeoutError("timed out"), "head:6379 must answer within 2 s, but doesn't"),
        (socket.gaierror(-2, "Name or service not known"), "'head' must be a host that can be found"),
    ],
)
def test_connect_where_the_network_fails_names_the_reason(monkeypatch, raised, message):
    def fail(address, timeout):
        raise raised

    monkeypatch.setattr(module.socket, "create_connection", fail)
    with pytest.raises(ClusterError, match=message):
        connect("head:6379", timeout_s=2)
