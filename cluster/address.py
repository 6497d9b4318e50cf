"""Addresses of a Ray and of its jobs: their form, whether they leave this machine, and whether anything answers."""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from rocore.errors import RocoreError

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")


class ClusterError(RocoreError, RuntimeError):
    """A cluster that can't be reached, or that refuses what it is asked for."""

    exit_code = 4


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`; ray://, Ray's client, can't run a sweep.

    Raises:
        ValueError: If the address has another form or the port isn't in 1..65535.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(
            f"`address` must be host:port of the Ray head, but got {address!r}; for example 10.0.0.5:6379"
        )
    return match["host"].strip("[]"), int(match["port"])


def split_jobs_url(url: str) -> tuple[str, int]:
    """Return host and port of `http://host:port` or `https://host:port`.

    Raises:
        ValueError: If the address has another form; one with a user or a password in it has, too.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not (host and port and parts.scheme in ("http", "https")) or parts.path.strip("/") or "@" in url:
        raise ValueError(
            f"`jobs` must be http://host:port of the Ray's dashboard, but got {_without_user(url)!r}; for example "
            "http://127.0.0.1:8265 (Ray's token comes from RAY_AUTH_TOKEN_PATH, never from the address)"
        )
    return host, port


def is_loopback(host: str) -> bool:
    """Whether nothing that is sent there leaves this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_user(url: str) -> str:
    return re.sub(r"//[^/]*@", "//...@", url)


def connect(address: str, *, timeout_s: float) -> None:
    """Open a TCP connection to a Ray head and close it again.

    Raises:
        ClusterError: If nothing answers there in time.
    """
    host, port = split_address(address)
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except TimeoutError as error:
        raise ClusterError(
            f"{host}:{port} must answer within {timeout_s:g} s, but doesn't; check network and firewall"
        ) from error
    except socket.gaierror as error:
        raise ClusterError(
            f"{host!r} must be a host that can be found, but {error.strerror}; check `address`"
        ) from error
    except OSError as error:
        raise ClusterError(
            f"{host}:{port} must take connections, but {error.strerror or error}; "
            "start Ray there (`ray start --head`) or correct `address`"
        ) from error
