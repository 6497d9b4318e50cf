"""Errors that a user can act on: what must hold, what came instead, what to do."""


class RocoreError(Exception):
    """Base of every error that this project raises on purpose; the command line prints it without a traceback."""

    exit_code = 2


class ConfigError(RocoreError, ValueError):
    """A configuration key, value or combination that can't be used."""


class DataError(RocoreError, ValueError):
    """A data file, instance or split that can't be used; names the file and the line or instance."""


class EncoderError(RocoreError, ValueError):
    """An encoder that can't be found or whose architecture isn't supported."""


class CacheError(RocoreError, RuntimeError):
    """A trunk cache entry that can't be built."""


class BrokenEntryError(CacheError):
    """A trunk cache entry that isn't there or isn't whole; it is built anew where it is needed."""


class CheckpointError(RocoreError, RuntimeError):
    """A checkpoint or run directory that is absent, torn or belongs to another configuration."""


class UnreadableError(CheckpointError):
    """A checkpoint that is there, but that this user may not read; no other one is taken in its place."""


class DivergedError(RocoreError, RuntimeError):
    """Training met a loss that isn't a finite number."""

    exit_code = 3


class DeviceError(RocoreError, RuntimeError):
    """A device that has failed for this process: whatever it is asked for next fails, too; a new process may use it."""

    exit_code = 1


class DiskFullError(RocoreError, OSError):
    """A file that can't be written, most often because no space is left; what stands on disk is whole."""

    exit_code = 1


class StorageError(RocoreError, RuntimeError):
    """An object store that can't be reached, or holds something else than it should."""

    exit_code = 4


class StorageAwayError(StorageError):
    """A place named by URL that couldn't be reached for as long as it was asked."""


class SweepError(RocoreError, RuntimeError):
    """A sweep that ended without a result: every trial failed, or what runs the trials was lost."""

    exit_code = 1


class ReportError(RocoreError, RuntimeError):
    """A report that lacks a part, by a mistake of this program; the rest of it is whole."""

    exit_code = 1


class SweepInterrupted(RocoreError, RuntimeError):  # noqa: N818 - nothing went wrong
    """A sweep that was stopped on purpose and can be resumed."""

    exit_code = 130
