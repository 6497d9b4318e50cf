"""Parts of a report that can't be made: said in their place and in the log, and no reason to lose the rest.

A report is written at the end of hours. A mistake of this program in one of its pictures must not cost the others.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rocore.errors import RocoreError

log = logging.getLogger(__name__)


@dataclass
class Attempt:
    """How making a part ended.

    Attributes:
        fault: Why it isn't there; empty where it is.
    """

    fault: str = ""


@contextmanager
def attempted(what: str) -> Iterator[Attempt]:
    """Go on after a mistake of this program, which is logged with its traceback and noted.

    Errors that a user can act on, a full disk and a lack of memory are no mistakes of the program, and pass.

    Args:
        what: The part, for the log.
    """
    attempt = Attempt()
    try:
        yield attempt
    except (RocoreError, OSError, MemoryError):
        raise
    except Exception as error:
        attempt.fault = f"{type(error).__name__}: {error}"
        log.warning("%s can't be made, by a mistake of this program; the rest is whole", what, exc_info=True)
