"""A plan for reading."""

from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rocore import shown
from tune.plan import Plan, size_text


def render(plan: Plan) -> RenderableType:
    """Return the tables that `rocore sweep --dry-run` prints."""
    return Group(_layers(plan), _totals(plan))


def hours_text(seconds: float) -> str:
    """Return a time for reading, to about two digits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def as_tree(plan: Plan) -> dict[str, object]:
    """Return everything in it, times in seconds, sizes in bytes."""
    return {**asdict(plan), "wall_s": plan.wall_s}


def _layers(plan: Plan) -> Table:
    table = Table(title="one epoch of a search trial, measured", title_justify="left")
    for column in ("encoder", "output layer", "pre-training", "joint", "trunk on disk"):
        table.add_column(column, justify="left" if column == "encoder" else "right")
    for layer in plan.layers:
        table.add_row(
            Text(shown(layer.encoder)),
            str(layer.output_layer),
            f"{layer.pretrain_epoch_s:.2f} s",
            f"{layer.joint_epoch_s:.2f} s",
            f"{size_text(layer.cache_bytes)}{' (there already)' if layer.cached else ''}",
        )
    return table


def _totals(plan: Plan) -> Table:
    table = Table(title="the whole sweep, expected", title_justify="left", show_header=False)
    stops = f", stopped early at {', '.join(map(str, plan.rungs))}" if plan.rungs else ", none stopped early"
    rows = {
        "search": f"{plan.num_trials} trials, {at_once_text(plan.num_concurrent, plan.pack)}",
        "joint epochs of the search": f"about {plan.joint_epochs:.0f} of at most {plan.max_joint_epochs}{stops}",
        "pre-training epochs": str(plan.pretrain_epochs),
        "race": f"at most {plan.num_race_runs} runs to the last epoch",
        "final comparison": f"at most {plan.num_final_runs} runs to the last epoch",
        "wall time": f"about {hours_text(plan.wall_s)}: "
        f"trunks {hours_text(plan.prepare_s)}, search {hours_text(plan.search_s)}, "
        f"race at most {hours_text(plan.race_s)}, final comparison {hours_text(plan.final_s)}",
        "CPU-hours": f"{plan.cpu_hours:.2f}",
        "GPU-hours": f"{plan.gpu_hours:.2f}",
        "disk": f"trunk cache {size_text(plan.cache_bytes)}, sweep directory {size_text(plan.out_bytes)}",
        "memory": f"{size_text(plan.trial_memory_bytes)} a trial, {size_text(plan.memory_bytes)} together",
    }
    if plan.limits:
        rows = {"limits of the search": _limits(plan), **rows}
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _limits(plan: Plan) -> str:
    given = ", ".join(f"search.{key} = {most:g}" for key, most in plan.limits.items())
    if plan.ended_by is not None:
        return f"{given}; search.{plan.ended_by} ends it after about {plan.num_expected} of {plan.num_trials} trials"
    if set(plan.limits) == {"stop_after"}:
        return given
    return f"{given}; all {plan.num_trials} trials are expected to fit into that"


def at_once_text(num_concurrent: int, pack: int) -> str:
    """Say how many trials, or packs of them, run at once."""
    if pack == 1:
        return f"{num_concurrent} at once"
    return (
        f"{num_concurrent} pack(s) of up to {pack} at once; a pack is taken to need as long as its "
        "trials one after the other (so measured on CPUs; a GPU should be faster)"
    )
