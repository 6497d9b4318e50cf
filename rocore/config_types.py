"""Types that the sections of configurations share."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rocore.storage import Storage, is_url

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Files = tuple[str, ...]


def check_place(place: str) -> str:
    """Return a path or a URL as it is.

    Raises:
        ConfigError: If it is a URL that can't be used, or that holds credentials: configurations are written down.
    """
    return Storage.at(place).url if is_url(place) else place


def check_url(url: str) -> str:
    """Return a URL as it is written best.

    Raises:
        ConfigError: If it can't be used.
    """
    return Storage.at(url).url


def check_folder(folder: str) -> str:
    """Return a folder of this machine as it is.

    Raises:
        ValueError: If it is a URL.
    """
    if is_url(folder):
        raise ValueError(
            "`cache.root` must be a folder of this machine, but got a URL; set cache.store to it"
        )
    return folder


Place = Annotated[str, AfterValidator(check_place)]
"""A path or a URL."""


class Section(BaseModel):
    """A frozen group of keys; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
