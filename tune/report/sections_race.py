"""The race: what the search's best configurations scored on shared splits and seeds, and which were dropped."""

from tune.report.contents import Block, Cell, Paragraph, Section, Table, table
from tune.report.numbers import NO_NUMBER, one_line, p_value, score, signed
from tune.report.pictures_final import tone_of
from tune.report.results import Record, Results


def race_section(results: Results) -> Section | None:
    """Build the race; None where there was none."""
    race = results.race
    if not race:
        return None
    blocks: list[Block] = [Paragraph(str(race["text"])), _configurations(results, race)]
    if race["failed"]:
        rows = [(failure["run"], Cell(one_line(failure["error"]), "", "bad")) for failure in race["failed"]]
        blocks.append(table(("Run", "Cause"), rows, 2, caption="Failed runs; each counts as the floor"))
    return Section("race", "The race", tuple(blocks))


def _configurations(results: Results, race: Record) -> Table:
    rows = []
    for entry in race["configurations"]:
        mean, values = entry["mean"], [value for value in entry["values"] if value is not None]
        rows.append(
            (
                entry["name"],
                str(len(values)),
                NO_NUMBER if mean is None else Cell(score(mean), repr(mean)),
                _fate(entry["dropped"]),
            )
        )
    tones = [tone_of(results, entry["name"]) for entry in race["configurations"]]
    caption = (
        "Mean of the search's objective over the shared (split, seed) pairs; "
        f"a configuration is dropped where its p value, corrected within the round, is below {race['alpha']:g}"
    )
    columns = ("Configuration", "Pairs", "Mean", "Dropped")
    return table(columns, rows, caption=caption, tones=tones, num_text_last=1)


def _fate(dropped: Record | None) -> Cell:
    if dropped is None:
        return Cell("no")
    p = p_value(dropped["p_value"])
    p = p if p.startswith("<") else f"= {p}"
    return Cell(
        f"after {dropped['num_pairs']} pairs: {signed(dropped['difference'])} against {dropped['leader']}, p {p}",
        repr(dropped["p_value"]),
    )
