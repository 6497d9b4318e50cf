"""What a sweep's record says about its search: is it reproducible, and how would others have searched?"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rocore
from rocore.errors import CheckpointError
from tune.config import Dimension, Sweep, load_sweep
from tune.journal import FILE, Event, read_events
from tune.optuna_study import Study, quiet_optuna
from tune.ray_scheduler import make_scheduler
from tune.records import Records
from tune.simulation import Method, compare_methods, ray_trial
from tune.space import joint_budget
from tune.surrogate import Curve, Surrogate
from tune.sweep_directory import SweepDirectory, check_is_sweep

NUM_SEEDS = 10
BUDGET = 2
"""Joint epochs of the comparison, in multiples of those that the sweep spent."""
MAX_TITLE = 60
COLORS = {"random": "#777777", "tpe": "#1f6fb2", "gp": "#c2571a"}


@dataclass(frozen=True)
class Agreement:
    """How far a sweep's record follows from its configuration.

    Attributes:
        num_proposals: Asks in the record.
        num_same_proposals: Asks at which the searcher proposes the same again, given what the record held by then.
        num_decisions: Epochs after which the record shows whether the trial was stopped.
        num_same_decisions: Epochs after which early stopping decides the same again.
        first_difference: What differed first; None where nothing did.
    """

    num_proposals: int
    num_same_proposals: int
    num_decisions: int
    num_same_decisions: int
    first_difference: str | None

    @property
    def text(self) -> str:
        """One sentence."""
        same = (
            f"{self.num_same_proposals} of {self.num_proposals} proposals and {self.num_same_decisions} of "
            f"{self.num_decisions} decisions to stop or go on come out the same again"
        )
        return (
            f"{same}; the first difference: {self.first_difference}" if self.first_difference else f"{same}."
        )


def replay_sweep(directory: Path, *, num_seeds: int = NUM_SEEDS, echo: Callable[[str], None]) -> list[str]:
    """Run the search of a sweep directory again on its recorded curves, and other searches on a surrogate of them.

    Writes replay.json and replay.svg into the directory.

    Returns:
        What was found, in lines.

    Raises:
        CheckpointError: If the directory holds no sweep, or too few trials.
    """
    quiet_optuna()
    check_is_sweep(directory)
    rocore.check_folder(directory, "--replay")
    sweep, trials = read_sweep(directory)
    journal = directory / FILE
    agreement = check_record(sweep, read_events(journal)) if journal.exists() else None
    curves = recorded_curves(trials, joint_budget(sweep.search_base, sweep.config.search.space))
    surrogate = Surrogate(sweep, curves)
    budget = BUDGET * sum(len(curve.objectives) for curve in curves)
    regrets = compare_methods(
        sweep,
        surrogate,
        max_epochs=budget,
        seeds=range(num_seeds),
        told=lambda method: echo(f"searched the surrogate by {method}"),
    )
    rows = [_row(method, regret, budget) for method, regret in regrets.items()]
    tree = {
        "record": asdict(agreement) if agreement else None,
        "surrogate": {
            "num_trials": surrogate.num_trials,
            "error": surrogate.error,
            "spread": surrogate.spread,
        },
        "budget_epochs": budget,
        "num_seeds": num_seeds,
        "methods": rows,
    }
    SweepDirectory(directory).write_json("replay.json", tree)
    _draw(regrets, directory / "replay.svg", f"Search on a surrogate of {sweep.config.name}")
    return [
        agreement.text if agreement else f"no {FILE}, so that the order of asks and ends isn't known.",
        f"surrogate of {surrogate.num_trials} trials: error {surrogate.error:.3f} by leaving one trial out, where the "
        f"objectives' own standard deviation is {surrogate.spread:.3f}",
        f"mean regret over {num_seeds} seeds after {budget // BUDGET} and {budget} joint epochs:",
        *(f"  {row['method']:<14} {row['regret_half']:.4f}  {row['regret']:.4f}" for row in rows),
        f"picture: {directory / 'replay.svg'}",
    ]


def read_sweep(directory: Path) -> tuple[Sweep, list[dict[str, Any]]]:
    """Return the sweep of a directory and the trials of its results.json.

    Raises:
        CheckpointError: If it holds no sweep.
    """
    try:
        results = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{directory} must be a sweep directory with results.json, but {error}; let the sweep finish its search"
        ) from error
    return load_sweep(directory / "config.yaml"), list(results["search"]["trials"])


def recorded_curves(trials: Sequence[Mapping[str, Any]], num_epochs: int) -> list[Curve]:
    """Return the joint epochs of the trials that have any and didn't fail.

    A trial that converged is taken to stay where it is, up to `num_epochs`.
    """
    curves = []
    for trial in trials:
        objectives = [row["objective"] for row in trial["curve"] if row["phase"] == "joint"]
        if not objectives or trial["state"] not in ("complete", "pruned"):
            continue
        if trial.get("stop_reason") == "converged":
            objectives += [objectives[-1]] * (num_epochs - len(objectives))
        curves.append(Curve(trial["params"], tuple(objectives)))
    return curves


def check_record(sweep: Sweep, events: Sequence[Event]) -> Agreement:
    """Ask searcher and early stopping for every proposal and decision of a journal again, in its order.

    The space is what it was at each ask. A point of the user's own counts as proposed the same where it was asked as it
    was added.
    """
    changes = [event for event in events if event["event"] == "space"]
    sweep = _searching(sweep, changes[0]["before"]) if changes else sweep
    scheduler, records = make_scheduler(sweep), Records()
    proposals, decisions, differences = [], [], []
    searched: set[str] = set()
    last: dict[str, Event] = {}
    for index, event in enumerate(events):
        name = event.get("name", "")
        if event["event"] == "ask" and event["role"] == "search":
            searched.add(name)
            own = event.get("added")
            point = None if own is None else records.added[own]
            study = Study(sweep, "replay", records.of("search"), records.learned)
            _, params = study.propose(point)
            proposals.append(params == event["params"])
            if not proposals[-1]:
                differences.append(f"{name} was proposed as {event['params']}, but now is {params}")
            scheduler.on_trial_add(None, ray_trial(name))
        elif event["event"] == "space":
            sweep = _searching(sweep, event["space"])
        elif event["event"] == "report" and name in searched:
            last[name] = event
            stops = event["finished"] or scheduler.on_trial_result(None, ray_trial(name), event) == "STOP"
            stopped = event["finished"] or _was_stopped(events[index + 1 :], name)
            if stopped is not None and not event["finished"]:
                decisions.append(stops == stopped)
                if not decisions[-1]:
                    words = "was stopped" if stopped else "went on"
                    differences.append(f"{name} {words} after epoch {event['epoch']}, but now it isn't so")
        elif event["event"] == "end" and name in last and event["state"] != "failed":
            scheduler.on_trial_complete(None, ray_trial(name), last[name])
        records.apply(event)
    return Agreement(
        num_proposals=len(proposals),
        num_same_proposals=sum(proposals),
        num_decisions=len(decisions),
        num_same_decisions=sum(decisions),
        first_difference=differences[0] if differences else None,
    )


def _searching(sweep: Sweep, space: Mapping[str, Any]) -> Sweep:
    """Return a sweep over another space."""
    dimensions = {key: Dimension.model_validate(dimension) for key, dimension in space.items()}
    search = sweep.config.search.model_copy(update={"space": dimensions})
    return replace(sweep, config=sweep.config.model_copy(update={"search": search}))


def plot_regret(axes: Any, regrets: Mapping[Method, NDArray[np.float64]], title: str) -> None:
    """Plot mean regret and its standard error by joint epochs spent into Matplotlib's axes."""
    means = {method: regret.mean(axis=0) for method, regret in regrets.items()}
    for method, mean in means.items():
        error = regrets[method].std(axis=0) / np.sqrt(len(regrets[method]))
        color, style = COLORS[method.searcher], "-" if method.scheduler == "asha" else "--"
        axes.plot(mean, style, color=color, label=str(method), linewidth=1.6)
        axes.fill_between(
            np.arange(len(mean)), mean - error, mean + error, color=color, alpha=0.12, linewidth=0
        )
    early = max(float(mean[len(mean) // 8]) for mean in means.values())
    axes.set(xlabel="joint epochs spent", ylabel="regret of the best complete trial", title=title)
    # Regret before the first complete trial is the optimum itself, and would squeeze the rest.
    axes.set_ylim(0, 1.2 * early or None)
    axes.legend(frameon=False, ncols=3, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _draw(regrets: Mapping[Method, NDArray[np.float64]], path: Path, title: str) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from tune.report.svg import PLAIN_TEXT, label

    with mpl.rc_context(PLAIN_TEXT):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        plot_regret(figure.subplots(), regrets, label(title, MAX_TITLE))
        figure.savefig(path)


def _row(method: Method, regret: NDArray[np.float64], budget: int) -> dict[str, Any]:
    half, end = regret[:, budget // BUDGET], regret[:, budget]
    return {
        "method": str(method),
        "searcher": method.searcher,
        "scheduler": method.scheduler,
        "regret_half": float(half.mean()),
        "regret": float(end.mean()),
        "regret_std": float(end.std(ddof=1)) if len(end) > 1 else None,
    }


def _was_stopped(later: Sequence[Event], name: str) -> bool | None:
    """Tell what the record shows of a trial's next step; None where it shows nothing."""
    following = next((event for event in later if event.get("name") == name), None)
    if following is None or (following["event"] == "end" and following["state"] != "pruned"):
        return None
    return bool(following["event"] == "end")
