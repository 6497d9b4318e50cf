"""The top of the report and the final comparison."""

from tune.names import short_value, symbols
from tune.report.contents import Block, Cell, Figure, Paragraph, Pictures, Section, Table, table
from tune.report.numbers import duration, interval, one_line, p_value, plus_minus, score, signed
from tune.report.pictures_final import differences_picture, seeds_picture, summary_of, title_of, tone_of
from tune.report.results import INCREMENTAL, PAPER, SEVEN, Record, Results

OUT_OF_EPOCHS = "max_epochs"
"""Stop reason of a run whose pseudo labels were still moving."""
NO_FINAL = "The final comparison hasn't run yet."


def banners(results: Results) -> tuple[str, ...]:
    """Return what must not be overlooked."""
    found = []
    if results.stamp:
        found.append(
            f"{results.stamp[:1].upper()}{results.stamp[1:]}: the search read the true relations of the "
            "novel instances. A user of the method doesn't have them; don't compare these numbers with "
            "honest ones."
        )
    if results.tree.get("synthetic"):
        found.append("Synthetic data: the sentences were generated. The numbers say nothing about real text.")
    return tuple(found)


def verdict(results: Results) -> str:
    """Return the one sentence that the report is about."""
    said = results.verdict.get("headline") or results.verdict.get("text")
    if said:
        return str(said)
    best, paper = results.best_trial, results.paper_trial
    if not results.trials:
        return "The search hasn't finished a trial yet."
    if best is None:
        failed = len(results.of_state("failed"))
        return f"No trial finished: {failed} of {len(results.trials)} failed. The table of trials says why."
    if best.get("is_paper"):
        objective = score(best["objective"])
        text = f"The search is done: nothing beat the paper's configuration (objective {objective})."
    else:
        against = f" against {score(paper.get('objective'))} for the paper's configuration" if paper else ""
        text = (
            f"The search is done: trial {best['number']} leads with an objective of "
            f"{score(best['objective'])}{against}, by one run each."
        )
    return f"{text} {results.decision.get('text') or NO_FINAL}"


def figures(results: Results) -> tuple[Figure, ...]:
    """Return the large numbers: best, paper's, difference."""
    if not results.final:
        best, paper = results.best_trial, results.paper_trial
        shown = [("Best trial", best, "best"), ("The paper's configuration", paper, "paper")]
        return tuple(
            Figure(label, score(trial.get("objective")), f"search objective, trial {trial['number']}", tone)
            for label, trial, tone in shown
            if trial is not None
        )
    metric, found = results.metric, []
    for name in dict.fromkeys((results.compared_name, PAPER)):
        entry = results.final_named(name)
        if entry is not None:
            figure = (entry.get("metrics") or {}).get(metric) or {}
            label = _label(results, str(name))
            tone = tone_of(results, str(name)) if name != PAPER else "paper"
            note = f"{title_of(metric)}, mean ± std of {_seeds(figure.get('n') or 0)}"
            found.append(Figure(label, summary_of(entry, metric), note, tone))
    if results.verdict.get("num_pairs") and len(found) == 2:
        compared = results.verdict
        p = p_value(compared.get("p_value"))
        p = p if p.startswith("<") else f"= {p}"
        note = f"95% interval {interval(compared.get('ci95'), plus=True)}, p {p}"
        pairs = compared.get("num_pairs")
        found.append(Figure("Difference", signed(compared["difference"]), f"{note}, {pairs} paired seeds"))
    return tuple(found)


def _label(results: Results, name: str) -> str:
    kept = results.best_name == PAPER
    if name == PAPER:
        return "Kept: the paper's configuration" if kept else "The paper's configuration"
    return f"Runner-up: {name}" if kept else f"Chosen: {name}"


def _seeds(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"


def notes(results: Results) -> tuple[str, ...]:
    """Return what a reader needs to judge the verdict."""
    found = []
    if headline := results.verdict.get("headline"):
        reason = str(results.verdict["text"]).removeprefix(f"{headline}: ")
        found.append(f"{reason[:1].upper()}{reason[1:]}")
    description = results.objective.get("description")
    if description:
        found.append(f"The search maximized: {description}.")
    if results.final and results.decision:
        found.append(
            "The choice was made by that objective alone; the final comparison only measured it, as it reads the "
            "true relations."
        )
    return (*found, *too_short(results))


def too_short(results: Results) -> list[str]:
    """Say where epochs ended before pseudo labels stood still, in the final comparison and in the search."""
    found = []
    final = [reason for entry in results.final for reason in entry.get("stop_reasons") or []]
    if cut := final.count(OUT_OF_EPOCHS):
        found.append(
            f"{cut} of {len(final)} runs on the novel relations ended at `train.max_epochs` before their pseudo "
            "labels stood still: raise it."
        )
    search = [trial["stop_reason"] for trial in results.of_state("complete") if trial.get("stop_reason")]
    if cut := search.count(OUT_OF_EPOCHS):
        found.append(
            f"{cut} of {len(search)} complete trials of the search ended at their last epoch before their pseudo "
            "labels stood still: with a higher `search.max_epochs` their order may be another."
        )
    return found


def final_section(results: Results) -> Section:
    """Build the final comparison."""
    if not results.final:
        text = (
            f"{NO_FINAL} The objective of the search is measured on other relations than the final metrics: "
            "the numbers of the search say which configurations are promising, not how good they are."
        )
        return Section("final", "Final comparison", (Paragraph(text, "warning"),))
    blocks = [
        Paragraph(
            "The best configurations of the search and the paper's, trained anew on the real known and "
            "novel relations with seeds that the search didn't use. Mean ± standard deviation (n-1) over the "
            "seeds that finished."
        )
    ]
    return Section("final", "Final comparison", (*blocks, *comparison_blocks(results)))


def comparison_blocks(results: Results) -> list[Block]:
    """Return the tables and pictures of named configurations over seeds."""
    blocks: list[Block] = [_metric_table(results, metrics, caption) for metrics, caption in _groups(results)]
    blocks += _failures(results)
    pictures = [
        picture for picture in (seeds_picture(results), differences_picture(results)) if picture is not None
    ]
    if pictures:
        blocks.append(Pictures(tuple(pictures)))
    blocks.append(_params_table(results))
    return blocks


def _groups(results: Results) -> list[tuple[list[str], str]]:
    novel = [f"novel_test.{name}" for name in SEVEN]
    groups = [
        (novel, "Novel relations, novel test split"),
        (list(INCREMENTAL), "Incremental: known and novel test instances together"),
        (
            [name for name in results.metrics if name not in novel and name not in INCREMENTAL],
            "Without gold relations",
        ),
    ]
    present = [([name for name in names if name in results.metrics], caption) for names, caption in groups]
    return [(names, caption) for names, caption in present if names]


def _metric_table(results: Results, metrics: list[str], caption: str) -> Table:
    rows = []
    for entry in results.final:
        figures_of = entry.get("metrics") or {}
        values = [_metric(figures_of.get(name)) for name in metrics]
        rows.append((entry["name"], _num_seeds(entry), *values))
    tones = [tone_of(results, entry["name"]) for entry in results.final]
    return table(("Configuration", "Seeds", *map(title_of, metrics)), rows, caption=caption, tones=tones)


def _metric(figures: Record | None) -> Cell:
    mean = (figures or {}).get("mean")
    return Cell(score(mean), "" if mean is None else repr(mean), spread=plus_minus(figures))


def _num_seeds(entry: Record) -> Cell:
    failed = len(entry.get("failed_seeds") or [])
    finished = len(
        set(entry.get("seeds") or []) - {failure["seed"] for failure in entry.get("failed_seeds") or []}
    )
    text = f"{finished} ({failed} failed)" if failed else str(finished)
    return Cell(text, ", ".join(map(str, entry.get("seeds") or [])), "bad" if failed else "")


def _failures(results: Results) -> list[Block]:
    rows = [
        (entry["name"], str(failure["seed"]), Cell(one_line(failure.get("error") or "unknown"), "", "bad"))
        for entry in results.final
        for failure in entry.get("failed_seeds") or []
    ]
    if not rows:
        return []
    return [table(("Configuration", "Seed", "Cause"), rows, 3, caption="Failed seeds; they are in no mean")]


def _params_table(results: Results) -> Table:
    keys, names = results.keys, symbols(results.keys)
    rows = [
        (
            entry["name"],
            *(_value((entry.get("params") or {}).get(key)) for key in keys),
            Cell(duration(entry.get("seconds")), repr(entry.get("seconds"))),
        )
        for entry in results.final
    ]
    tones = [tone_of(results, entry["name"]) for entry in results.final]
    return table(
        ("Configuration", *(names[key] for key in keys), "Time"),
        rows,
        caption="What was compared",
        tones=tones,
    )


def _value(value: object) -> Cell:
    return Cell(short_value(value), repr(value))
