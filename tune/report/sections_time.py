"""Early stopping, and where the time went."""

from tune.report.contents import Block, Cell, Paragraph, Pictures, Section, Table, table
from tune.report.learning_curves import MIN_COMPARED
from tune.report.numbers import duration, times
from tune.report.pictures_stopping import agreement_picture
from tune.report.pictures_time import Spent, spent, spent_picture, time_picture
from tune.report.results import Results


def stopping_section(results: Results) -> Section:
    """Build how well the trials' ranking at ASHA's rungs agreed with the final one."""
    picture = agreement_picture(results)
    if picture is not None:
        return Section("stopping", "Early stopping", (Pictures((picture,)),))
    num_complete = len(results.of_state("complete"))
    text = (
        f"Whether early rankings agreed with the final one can be said from {MIN_COMPARED} complete trials that scored "
        f"differently and ran several joint epochs; {num_complete} {'is' if num_complete == 1 else 'are'} complete."
    )
    return Section("stopping", "Early stopping", (Paragraph(text),))


def time_section(results: Results) -> Section:
    """Build where the time went, in hours of what the trials held."""
    parts = spent(results)
    blocks: list[Block] = []
    if results.search.get("seconds") is not None:
        blocks.append(
            Paragraph(f"The search took {duration(results.search['seconds'])} from its start to its end.")
        )
    if history := _history(results):
        blocks.append(Paragraph(history))
    if parts:
        blocks.append(_table(results, parts))
    pictures = (spent_picture(parts), time_picture(results))
    drawn = tuple(picture for picture in pictures if picture is not None)
    if drawn:
        blocks.append(Pictures(drawn))
    return Section("time", "Where the time went", tuple(blocks))


def _history(results: Results) -> str:
    """Say what the sweep went through; nothing where nothing happened."""
    history = results.tree.get("history") or {}
    resumed, lost, with_node = (
        int(history.get("sessions", 1)) - 1,
        int(history.get("lost_processes", 0)),
        int(history.get("lost_with_node", 0)),
    )
    sentences = []
    if resumed > 0:
        sentences.append(f"The sweep was stopped or killed, and resumed, {times(resumed)}.")
    if lost:
        whose = f", {with_node} of them with its node" if with_node else ""
        sentences.append(
            f"A trial lost its process {times(lost)}{whose}, and went on from its checkpoint in another one."
        )
    if learned := int(history.get("learned", 0)):
        sentences.append(f"Its search also learned from {learned} trials of other sweeps.")
    return " ".join(sentences)


def _table(results: Results, parts: list[Spent]) -> Table:
    resources = results.tree.get("resources") or {}
    shares = {
        name: float(resources.get(key) or 0)
        for name, key in (("CPU-hours", "cpus_per_trial"), ("GPU-hours", "gpus_per_trial"))
    }
    shares = {name: share for name, share in shares.items() if share}
    whole = Spent("Sum", sum(part.num_runs for part in parts), sum(part.seconds for part in parts))
    rows = [
        (
            part.name,
            str(part.num_runs),
            Cell(duration(part.seconds), f"{part.seconds} s"),
            f"{part.seconds / whole.seconds:.0%}" if whole.seconds else "",
            *(Cell(f"{(h := part.seconds / 3600 * share):.2f}", repr(h)) for share in shares.values()),
        )
        for part in (*parts, whole)
    ]
    return table(("Spent on", "Runs", "Time", "Share", *shares), rows)
