"""The search: what was searched, and how every trial did."""

from tune.limits import describe_tree
from tune.names import short_value, symbols
from tune.report.contents import Block, Cell, Paragraph, Pictures, Section, Table, table
from tune.report.numbers import NO_NUMBER, duration
from tune.report.pictures_pareto import pareto_picture
from tune.report.pictures_search import curves_picture, history_picture, objective_cell, trial_tone
from tune.report.results import Record, Results


def search_section(results: Results) -> Section:
    """Build the search: what was searched, how the trials did, and the table of all trials."""
    blocks: list[Block] = [Paragraph(_summary(results)), _space_table(results)]
    pictures = (history_picture(results), curves_picture(results), pareto_picture(results))
    drawn = tuple(picture for picture in pictures if picture is not None)
    if drawn:
        blocks.append(Pictures(drawn))
    blocks.append(trials_table(results))
    return Section("search", "The search", tuple(blocks))


def _summary(results: Results) -> str:
    search, states = results.search, [trial.get("state") for trial in results.trials]
    scheduler = search.get("scheduler") or {}
    parts = [
        f"{states.count('complete')} complete",
        f"{states.count('pruned')} stopped early",
        f"{states.count('failed')} failed",
    ]
    plural = "trial" if len(states) == 1 else "trials"
    by = f", proposed by {str(search['searcher']).upper()}" if search.get("searcher") else ""
    stopped = (
        f", stopped early by {str(scheduler['name']).upper()}"
        if scheduler.get("name") not in (None, "none")
        else ""
    )
    took = f", in {duration(search['seconds'])}" if search.get("seconds") is not None else ""
    sentences = [f"{len(states)} {plural}{by}{stopped}{took}: {', '.join(parts)}."]
    if search.get("ended_by"):
        sentences.append(f"It ended before its last trial: {describe_tree(search['ended_by'])}.")
    if search.get("earlier_spaces"):
        numbers = ", ".join(str(change["before_trial"]) for change in search["earlier_spaces"])
        sentences.append(
            f"The space was changed before trial {numbers}; {search['num_outside']} trials lie outside what it is now, "
            "and the searcher learned from the others."
        )
    return " ".join(sentences)


def _space_table(results: Results) -> Table:
    names, rows = symbols(results.keys), []
    paper = (results.paper_trial or {}).get("params") or {}
    best = results.best_params or {}
    for key in results.keys:
        dimension = results.space.get(key, {})
        choices = dimension.get("choices")
        reach = (
            ", ".join(short_value(choice) for choice in choices)
            if choices
            else f"{short_value(dimension.get('low'))} … {short_value(dimension.get('high'))}"
        )
        distribution = str(dimension.get("distribution", "")).replace("_", "-")
        values = [
            Cell(short_value(params[key]), repr(params[key])) if key in params else NO_NUMBER
            for params in (paper, best)
        ]
        rows.append((names[key], key, distribution, reach, *values))
    return table(
        ("Parameter", "Key", "Distribution", "Range", "Paper's", "Best"), rows, 4, caption="What was searched"
    )


def trials_table(results: Results) -> Table:
    """Build the table of all trials, with the cause of every failure."""
    keys, names = results.keys, symbols(results.keys)
    any_failed = any(trial.get("error") for trial in results.trials)
    rows = []
    for trial in results.trials:
        params = trial.get("params") or {}
        state = "stopped early" if trial.get("state") == "pruned" else str(trial.get("state"))
        row: list[object] = [
            f"{trial['number']}{_origin(trial)}",
            Cell(state, "", "bad" if state == "failed" else ""),
            objective_cell(trial),
            *(
                Cell(short_value(params[key]), repr(params[key])) if key in params else NO_NUMBER
                for key in keys
            ),
            str(trial.get("epochs", NO_NUMBER)),
            duration(trial.get("seconds")),
        ]
        rows.append(
            [*row, Cell(_first_line(trial.get("error")), trial.get("error") or "", "bad")]
            if any_failed
            else row
        )
    columns = ["Trial", "State", "Objective", *(names[key] for key in keys), "Epochs", "Time"]
    if any_failed:
        columns.append("Cause of failure")
    tones = [
        "" if tone == "bad" else tone for tone in (trial_tone(results, trial) for trial in results.trials)
    ]
    return table(columns, rows, 2, caption="All trials", tones=tones, num_text_last=int(any_failed))


def _origin(trial: Record) -> str:
    if trial.get("is_paper"):
        return " (paper's)"
    return " (added)" if trial.get("is_added") else ""


def _first_line(text: object) -> str:
    lines = str(text or "").strip().splitlines()
    line = lines[0] if lines else ""
    return line if len(line) <= 200 else f"{line[:197]}..."
