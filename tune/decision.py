"""Which configuration a sweep stands for: the paper's, unless the race calls another one's gain significant.

The paper's configuration is the incumbent. A search of many configurations finds one that looks better by luck alone,
so that a better mean isn't enough. The race decides, on hidden known relations; the final comparison sees novel gold,
and only measures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune.config import Value
from tune.racing import PAIRS, Scores, Standing, row_of
from tune.records import PAPER, TrialRecord
from tune.reevaluation import name_of, rank
from tune.statistics import CONFIDENCE, Comparison, as_json, compare, corrected, figures_text, pairs_to_decide

KEEP = "Keep the paper's configuration"


@dataclass(frozen=True)
class Decision:
    """What a sweep stands for, and why.

    Attributes:
        choice: `paper` or `trial-N`.
        runner_up: The best configuration beside the choice and the paper's; None where there is none.
        comparison: Of the choice or, where that is the paper's, of the runner-up, with the paper's over the race's
            pairs, corrected for all that stood to its end; None without a race.
        pairs_needed: Pairs that would see the runner-up's gain as significant four times in five; None where it has
            no gain, where the choice is another, or above a thousand.
        text: The decision and its reason, in a few sentences.
    """

    choice: str
    runner_up: str | None
    comparison: Comparison | None
    pairs_needed: int | None
    text: str

    @property
    def headline(self) -> str:
        """The decision alone; `text` begins with it, and a colon."""
        return KEEP if self.choice == PAPER else f"Use {self.choice}"


def decide(where: Standing, scores: Scores, alpha: float) -> Decision:
    """Decide by a race that is over.

    Every candidate that stood to the end is compared with the paper's configuration, by a paired t-test over all
    pairs, corrected by Holm's rule for those comparisons. Those that were dropped aren't counted: by
    `benchmarks.paired_tests` equal configurations still replace the paper's in fewer than `alpha` of races, and a true
    gain is found more often.

    Args:
        where: How the race ended.
        scores: What everybody scored in it.
        alpha: Level of the tests.
    """
    candidates = [name for name in where.survivors if name != PAPER]
    theirs = row_of(PAPER, where.num_pairs, scores)
    compared = corrected([compare(row_of(name, where.num_pairs, scores), theirs) for name in candidates])
    for name, comparison in zip(candidates, compared, strict=True):  # best mean first
        gain, p_value = comparison.difference or 0.0, comparison.p_value
        if gain > 0 and p_value is not None and p_value < alpha:
            runner_up = next((other for other in candidates if other != name), None)
            return Decision(name, runner_up, comparison, None, _replaced(name, where, comparison, alpha))
    kept = f"{KEEP}: in the race over {where.num_pairs} {PAIRS} no candidate is significantly better{_level(alpha)}."
    if not candidates:
        text = f"{kept} All of them were dropped as significantly worse."
        return Decision(PAPER, None, None, None, text)
    runner_up, comparison = candidates[0], compared[0]
    gain, std = comparison.difference or 0.0, comparison.std or 0.0
    needed = pairs_to_decide(gain, std, level=alpha / comparison.num_compared)
    text = f"{kept} {_runner_up(runner_up, comparison, needed)}"
    return Decision(PAPER, runner_up, comparison, needed, text)


def decide_without_race(trials: Sequence[TrialRecord], paper: Mapping[str, Value]) -> Decision:
    """Decide where nothing raced: one run of the objective is no evidence, so that the paper's configuration stays.

    Only where it failed is the search's best the choice.
    """
    ranked = [name_of(record, paper) for record in rank(trials)]
    others = [name for name in ranked if name != PAPER]
    if PAPER not in ranked and others:
        text = (
            f"Use {others[0]}: the paper's configuration failed in the search, and {others[0]} is the best of "
            "the others by one run of the objective."
        )
        return Decision(others[0], others[1] if len(others) > 1 else None, None, None, text)
    if not others:
        return Decision(PAPER, None, None, None, f"{KEEP}: no other trial of the search ended well.")
    text = (
        f"{KEEP}: without a race (`racing.num_candidates`) nothing can call a gain "
        f"significant. The runner-up is {others[0]}, by one run of the objective."
    )
    return Decision(PAPER, others[0], None, None, text)


def compared_configurations(
    decision: Decision, ordered: Sequence[str], configurations: Mapping[str, Mapping[str, Value]], top_k: int
) -> dict[str, dict[str, Value]]:
    """Return the configurations of the final comparison by name: the choice, the best `top_k`, the paper's.

    Args:
        decision: What the sweep stands for.
        ordered: Names of the candidates, best first; the paper's may be among them.
        configurations: Searched keys by name.
        top_k: Candidates at most, the choice included.
    """
    candidates = [name for name in dict.fromkeys((decision.choice, *ordered)) if name != PAPER][:top_k]
    names = dict.fromkeys((decision.choice, *candidates, PAPER))
    return {name: dict(configurations[name]) for name in names}


def describe_decision(decision: Decision) -> dict[str, Any]:
    """Return the `decision` entry of results.json."""
    comparison = decision.comparison
    return {
        "choice": decision.choice,
        "runner_up": decision.runner_up,
        "comparison": None if comparison is None else as_json(comparison),
        "pairs_needed": decision.pairs_needed,
        "text": decision.text,
    }


def _replaced(name: str, where: Standing, comparison: Comparison, alpha: float) -> str:
    return (
        f"Use {name}: in the race over {where.num_pairs} {PAIRS} it is significantly better than the paper's "
        f"configuration{_level(alpha)} ({_figures(comparison)})."
    )


def _level(alpha: float) -> str:
    """Name the level of the race's tests where it isn't that of the intervals beside it."""
    return "" if math.isclose(alpha, 1 - CONFIDENCE) else f" at a level of {alpha:g} (`racing.alpha`)"


def _runner_up(name: str, comparison: Comparison, needed: int | None) -> str:
    text = f"The runner-up is {name} ({_figures(comparison)})"
    if (comparison.difference or 0.0) <= 0:
        return f"{text}; it has no gain that more pairs could confirm."
    if needed is None:
        return f"{text}; so small a gain would take more than a thousand pairs to confirm."
    return f"{text}; a gain of that size would take about {needed} pairs to confirm (`racing.num_pairs`)."


def _figures(comparison: Comparison) -> str:
    return figures_text("of the search's objective", comparison, "pairs")
