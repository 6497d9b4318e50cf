"""The process and what it runs in: what libraries are told through the environment, and what it can't do without.

The `rocore` command and each of a sweep's workers tell them: workers on other nodes don't inherit its environment.
"""

import errno
import os
import sys
from pathlib import Path

from rocore.errors import ConfigError, DiskFullError, RocoreError

ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",  # its threads deadlock after a fork, and trials share the cores
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",  # batches differ in shape: the default of 1024 keeps gigabytes
    # Threads that spin for long cost several times their work on shared cores; ones that don't spin at all cost a
    # third of a joint step's time on idle ones. This is some tens of microseconds.
    "GOMP_SPINCOUNT": "20000",
    # Large tensors in huge pages, where the system leaves it to the program: ones of 44 MB, an attention's with
    # bert-base in fp32, come from the system anew each time, in 4 KiB pages a fifth of a joint step's time.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""Read by libraries when they are imported."""


def set_environment() -> None:
    """Set what isn't set yet; libraries that are imported already may not see it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def check_surroundings() -> None:
    """Refuse a process that relative paths mean nothing to.

    Raises:
        ConfigError: If its working directory was removed.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working directory must be there, but {error.strerror}; change to another folder (cd)"
        ) from error


def explain(error: Exception) -> RocoreError | None:
    """Return what users can do about an error of the system; None where that isn't known."""
    if isinstance(error, OSError):
        where = error.filename or "a file"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return ConfigError(
                f"{where} must be open to this user, but: {error.strerror}; have it allowed, or name another place"
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFullError(f"{where} must have room, but: {error.strerror}; free some, then go on")
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return ConfigError(
            "a path with ~, and the cache's by default, needs a home, but this user has none; set HOME, or name "
            "folders in full (the cache's by ROCORE_CACHE or `cache.root`)"
        )
    if isinstance(error, UnicodeEncodeError) and sys.getfilesystemencoding() != "utf-8":
        return ConfigError(
            f"names of files must be {error.encoding} in this locale, but {error.object!r} isn't; set PYTHONUTF8=1"
        )
    return None
