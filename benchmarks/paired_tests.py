"""How often do the paired statistics of the product err? False alarms, power and the race, simulated.

python -m benchmarks.paired_tests [--repetitions 10000]

Runs aren't trained: scores are drawn, and `tune.statistics` and `tune.racing` judge them as they judge a sweep's.
Prints tables in Markdown. Seeds are fixed. Takes minutes on one core.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tune.config import RacingConfig
from tune.racing import standing
from tune.records import PAPER
from tune.statistics import Comparison, compare, detectable_difference, holm

LEVEL = 0.05
NUM_SEEDS = (3, 5, 8, 10)
SPREAD = 0.03
"""Standard deviation of a paired difference in B3 F1."""
TRUE_DIFFERENCES = (0.01, 0.02, 0.03, 0.05, 0.08)
NUM_CANDIDATES = 3
"""Of a final comparison, beside the reference."""
RESAMPLES = 10_000
RECORDED = (0.5303, 0.6327, 0.5981, 0.6013, 0.6055)
"""B3 F1 of the paper's configuration over seeds 3 to 7 of the sweep that was killed three times (RESULTS.md)."""
RECORDED_DIFFERENCES = np.array([one - other for one, other in itertools.permutations(RECORDED, 2)])
WAYS = {
    "t": "Student's t",
    "interval": "bootstrap interval",
    "probability": "probability by the Bayesian bootstrap",
}
SEEDS_HEAD = tuple(f"{num_seeds} seeds" for num_seeds in NUM_SEEDS)
CANDIDATES = tuple(f"trial-{number}" for number in range(RacingConfig().num_candidates))
RACES = {
    "all equal": (0.0, 0.0),
    "one equal": (0.0, -0.1),
    ".03 better": (0.03, 0.0),
    ".05 better": (0.05, 0.0),
}
"""What the first candidate, and each other one, is truly ahead of the incumbent by."""

Array = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
DIFFERENCES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed (log-normal, sigma .5)": lambda rng, shape: rng.lognormal(0, 0.5, shape) - math.exp(0.125),
    "very skewed (log-normal, sigma 1)": lambda rng, shape: rng.lognormal(0, 1, shape) - math.exp(0.5),
    "heavy tails (Student's t, 3 degrees)": lambda rng, shape: rng.standard_t(3, size=shape),
    "recorded (two seeds of one configuration)": lambda rng, shape: rng.choice(RECORDED_DIFFERENCES, shape),
}
"""Paired differences whose true mean is zero."""


def judge(differences: Array) -> Comparison:
    """Return what the product says of paired differences."""
    return compare(differences.tolist(), [0.0] * len(differences))


def resampling_weights(num_seeds: int) -> dict[str, Array]:
    """Return the weights of seeds in each resample, as the product drew them before it used Student's t."""
    rng = np.random.default_rng(0)
    return {
        "interval": rng.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=RESAMPLES) / num_seeds,
        "probability": rng.dirichlet(np.ones(num_seeds), size=RESAMPLES),
    }


def resampled_alarms(differences: Array, weights: Array) -> float:
    """Share of rows whose resampled means lie on one side of zero, but for half of `LEVEL`."""
    alarms = 0
    for row in differences:
        means = weights @ row
        alarms += min((means <= 0).mean(), (means >= 0).mean()) < LEVEL / 2
    return alarms / len(differences)


def false_alarms(name: str, num_seeds: int, repetitions: int) -> dict[str, float]:
    """Share of significant differences where there is none, by way of judging."""
    differences = DIFFERENCES[name](np.random.default_rng(0), (repetitions, num_seeds))
    by_t = np.mean([judge(row).p_value < LEVEL for row in differences])
    resampled = {way: resampled_alarms(differences, w) for way, w in resampling_weights(num_seeds).items()}
    return {"t": float(by_t), **resampled}


def family_alarms(num_seeds: int, repetitions: int) -> tuple[float, float]:
    """Share of comparisons of equals in which any candidate is significant: each by itself, and by Holm."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, SPREAD / math.sqrt(2), (repetitions, 1 + NUM_CANDIDATES, num_seeds))
    p_values = [[judge(row - rows[0]).p_value for row in rows[1:]] for rows in scores]
    return (
        float(np.mean([min(each) < LEVEL for each in p_values])),
        float(np.mean([min(holm(each)) < LEVEL for each in p_values])),
    )


def power(difference: float, num_seeds: int, repetitions: int) -> float:
    """Share of comparisons in which what is better by `difference` is significantly better."""
    rows = np.random.default_rng(0).normal(difference, SPREAD, (repetitions, num_seeds))
    found = [judge(row) for row in rows]
    return float(np.mean([each.p_value < LEVEL and each.difference > 0 for each in found]))


def replacements(
    scores: Mapping[str, Array], num_pairs: int, left: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Return who replaces the incumbent after `num_pairs`, by rule and sides of the test; absent where nobody does.

    Args:
        scores: By configuration and pair.
        num_pairs: How many pairs have been run.
        left: Candidates still in the race.
    """
    if not left:
        return {}
    found = {name: judge((scores[name] - scores[PAPER])[:num_pairs]) for name in left}
    best = max(left, key=lambda name: found[name].difference)
    if found[best].difference <= 0:
        return {}
    replaced = {("the best mean, no test", "-"): best}
    for sides, p_values in (
        ("one", {name: 1 - each.probability_better for name, each in found.items()}),
        ("two", {name: each.p_value for name, each in found.items()}),
    ):
        among_left = dict(zip(left, holm(list(p_values.values())), strict=True))
        out = [1.0] * (len(CANDIDATES) - len(left))
        among_all = dict(zip(left, holm([*p_values.values(), *out])[: len(left)], strict=True))
        for rule, corrected in (
            ("t-test of the best alone", p_values),
            ("Holm over who is left", among_left),
            ("Holm over all eight", among_all),
        ):
            if corrected[best] < LEVEL:
                replaced[rule, sides] = best
    return replaced


def race(rng: np.random.Generator, first: float, others: float) -> list[dict[tuple[str, str], str]]:
    """Run one race; return who replaces the incumbent at the first look and at the end."""
    rules = RacingConfig()
    names = [*CANDIDATES, PAPER]
    drawn = rng.normal(0, SPREAD / math.sqrt(2), (len(names), rules.num_pairs))
    scores = dict(zip(names, drawn, strict=True))
    for name in CANDIDATES:
        scores[name] += first if name == CANDIDATES[0] else others
    known = {
        (name, pair): float(row[pair]) for name, row in scores.items() for pair in range(rules.num_pairs)
    }
    left = [name for name in standing(names, rules, known).survivors if name != PAPER]
    return [
        replacements(scores, rules.min_pairs, CANDIDATES),
        replacements(scores, rules.num_pairs, left),
    ]


def race_table(repetitions: int) -> str:
    """Return the table of the race's last comparison."""
    rules, shares = RacingConfig(), {("the best mean, no test", "-"): []}
    for rule in ("t-test of the best alone", "Holm over who is left", "Holm over all eight"):
        shares |= {(rule, sides): [] for sides in ("two", "one")}
    head = ["rule", "sides"]
    for name, (first, others) in RACES.items():
        rng = np.random.default_rng(0)
        races = [race(rng, first, others) for _ in range(repetitions)]
        for rule, cells in shares.items():
            if first:
                cells.append(np.mean([end.get(rule) == CANDIDATES[0] for _, end in races]))
            else:
                cells.append(np.mean([rule in end for _, end in races]))
                cells.append(np.mean([rule in look or rule in end for look, end in races]))
        looks = ("",) if first else (f", {rules.num_pairs}", f", {rules.min_pairs} or {rules.num_pairs}")
        head += [f"{name}{look}" for look in looks]
    return table(head, ([*rule, *map(percent, cells)] for rule, cells in shares.items()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def percent(share: float) -> str:
    return f"{share:.1%}"


def alarm_table(repetitions: int) -> str:
    """Return the table of false alarms of one comparison."""
    rows = []
    for name in DIFFERENCES:
        cells = [false_alarms(name, num_seeds, repetitions) for num_seeds in NUM_SEEDS]
        rows += [[name, text, *(percent(cell[way]) for cell in cells)] for way, text in WAYS.items()]
    return table(["paired differences", "judged by", *SEEDS_HEAD], rows)


def family_table(repetitions: int) -> str:
    """Return the table of false alarms of several comparisons with one reference."""
    each, corrected = zip(*(family_alarms(num_seeds, repetitions) for num_seeds in NUM_SEEDS), strict=True)
    rows = [["each by itself", *map(percent, each)], ["Holm", *map(percent, corrected)]]
    return table(["p values", *SEEDS_HEAD], rows)


def power_table(repetitions: int) -> str:
    """Return the table of power, with the difference that is seen four times in five below it."""
    rows = [
        [f"{size:.2f}", *(percent(power(size, num_seeds, repetitions)) for num_seeds in NUM_SEEDS)]
        for size in TRUE_DIFFERENCES
    ]
    seen = [f"**{detectable_difference(SPREAD, num_seeds):.3f}**" for num_seeds in NUM_SEEDS]
    return table(["true difference", *SEEDS_HEAD], [*rows, ["**seen in 80%**", *seen]])


def report(repetitions: int) -> str:
    """Return all tables, each below a line that says what it shows."""
    spread = f"a standard deviation of paired differences of {SPREAD}"
    return "\n\n".join(
        [
            f"False alarms of one comparison at {LEVEL:.0%}, {repetitions:,} repetitions:",
            alarm_table(repetitions),
            f"False alarms of any of {NUM_CANDIDATES} candidates against one reference, all equal:",
            family_table(repetitions),
            f"Power of one comparison, {spread}:",
            power_table(repetitions),
            f"Who replaces the incumbent in a race of {len(CANDIDATES)} candidates, by pairs run, {spread}:",
            race_table(repetitions),
        ]
    )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paired_tests", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10_000, help="of each simulation")
    sys.stdout.write(report(parser.parse_args().repetitions) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
