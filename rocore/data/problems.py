"""Gather what is wrong, so that everything to repair is told at once."""

from types import TracebackType

from rocore.errors import ConfigError, DataError, EncoderError, RocoreError

SHOWN = 10


class Problems:
    """Errors of data, configuration and encoder: `with problems:` goes on after one, `raise_any` tells them all."""

    def __init__(self, shown: int | None = SHOWN) -> None:
        """Tell at most `shown` of them, and how many more there are; None: all."""
        self._shown = shown
        self._messages: list[str] = []
        self._num = 0
        self._error_class: type[RocoreError] = DataError

    def __bool__(self) -> bool:
        """Return whether anything is wrong."""
        return self._num > 0

    def __enter__(self) -> None:
        """Begin what may fail."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Note an error that the user repairs; any other goes on."""
        if not isinstance(error, ConfigError | DataError | EncoderError):
            return False
        self.note(error)
        return True

    def note(self, error: RocoreError) -> None:
        """Add an error."""
        if not self._num:
            self._error_class = type(error)
        self._num += 1
        if self._shown is None or self._num <= self._shown:  # a file may hold nothing else
            self._messages.append(str(error))

    def raise_any(self) -> None:
        """Raise one error of the first one's class that tells all, if there are any.

        Raises:
            RocoreError: As told.
        """
        if not self._num:
            return
        left_out = self._num - len(self._messages)
        more = [f"and {left_out} more like these"] if left_out else []
        raise self._error_class("\n".join([*dict.fromkeys(self._messages), *more]))
