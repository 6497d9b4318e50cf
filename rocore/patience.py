"""What of an object store's failures is worth waiting for, for how long, and what is said in the end.

What fails for a while (no connection, a timeout, an answer of 5xx) is tried again for `PATIENCE_S`, with growing
pauses; what would fail again (no permission, no such bucket) is an error at once. No message holds credentials.
"""

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

from rocore.errors import DiskFullError, StorageAwayError, StorageError

PATIENCE_S = 180.0
"""How long a store may be away before that is an error, counted from the first failure of one action."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0
LONG_S = 60.0
"""An attempt that fails after so long had a store to talk to: patience begins anew."""
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SHORTEST_SECRET = 8
"""What is shorter may be a part of any word."""
TRANSIENT = {
    "NETWORK_CONNECTION",
    "INTERNAL_FAILURE",
    "SLOW_DOWN",
    "SERVICE_UNAVAILABLE",
    "THROTTLING",
    "REQUEST_TIMEOUT",
}
"""Names that pyarrow gives to those errors of S3 that pass."""
log = logging.getLogger(__name__)
Result = TypeVar("Result")


def patiently(url: str, what: str, action: Callable[[], Result]) -> Result:
    """Do something with a store, again and again while it is away, for `PATIENCE_S`.

    Args:
        url: The store, for messages.
        what: Completes "it must be possible to ...", for messages.
        action: May be done several times.

    Raises:
        StorageError: If it can't be done; a StorageAwayError if that may be another time.
        DiskFullError: If the disk here is full.
    """
    away_since: float | None = None
    pause = FIRST_PAUSE_S
    while True:
        began = time.monotonic()
        try:
            return action()
        except OSError as error:
            now, reason = time.monotonic(), without_secrets(str(error))
            if not _is_transient(error):
                raise _final(error, url, what, reason) from None
            if away_since is None or now - began > LONG_S:
                log.warning("%s is away (%s); it is asked for %g s", url, reason, PATIENCE_S)
                away_since, pause = now, FIRST_PAUSE_S
            if now - away_since + pause > PATIENCE_S:
                raise StorageAwayError(
                    f"it must be possible to {what} in {url}, but {reason}; it was asked for {PATIENCE_S:g} s: check "
                    "the address, the network and the server, and try again"
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _final(error: OSError, url: str, what: str, reason: str) -> StorageError | DiskFullError:
    said = f"it must be possible to {what} in {url}, but {reason}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError(f"{said}; free some space and try again")
    return StorageError(f"{said}; check the name, and the credentials in use")


def _is_transient(error: OSError) -> bool:
    """Errors of S3 and GCS carry no number but in their text; those of a mounted file system do."""
    if error.errno is not None or isinstance(error, FileNotFoundError | PermissionError):
        return isinstance(error, ConnectionError | TimeoutError)
    text = str(error)
    if status := re.search(r"HTTP status (\d+)", text):
        return int(status[1]) >= 500 or int(status[1]) in {408, 429}
    if named := re.search(r"AWS Error ([A-Z_]+)", text):
        return named[1] in TRANSIENT
    return re.search(r"PERMISSION_DENIED|UNAUTHENTICATED|NOT_FOUND|INVALID_ARGUMENT", text) is None


def without_secrets(text: str) -> str:
    """Return a text without credentials: those of the environment, and whatever stands in a URL where they would."""
    for name in SECRETS:
        if len(value := os.environ.get(name, "")) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    text = re.sub(r"(://)[^/?#\s]*@", r"\1***@", text)
    return re.sub(
        r"([?&][^=&\s]*(?:key|secret|token|signature|credential)[^=&\s]*=)[^&\s]*", r"\1***", text, flags=re.I
    )
