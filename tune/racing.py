"""The race: good configurations of the search meet again over shared splits and seeds; knows no Ray.

The search saw each configuration once, on one split and one seed, so that its best one is partly lucky. Here the
best few run on the same (split, seed) pairs, and the race goes on in rounds of doubling length. After a round, the
lower half is compared with the leader, pair by pair; who is significantly worse is dropped, nobody else. (Comparing
with the seen leader favors dropping, Holm's correction and sparing the upper half disfavor it: of equal
configurations, each is dropped in about `alpha` of simulated races.) What the race decides stands in `decision`.

Everything is a function of the scores so far: a race that was cut off goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rocore.errors import RocoreError
from tune.config import RacingConfig, Sweep, Value
from tune.objective import FLOOR
from tune.records import PAPER, TrialRecord
from tune.specification import race_name, race_spec
from tune.statistics import compare, corrected

PAIRS = "(split, seed) pairs"
Scores = Mapping[tuple[str, int], float]
"""Objective at the end, by configuration and position of the pair; absent until the run has ended."""


@dataclass(frozen=True)
class Pair:
    """What every configuration still in the race runs on.

    Attributes:
        split: Seed of the grouping into known and hidden relations; of no effect on objectives without one.
        seed: Seed of the run: split of the instances, initial weights, data order.
    """

    split: int
    seed: int


@dataclass(frozen=True)
class Dropped:
    """A configuration that left the race, and why.

    Attributes:
        name: The configuration.
        num_pairs: Pairs that it had run.
        leader: Whom it was compared with.
        difference: Mean of (its score - the leader's).
        p_value: Two-sided paired t-test, after Holm's correction for the comparisons of the round.
    """

    name: str
    num_pairs: int
    leader: str
    difference: float
    p_value: float


@dataclass(frozen=True)
class Standing:
    """Where a race stands.

    Attributes:
        num_pairs: Pairs of the round that is run, or was run last.
        missing: Runs that this round still needs, pair by pair; empty once the race is over.
        survivors: Who is in the race, best mean first over the pairs of the last whole round.
        dropped: Who isn't, in the order of leaving.
    """

    num_pairs: int
    missing: tuple[tuple[str, int], ...]
    survivors: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def race_pairs(sweep: Sweep) -> tuple[Pair, ...]:
    """Return the pairs of a sweep's race, none of which the search or the re-evaluation uses."""
    first_split = sweep.config.objective.seed + 1
    return tuple(Pair(first_split + index, seed) for index, seed in enumerate(sweep.race_seeds))


def rounds(rules: RacingConfig) -> tuple[int, ...]:
    """Return the number of pairs at the end of each round: `min_pairs`, then twice as many, up to `num_pairs`."""
    lengths = [rules.min_pairs]
    while lengths[-1] < rules.num_pairs:
        lengths.append(min(2 * lengths[-1], rules.num_pairs))
    return tuple(lengths)


def standing(names: Sequence[str], rules: RacingConfig, scores: Scores) -> Standing:
    """Go through the rounds as far as the scores reach.

    Args:
        names: Who starts, the search's best first; the paper's configuration never drops.
        rules: Length of the rounds and level of the test.
        scores: What is known.
    """
    survivors = list(names)
    dropped: list[Dropped] = []
    for num_pairs in rounds(rules):
        missing = tuple(
            (name, pair) for pair in range(num_pairs) for name in survivors if (name, pair) not in scores
        )
        if missing:
            return Standing(num_pairs, missing, tuple(survivors), tuple(dropped))
        # Stable: equals keep the search's order.
        survivors.sort(key=lambda name: -float(np.mean(row_of(name, num_pairs, scores))))
        leaving = _leaving(survivors, num_pairs, rules.alpha, scores)
        dropped += leaving
        survivors = [name for name in survivors if name not in {each.name for each in leaving}]
    return Standing(rules.num_pairs, (), tuple(survivors), tuple(dropped))


def run_race(
    sweep: Sweep,
    configurations: Mapping[str, Mapping[str, Value]],
    run: Callable[[list[dict[str, Any]]], None],
    records: Callable[[], Sequence[TrialRecord]],
) -> Standing:
    """Run a race to its end.

    Args:
        sweep: Its rules.
        configurations: Who starts, the search's best first.
        run: Runs specifications to their ends.
        records: Returns all runs so far, those of an earlier, cut-off race included.

    Raises:
        RocoreError: If a run that was asked for leaves no record.
    """
    names, pairs, rules = list(configurations), race_pairs(sweep), sweep.config.racing
    where = standing(names, rules, scores_of(names, pairs, records()))
    while where.missing:
        run(missing_specs(sweep, configurations, where))
        before, where = where, standing(names, rules, scores_of(names, pairs, records()))
        if set(where.missing) & set(before.missing):
            raise RocoreError(
                f"every run of the race must end, but {where.missing[0]} didn't; resume the sweep"
            )
    return where


def scores_of(names: Sequence[str], pairs: Sequence[Pair], records: Sequence[TrialRecord]) -> Scores:
    """Return the scores of the runs that ended.

    A failed run counts as the objective's floor: a configuration that can't be trained on a split isn't a good one.
    """
    ended = {record.name: record for record in records if record.state != "running"}
    found = {}
    for name in names:
        for index, pair in enumerate(pairs):
            record = ended.get(race_name(name, pair.split, pair.seed))
            if record is not None:
                found[name, index] = FLOOR if record.objective is None else record.objective
    return found


def missing_specs(
    sweep: Sweep, configurations: Mapping[str, Mapping[str, Value]], where: Standing
) -> list[dict[str, Any]]:
    """Return the specifications of the runs that the round still needs."""
    pairs = race_pairs(sweep)
    return [
        race_spec(sweep, name, configurations[name], index, pairs[index].split, pairs[index].seed)
        for name, index in where.missing
    ]


def describe_race(
    sweep: Sweep, configurations: Mapping[str, Mapping[str, Value]], records: Sequence[TrialRecord]
) -> dict[str, Any]:
    """Return the `race` entry of results.json."""
    rules, pairs = sweep.config.racing, race_pairs(sweep)
    names = {race_name(name, pair.split, pair.seed) for name in configurations for pair in pairs}
    # A sweep that was extended may hold runs of configurations that no longer race.
    records = [record for record in records if record.name in names]
    scores = scores_of(list(configurations), pairs, records)
    where = standing(list(configurations), rules, scores)
    left = {each.name: asdict(each) for each in where.dropped}
    failed = [record for record in records if record.state == "failed"]
    entries = []
    for name in (*where.survivors, *(each.name for each in reversed(where.dropped))):
        values = [scores.get((name, index)) for index in range(len(pairs))]
        known = [value for value in values if value is not None]
        entries.append(
            {
                "name": name,
                "params": dict(configurations[name]),
                "values": values,
                "mean": float(np.mean(known)) if known else None,
                "dropped": left.get(name),
            }
        )
    return {
        "pairs": [asdict(pair) for pair in pairs],
        "rounds": list(rounds(rules)),
        "alpha": rules.alpha,
        "configurations": entries,
        "failed": [{"run": record.name, "error": record.error} for record in failed],
        "seconds": sum(record.seconds for record in records),
        "text": _text(where),
    }


def row_of(name: str, num_pairs: int, scores: Scores) -> list[float]:
    """Return what a configuration scored on the first pairs."""
    return [scores[name, pair] for pair in range(num_pairs)]


def _leaving(ordered: Sequence[str], num_pairs: int, alpha: float, scores: Scores) -> list[Dropped]:
    """Test the lower half against the leader; the p values of one round are corrected together."""
    leader = ordered[0]
    tested = [name for name in ordered[(len(ordered) + 1) // 2 :] if name != PAPER]
    best = row_of(leader, num_pairs, scores)
    compared = corrected([compare(row_of(name, num_pairs, scores), best) for name in tested])
    return [
        Dropped(name, num_pairs, leader, each.difference, each.p_value)
        for name, each in zip(tested, compared, strict=True)
        if each.difference is not None and each.p_value is not None and each.p_value < alpha
    ]


def _text(where: Standing) -> str:
    shown = f"{len(where.survivors)} of {len(where.survivors) + len(where.dropped)} configurations"
    if where.missing:
        return f"The race is under way: {shown} left, {len(where.missing)} runs to go in its round."
    leaving = ", ".join(f"{each.name} after {each.num_pairs}" for each in where.dropped) or "none"
    return (
        f"{shown} stood to the end of the race over {where.num_pairs} {PAIRS}; dropped as significantly "
        f"worse than the leader: {leaving}. {where.survivors[0]} has the best mean."
    )
