"""Short names of configuration keys, for curves, tables and pictures; names of folders."""

import hashlib
import re
from collections.abc import Iterable, Mapping

SHORT = {
    "loss.center_weight": "lambda",
    "loss.pair_margin": "sigma",
    "incremental.rampup_peak": "mu0",
    "incremental.rampup_epochs": "T",
    "encoder.output_layer": "layer",
}
"""The paper's letters, in ASCII."""
SYMBOLS = {
    "lambda": "\N{GREEK SMALL LETTER LAMDA}",
    "sigma": "\N{GREEK SMALL LETTER SIGMA}",
    "mu0": "μ₀",
    "layer": "layer r",
}
MAX_FILE_NAME = 120
"""Bytes in UTF-8: file systems take 255, and programs add endings of their own."""
DIGEST = 8
"""Characters of a digest that tell cut names apart."""


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return a short name for every dotted key: the paper's letter, the last part, or (if shared) the key."""
    keys = list(keys)
    names = {key: SHORT.get(key, key.rsplit(".", 1)[-1]) for key in keys}
    taken = list(names.values())
    return {key: name if taken.count(name) == 1 else key for key, name in names.items()}


def symbols(keys: Iterable[str]) -> dict[str, str]:
    """Return what a reader is shown for every dotted key."""
    return {key: SYMBOLS.get(name, name) for key, name in short_keys(keys).items()}


def short_value(value: object) -> str:
    """Return a parameter value with three significant digits; integers and names are kept whole."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def run_name(name: str, params: Mapping[str, object]) -> str:
    """Return a folder name such as `0003-lambda=0.005-layer=4`."""
    short = short_keys(params)
    return file_name(
        "-".join([name, *(f"{short[key]}={short_value(value)}" for key, value in params.items())])
    )


def file_name(text: str) -> str:
    """Return text as a name that every file system takes: letters, digits and `.=+-_`, at most `MAX_FILE_NAME` bytes.

    No dot comes first. A name that is cut, never inside a character, ends with a digest of the whole.
    """
    name = re.sub(r"^\.+|[^\w.=+-]+", "_", text) or "_"
    encoded = name.encode()
    if len(encoded) <= MAX_FILE_NAME:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST]
    return f"{encoded[: MAX_FILE_NAME - DIGEST - 1].decode(errors='ignore')}-{digest}"
