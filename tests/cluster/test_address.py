"""Addresses: their form, whether they leave this machine, and what a connection says."""

import socket

import pytest

from cluster import address as module
from cluster.address import ClusterError, connect, is_loopback, split_address, split_jobs_url


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("head:6379", ("head", 6379)),
        ("[::1]:6379", ("::1", 6379)),
    ],
)
def test_split_address_gives_host_and_port(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "head", "head:", ":1", "head:0", "http://head:1", "ray://head:1", "a b:1", "head:1/x"]
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


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://127.0.0.1:8265", ("127.0.0.1", 8265)),
        ("https://ray.example.com:443/", ("ray.example.com", 443)),
        ("http://[::1]:8265", ("::1", 8265)),
    ],
)
def test_split_jobs_url_gives_host_and_port(url, parts):
    assert split_jobs_url(url) == parts


@pytest.mark.parametrize(
    "url",
    ["", "head:8265", "ray://head:1", "http://head", "http://head:x", "http://a@head:1", "http://head:1/x"],
)
def test_split_jobs_url_where_the_form_is_another_refuses(url):
    with pytest.raises(ValueError, match="`jobs` must be http://host:port of the Ray's dashboard"):
        split_jobs_url(url)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.5", False),
        ("head", False),
    ],
)
def test_is_loopback_tells_what_stays_on_this_machine(host, loopback):
    assert is_loopback(host) is loopback
