"""What TensorBoard shows of a sweep: one run a trial with short names, and the table of hyper-parameters."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rocore
from tune.names import run_name, short_keys
from tune.tensorboard_events import EventFile

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams.summary_v2 import (  # type: ignore[import-untyped]
        Discrete,
        HParam,
        IntInterval,
        RealInterval,
    )

FOLDER = "tensorboard"
SUFFIX = ".hparams"
"""Ends the event files of `write_hparams`, so that writing again replaces them."""
OBJECTIVE = "search/objective"
FINAL_METRIC = "novel_test.b3_f1"
FINAL_MEAN, FINAL_STD = "final/b3_f1_mean", "final/b3_f1_std"


class TrialLogger:
    """The curves of one trial: one run under DIR/tensorboard, named by the trial and its parameters."""

    def __init__(self, directory: Path, name: str, params: Mapping[str, object] | None) -> None:
        """Open the run.

        Args:
            directory: The sweep directory.
            name: `0003` for a search trial, `paper-seed7` for a run of the final comparison.
            params: Searched values by dotted key; None: the name is the whole of the run's.
        """
        self.folder = directory / FOLDER / (name if params is None else run_name(name, params))
        self._file = EventFile(self.folder)

    def log(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of an epoch under their own names, such as `objective` or `loss/pair`."""
        self._file.add_scalars(scalars, epoch)

    def close(self) -> None:
        """Let go of the run."""
        self._file.close()


def write_hparams(directory: Path, results: Mapping[str, Any]) -> None:
    """Write the table of hyper-parameters: searched values, objective, final comparison.

    A trial's own run carries its row, so that there are no other runs than the trials. Writing again replaces
    the table.

    Args:
        directory: The sweep directory.
        results: What results.json holds.
    """
    root = _cleared(directory)
    search = results.get("search") or {}
    space, trials = search.get("space") or {}, search.get("trials") or []
    if not trials:
        return
    hparams = _hparams(space)
    _write_experiment(root, list(hparams.values()), (results.get("objective") or {}).get("stamp"))
    final = {_identity(entry["params"]): entry for entry in results.get("final") or []}
    for trial in trials:
        row = final.get(_identity(trial["params"]))
        _write_trial(root / run_name(f"{trial['number']:04d}", trial["params"]), trial, hparams, row)


@dataclass(frozen=True)
class TableRow:
    """A run's row in the table of hyper-parameters.

    Attributes:
        run: The run's name, which is its folder below `FOLDER`; it carries the metrics already.
        values: Hyper-parameters by name; every row has the same names.
    """

    run: str
    values: Mapping[str, object]
    failed: bool


def write_table(directory: Path, rows: Sequence[TableRow], metrics: Sequence[str]) -> None:
    """Write the table of hyper-parameters of runs whose curves are there, in place of an older one.

    Args:
        directory: Holds the folder of all runs.
        rows: One a run.
        metrics: Columns: tags of the runs' scalars.
    """
    from tensorboard.plugins.hparams.summary_v2 import (
        Discrete,
        HParam,
        Metric,
        hparams_config_pb,
        hparams_pb,
    )

    root = _cleared(directory)
    if not rows:
        return
    values = {name: list(dict.fromkeys(_choice(row.values[name]) for row in rows)) for name in rows[0].values}
    hparams = {
        name: HParam(name, Discrete(_of_one_type([value for value in found if value is not None])))
        for name, found in values.items()
        if any(value is not None for value in found)
    }
    columns = [Metric(metric, display_name=metric) for metric in metrics]
    _write(root, [hparams_config_pb(hparams=list(hparams.values()), metrics=columns)], {})
    for row in rows:
        named = {hparam: _of_domain(_choice(row.values[name]), hparam) for name, hparam in hparams.items()}
        shown = {hparam: value for hparam, value in named.items() if value is not None}
        _write(root / row.run, [hparams_pb(shown, trial_id=row.run), _end(failed=row.failed)], {})


def _choice(value: object) -> object:
    """Return a value that a set can hold."""
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _cleared(directory: Path) -> Path:
    """Remove the table that stands there, and return where runs lie."""
    root = directory / FOLDER
    for stale in root.glob(f"**/events.*{SUFFIX}"):
        stale.unlink()
    return root


def _hparams(space: Mapping[str, Mapping[str, Any]]) -> "dict[str, HParam]":
    from tensorboard.plugins.hparams.summary_v2 import HParam

    names = short_keys(space)
    return {key: HParam(names[key], _domain(dimension), description=key) for key, dimension in space.items()}


def _domain(dimension: Mapping[str, Any]) -> "Discrete | IntInterval | RealInterval":
    from tensorboard.plugins.hparams.summary_v2 import Discrete, IntInterval, RealInterval

    if dimension["distribution"] == "categorical":
        return Discrete(_of_one_type(dimension["choices"]))
    if dimension["distribution"] == "integer":
        return IntInterval(int(dimension["low"]), int(dimension["high"]))
    return RealInterval(float(dimension["low"]), float(dimension["high"]))


def _of_one_type(choices: Sequence[Any]) -> list[Any]:
    """TensorBoard takes choices of one type; mixed ones become text."""
    kinds = {type(choice) for choice in choices}
    if kinds <= {int, float}:
        return [float(choice) for choice in choices]
    return list(choices) if kinds == {bool} else [rocore.shown(str(choice)) for choice in choices]


def _of_domain(value: object, hparam: "HParam") -> object:
    """Return a value of its domain's type."""
    kind: type = hparam.domain.dtype
    if kind is str:
        return rocore.shown(str(value))
    converted: object = kind(value) if value is not None else None
    return converted


def _identity(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _write_experiment(root: Path, hparams: "Sequence[HParam]", stamp: str | None) -> None:
    from tensorboard.plugins.hparams.summary_v2 import Metric, hparams_config_pb

    note = f" ({stamp})" if stamp else ""
    metrics = [
        Metric(
            OBJECTIVE, display_name=f"objective{note}", description="what the search maximized, last epoch"
        ),
        Metric(
            FINAL_MEAN, display_name=f"final B3 F1{note}", description="novel test, mean over the fresh seeds"
        ),
        Metric(
            FINAL_STD, display_name="final B3 F1, std", description="novel test, over the fresh seeds (n-1)"
        ),
    ]
    _write(root, [hparams_config_pb(hparams=hparams, metrics=metrics)], {})


def _write_trial(
    folder: Path,
    trial: Mapping[str, Any],
    hparams: "Mapping[str, HParam]",
    final: Mapping[str, Any] | None,
) -> None:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    params = {key: value for key, value in trial["params"].items() if key in hparams}
    row = {hparams[key]: _of_domain(value, hparams[key]) for key, value in params.items()}
    start = hparams_pb({key: value for key, value in row.items() if value is not None}, trial_id=folder.name)
    figures = ((final or {}).get("metrics") or {}).get(FINAL_METRIC) or {}
    scalars = {
        OBJECTIVE: trial.get("objective"),
        FINAL_MEAN: figures.get("mean"),
        FINAL_STD: figures.get("std"),
    }
    _write(folder, [start, _end(failed=trial.get("state") == "failed")], scalars)


def _end(*, failed: bool) -> "Summary":
    """Return the end of a row; without it the table says that the trial is still running."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import (  # type: ignore[import-untyped]
        api_pb2,
        metadata,
        plugin_data_pb2,
    )

    status = api_pb2.Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
    content = plugin_data_pb2.HParamsPluginData(
        session_end_info=plugin_data_pb2.SessionEndInfo(status=status)
    )
    kind = metadata.create_summary_metadata(content)
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=kind, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _write(folder: Path, summaries: "Sequence[Summary]", scalars: Mapping[str, float | None]) -> None:
    file = EventFile(folder, SUFFIX)
    for summary in summaries:
        file.add(summary)
    finite = {tag: value for tag, value in scalars.items() if value is not None and math.isfinite(value)}
    if finite:
        file.add_scalars(finite, 0)
    file.close()
