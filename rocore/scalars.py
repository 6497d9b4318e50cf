"""Where scalars of a run go: TensorBoard, or nowhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class ScalarLogger(Protocol):
    """Takes scalars by short, stable names."""

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Note scalars of one epoch."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class NoLogger:
    """Takes scalars and does nothing."""

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class TensorBoardLogger:
    """Writes an event file; after a resume, what an earlier process wrote beyond the first epoch is purged."""

    def __init__(self, folder: Path, first_epoch: int = 1) -> None:
        """Open an event file in `folder`."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write scalars of one epoch."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
