"""The description of a cluster: typed, frozen, checked on construction."""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from rocore.config import NonNegative, Positive, Section, explain, nearest, read_yaml
from rocore.errors import ConfigError, RocoreError

FOLDER = Path("configs/cluster")

_ADDRESS = re.compile(r"(?P<scheme>ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")


class ClusterError(RocoreError, RuntimeError):
    """A cluster that can't be reached."""

    exit_code = 4


class ClusterDescription(Section):
    """One cluster that sweeps can be submitted to."""

    name: Annotated[str, Field(min_length=1)]
    """What messages call it."""
    kind: Literal["local", "existing"]
    """local: a Ray of its own on this machine; existing: a Ray that somebody else started."""
    address: str | None = None
    """host:port, or ray://host:port, of an existing Ray's head; of no use to `local`."""
    cpus_per_trial: Positive | None = None
    """CPU share of a trial there. Null: what the sweep's file says."""
    gpus_per_trial: NonNegative | None = None
    """GPU share of a trial there. Null: what the sweep's file says."""

    @model_validator(mode="after")
    def _check_address(self) -> "ClusterDescription":
        if self.kind == "local" and self.address is not None:
            raise ValueError(
                f"`address` must be absent where `kind` is local, but got {self.address!r}; "
                "remove it, or set `kind: existing`"
            )
        if self.kind == "existing":
            split_address(self.address or "")
        return self


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `ray://host:port`.

    Raises:
        ValueError: If the address has another form or the port isn't in 1..65535.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(
            f"`address` must be host:port of the Ray head, but got {address!r}; for example 10.0.0.5:6379"
        )
    return match["host"].strip("[]"), int(match["port"])


def load_description(name_or_file: str, overrides: Mapping[str, Any] | None = None) -> ClusterDescription:
    """Read a cluster description by its name in configs/cluster/ or by its path.

    Raises:
        ConfigError: If there is none, or a key or value is wrong.
    """
    path = _find(name_or_file)
    try:
        return ClusterDescription.model_validate({"name": path.stem, **read_yaml(path), **(overrides or {})})
    except ValidationError as error:
        raise explain(error, ClusterDescription, str(path)) from error


def _find(name_or_file: str) -> Path:
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    named = FOLDER / f"{name_or_file}.yaml"
    if not named.is_file():
        names = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        hint = nearest(name_or_file, names) if names else f"there are none in {FOLDER.absolute()}"
        raise ConfigError(
            f"a cluster must be a name in {FOLDER}/ or a YAML file, but got {name_or_file!r}; {hint}"
        )
    return named


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
