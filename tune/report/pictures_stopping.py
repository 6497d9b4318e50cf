"""The picture of early stopping: how soon the ranking of the trials was the final one."""

from tune.report.contents import Cell, Picture, table
from tune.report.learning_curves import Agreement, agreements, rungs
from tune.report.numbers import score, signed
from tune.report.pictures_search import whole_numbers
from tune.report.results import Results
from tune.report.svg import BEST, CARD, MUTED, PAPER, drawing, legend_above


def agreement_picture(results: Results) -> Picture | None:
    """Draw how many pairs of trials stood in their final order after each joint epoch, and ASHA's rungs."""
    found = agreements(results)
    if not found:
        return None
    levels = rungs(results)
    with drawing("agreement", height=2.8) as drawn:
        axes = drawn.axes
        epochs = [agreement.joint_epoch for agreement in found]
        axes.plot(epochs, [agreement.concordant for agreement in found], "o-", color=BEST, markersize=4)
        axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=":", label="chance")
        at_rungs = [agreement for agreement in found if agreement.joint_epoch in levels]
        if at_rungs:
            axes.plot(
                [agreement.joint_epoch for agreement in at_rungs],
                [agreement.concordant for agreement in at_rungs],
                "D",
                color=PAPER,
                markeredgecolor=CARD,
                markersize=9,
                label="rung",
            )
        whole_numbers(axes)
        axes.set_ylim(-0.03, 1.05)
        axes.set_xlabel("Joint epoch")
        axes.set_ylabel("Pairs in final order")
        legend_above(axes)
    num_trials = found[0].num_compared
    num_pairs = num_trials * (num_trials - 1) // 2
    return Picture(
        name="agreement",
        title="How soon the ranking was right",
        caption=f"Share of the {num_pairs} pairs of the {num_trials} complete trials that stood in their final order. "
        "What the stopped trials would have scored isn't known, so that the figure is about those that went on.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(
            (
                "Joint epoch",
                "Rung",
                "Trials there",
                "Stopped there",
                "Compared",
                "Pairs agreeing",
                "Kendall's τ",
            ),
            [_row(agreement, levels) for agreement in found],
            2,
            tones=["paper" if agreement.joint_epoch in levels else "" for agreement in found],
        ),
    )


def _row(agreement: Agreement, levels: list[int]) -> tuple[object, ...]:
    return (
        str(agreement.joint_epoch),
        "yes" if agreement.joint_epoch in levels else "",
        str(agreement.num_reached),
        str(agreement.num_stopped),
        str(agreement.num_compared),
        Cell(f"{agreement.concordant:.0%}", repr(agreement.concordant)),
        Cell(signed(agreement.tau), repr(agreement.tau)) if agreement.tau is not None else score(None),
    )
