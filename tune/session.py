"""One session of a sweep or an experiment: prepared once, then its steps from the ledger's state to the end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rocore.config import Section, dump_config
from tune.config import ResourcesConfig
from tune.journal import FILE
from tune.ledger import Ledger
from tune.records import read_records
from tune.resumption import check_unchanged, resumable
from tune.sweep_directory import CONFIG

Echo = Callable[[str], None]


class HasWarnings(Protocol):
    """What a preparation returns."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the data's checks say."""


F = TypeVar("F", bound=HasWarnings)
R_co = TypeVar("R_co", covariant=True)


class Steps(Protocol[R_co]):
    """The steps of a session, in their order; each takes from the ledger what is done, and does the rest."""

    def begin(self) -> None:
        """Write down what this is, or check that it is still the same."""

    def settle(self) -> None:
        """Settle what the machines decide; Ray is up from here on."""

    def train(self) -> None:
        """Run all trials; Ray is up."""

    def conclude(self) -> R_co:
        """Judge and report."""

    def write_partial(self) -> None:
        """Report what is known, at a stop."""


def prepare_once(resources: ResourcesConfig, prepare: Callable[[], F], what: str, echo: Echo) -> F:
    """Prepare what all trials share, and tell its warnings.

    Args:
        resources: What Ray will be given.
        prepare: Does it.
        what: What is prepared, for the user.
        echo: Told what begins.
    """
    from tune import ray_backend

    ray_backend.check_temporary(resources)
    echo(f"preparing {what}")
    facts = prepare()
    for warning in facts.warnings:
        echo(f"note: {warning}")
    return facts


def begun_precision(root: Path) -> str | None:
    """Return the precision that the trials of a directory compute in; None where none has been settled."""
    return read_records(root).precision if (root / FILE).is_file() else None


def run_steps(steps: Steps[R_co], ledger: Ledger, resources: ResourcesConfig, echo: Echo) -> R_co:
    """Take the steps, those that train with Ray; a stop or a full disk leaves what can be resumed.

    Raises:
        SweepInterrupted: If it was stopped.
        DiskFullError: If no space is left.
        RocoreError: What a step raises.
    """
    from tune import ray_backend

    directory = ledger.directory
    with resumable(directory, steps.write_partial):
        steps.begin()
        echo("starting Ray")
        with ray_backend.ray_session(resources, directory.root / "ray"):
            steps.settle()
            steps.train()
        return steps.conclude()


def write_begin(
    ledger: Ledger,
    config: Section,
    environment: Mapping[str, Any],
    same: Mapping[str, Mapping[str, Any]],
    *,
    may_grow: bool = False,
    **more: Any,
) -> None:
    """Write down what begins, or check that what goes on is still the same.

    Args:
        ledger: Is told.
        config: The resolved file.
        environment: Of this session.
        same: What must not change: values by file or part.
        may_grow: Whether more of them may come.
        more: What else the journal keeps.

    Raises:
        ConfigError: If data or encoder have changed since it began.
    """
    check_unchanged(ledger, same, may_grow=may_grow)
    ledger.directory.write_text(CONFIG, dump_config(config))
    ledger.directory.write_json("environment.json", environment)
    ledger.begin({**more, **same})
    if may_grow:
        ledger.grow(same)
