"""Imports Ray: its own check of a cluster launcher's file, which needs no network."""

import copy
from collections.abc import Mapping
from typing import Any

from rocore.errors import ConfigError


def check_launcher_config(config: Mapping[str, Any]) -> None:
    """Fill in Ray's defaults and validate against Ray's schema.

    Raises:
        ConfigError: If Ray refuses the file.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(dict(config))))
    except Exception as error:  # jsonschema's and Ray's own have no common class
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"Ray's launcher must accept the rendered file, but says: {reason}; correct the description"
        ) from error


def ray_version() -> str:
    """Return the installed Ray's version: head and workers must have the same."""
    import ray

    return str(ray.__version__)
