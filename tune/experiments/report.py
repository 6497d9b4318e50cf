"""The report of an experiment, rebuilt from its directory alone."""

import shlex
from functools import partial
from pathlib import Path

from tune.experiments.results import ComparisonSummary, ExperimentResults, SettingSummary
from tune.report import build_sections, write_or_remove
from tune.report.contents import Block, Cell, Code, Figure, Paragraph, Report, Section, table
from tune.report.exports import csv_text
from tune.report.html import render_html
from tune.report.latex import latex_table
from tune.report.markdown import render_markdown
from tune.report.numbers import NO_NUMBER, interval, mean_std, p_value, score, signed
from tune.report.pictures_final import title_of
from tune.report.results import Results
from tune.report.sections_final import banners, comparison_blocks, too_short
from tune.report.sections_provenance import cite_section, data_blocks, environment_section, flatten
from tune.statistics import verdict_text

MAX_FIGURES = 6
OTHER_DATA = "other data"
HIDDEN = "Relations that are called novel here are known ones, which were hidden (`data.pseudo_novel`)."


def write_experiment_report(directory: Path) -> tuple[str, ...]:
    """Write report.html, report.md, report.tex and results.csv.

    Args:
        directory: Holds results.json; config.yaml is optional.

    Returns:
        What the report lacks by a mistake of this program, and why.

    Raises:
        CheckpointError: If results.json is absent, torn or of another kind or version.
    """
    results, config = ExperimentResults.read(directory), directory / "config.yaml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    view = results.view(directory.resolve().name, text)
    report = build_experiment_report(results, view)
    write_or_remove(directory / "results.csv", runs_csv(results))
    write_or_remove(directory / "report.md", render_markdown(report))
    write_or_remove(
        directory / "report.tex", latex_table(*map(partial(_part, results), results.each_data_set))
    )
    write_or_remove(directory / "report.html", render_html(report))
    return report.faults


def build_experiment_report(results: ExperimentResults, view: Results) -> Report:
    """Return the contents of the report."""
    sections = build_sections(
        (
            *(
                (_titled("Settings", data_set), partial(_settings_section, results, data_set))
                for data_set in results.each_data_set
            ),
            ("Paired comparison", partial(_comparison_section, results)),
            ("Runs", partial(_runs_section, results)),
            ("Data", partial(_data_section, results)),
            ("Environment", partial(environment_section, view)),
            ("How to use it", partial(_use_section, results, view.directory_name)),
            ("How to cite the method", cite_section),
        )
    )
    formats = dict.fromkeys(str(entry.get("format", "")) for entry in results.data)
    return Report(
        title=results.name,
        subtitle=" · ".join((results.created, *formats, *results.encoders)),
        banners=(*_unfinished(results), *banners(view)),
        verdict=" ".join(verdicts(results)),
        figures=_figures(results),
        notes=(*[HIDDEN] * any("num_hidden_relations" in entry for entry in results.data), *too_short(view)),
        sections=sections,
        kind="experiment",
        files="results.json and results.csv",
    )


def verdicts(results: ExperimentResults) -> list[str]:
    """Return sentences on what the comparison shows.

    For each data set one a setting that differs and one on all others, then one on failures.
    """
    found = []
    for data_set in results.each_data_set:
        on = "" if data_set is None else f"On {data_set}: "
        found += [f"{on}{sentence}" for sentence in _verdicts_on(results, data_set)]
    if results.reference is None:
        found.append("Nothing was compared: `reference` names no setting.")
    if results.failed:
        found.append(f"{len(results.failed)} of {len(results.runs)} runs failed, and don't count.")
    return found or [f"There is nothing to compare {results.reference} with."]


def _verdicts_on(results: ExperimentResults, data_set: str | None) -> list[str]:
    found, alike, apart = [], [], []
    for setting in results.on(data_set):
        name, compared = setting.setting, setting.against_reference
        if not setting.shares_data:
            apart.append(name)
        elif compared is not None and compared.comparison.significant:
            reference = str(results.reference)
            found.append(verdict_text(name, reference, title_of(results.metric), compared.comparison))
        elif compared is not None:
            alike.append(name)
    if alike:
        found.append(f"No significant difference to {results.reference}: {', '.join(alike)}.")
    if apart:
        found.append(
            f"Not compared, as their data are others than {results.reference}'s: {', '.join(apart)}."
        )
    return found


def _titled(title: str, data_set: str | None) -> str:
    return title if data_set is None else f"{title} on {data_set}"


def _part(results: ExperimentResults, data_set: str | None) -> Results:
    return results.view(data_set=data_set)


def runs_csv(results: ExperimentResults) -> str:
    """Return one row a run, with exact numbers."""
    params = {(setting.setting, setting.data_set): setting.params for setting in results.settings}
    with_data = bool(results.data_sets)
    keys = list(dict.fromkeys(key for each in params.values() for key in each))
    metrics = list(dict.fromkeys(metric for run in results.runs for metric in run.metrics))
    header = [
        "setting",
        *["data_set"] * with_data,
        "seed",
        "state",
        "epochs",
        "seconds",
        "stop_reason",
        *metrics,
        *keys,
        "error",
    ]
    rows = [
        [
            run.setting,
            *[run.data_set] * with_data,
            run.seed,
            run.state,
            run.epochs,
            run.seconds,
            run.stop_reason,
            *(run.metrics.get(metric) for metric in metrics),
            *(params[run.setting, run.data_set][key] for key in keys),
            run.error,
        ]
        for run in results.runs
    ]
    return csv_text(header, rows)


def _unfinished(results: ExperimentResults) -> tuple[str, ...]:
    if results.status == "complete":
        return ()
    done, total = (
        sum(run.state != "running" for run in results.runs),
        len(results.settings) * len(results.seeds),
    )
    return (f"Stopped before its end: {done} of {total} runs are done. The figures are of those.",)


def _figures(results: ExperimentResults) -> tuple[Figure, ...]:
    shown = [
        setting
        for setting in results.settings
        if setting.setting == results.reference or len(results.settings) <= MAX_FIGURES
    ]
    return tuple(
        Figure(
            _titled(setting.setting, setting.data_set),
            mean_std(summary.model_dump()) if (summary := setting.metrics.get(results.metric)) else NO_NUMBER,
            f"{title_of(results.metric)}, mean ± std of {len(setting.seeds)} of {len(results.seeds)} seeds",
            "paper" if setting.setting == results.reference else "",
        )
        for setting in shown
    )


def _settings_section(results: ExperimentResults, data_set: str | None) -> Section:
    intro = Paragraph(
        "Every setting was trained anew with each seed, on the same data where its keys don't change them. Mean ± "
        "standard deviation (n-1) over the seeds that finished."
    )
    title, blocks = _titled("Settings", data_set), comparison_blocks(_part(results, data_set))
    return Section(title.lower().replace(" ", "-"), title, (intro, *blocks))


def _comparison_section(results: ExperimentResults) -> Section | None:
    if results.reference is None:
        return None
    columns = (
        "Setting",
        "Difference",
        "95% interval",
        "p (Holm)",
        "Probably better",
        "Better on",
        "Pairs",
        "Detectable",
    )
    metric = title_of(results.metric)
    tables = [
        table(
            columns,
            [
                (setting.setting, *_comparison_cells(setting))
                for setting in results.on(data_set)
                if setting.setting != results.reference
            ],
            caption="" if data_set is None else f"On {data_set}",
        )
        for data_set in results.each_data_set
    ]
    text = (
        f"{metric} of each setting minus that of {results.reference}, of the same seed: Student's t over the pairs. "
        "Intervals and p values are corrected for all comparisons (Holm); the probability is not. Detectable is the "
        "true difference that so many seeds of this spread see four times in five."
    )
    return Section("comparison", "Paired comparison", (Paragraph(text), *tables))


def _comparison_cells(setting: SettingSummary) -> tuple[object, ...]:
    compared = setting.against_reference
    if compared is None:
        return (OTHER_DATA, *[NO_NUMBER] * 6)
    better, seen = compared.probability_better, compared.detectable
    return (
        Cell(signed(compared.difference), repr(compared.difference)),
        interval(list(compared.ci95) if compared.ci95 else None, plus=True),
        Cell(p_value(compared.p_value), repr(compared.p_value)),
        NO_NUMBER if better is None else Cell(f"{better:.0%}", repr(better)),
        _better_on(compared),
        str(compared.num_pairs),
        NO_NUMBER if seen is None else Cell(score(seen), repr(seen)),
    )


def _better_on(compared: ComparisonSummary) -> str:
    return f"{compared.num_better} of {compared.num_pairs}"


def _runs_section(results: ExperimentResults) -> Section:
    with_data = bool(results.data_sets)
    rows = [
        (
            run.setting,
            *[run.data_set] * with_data,
            str(run.seed),
            Cell(run.state, "", "bad" if run.state == "failed" else ""),
            str(run.epochs),
            score(run.metrics.get(results.metric)),
            run.stop_reason or "",
        )
        for run in results.runs
    ]
    columns = (
        *("Setting", *["Data set"] * with_data, "Seed", "State", "Epochs"),
        *(title_of(results.metric), "Stopped by"),
    )
    return Section("runs", "Runs", (table(columns, rows, 3 + with_data, num_text_last=1),))


def _data_section(results: ExperimentResults) -> Section:
    blocks: list[Block] = []
    for entry in results.data:
        if len(results.data) > 1:
            blocks.append(Paragraph(f"Of {', '.join(entry['settings'])}:"))
        described = {key: value for key, value in entry.items() if key != "settings"}
        blocks += data_blocks(described, synthetic=results.synthetic)
    history = {"sessions": results.history.get("sessions", 0), **results.history}
    blocks.append(table(("How it ran", ""), flatten(history), 2))
    return Section("data", "Data", tuple(blocks))


def _use_section(results: ExperimentResults, name: str) -> Section:
    where, first = shlex.quote(name), results.runs[0].name if results.runs else "SETTING-seed0"
    commands = (
        "# use or judge one of the models",
        f"rocore predict {where}/runs/{first} NEW_SENTENCES.jsonl",
        f"rocore evaluate {where}/runs/{first}",
        "",
        "# build this report again, from the directory alone",
        f"rocore report {where}",
        "",
        "# curves and the table of hyper-parameters",
        f"tensorboard --logdir {where}/tensorboard",
    )
    text = Paragraph(f"The commands are run where the folder {name}/ lies.")
    return Section("use", "How to use it", (text, Code("\n".join(commands))))
