"""Searchers, early stopping and the race compared on known curves, without training; a few minutes on one core.

    python benchmarks/search_replay.py [SWEEP_DIRECTORY]

Two synthetic families of learning curves over the five dimensions of the FewRel sweep, and, where a sweep's
directory is given, a surrogate of its recorded curves. Prints tables and writes benchmarks/search_replay.png.
"""

import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tune.config import RacingConfig, load_sweep
from tune.optuna_study import quiet_optuna
from tune.racing import standing
from tune.replay import plot_regret, read_sweep, recorded_curves
from tune.simulation import compare_methods
from tune.space import joint_budget
from tune.surrogate import Surrogate, encode

HERE = Path(__file__).parent
SWEEP = HERE.parent / "configs" / "tune" / "fewrel_minilm.yaml"
SEEDS = range(5)
FULL_TRIALS = 32
"""The budget, in trials that are trained to their end."""
BEST = (0.25, 0.75, 0.4, 0.7, 0.75)
"""Where the hill's top lies, in the unit cube: away from the paper's configuration, which every search begins with."""
WEIGHTS = (1.0, 0.5, 0.25, 0.05, 1.5)
CANDIDATES = tuple(f"trial-{number}" for number in range(8))
RACES = 1000


def hill(sweep, speed):
    """Return curves that rise to a height given by the distance from the top.

    `speed` takes the point in the unit cube and returns the joint epochs until two thirds of the height.
    """
    space, num_epochs = sweep.config.search.space, sweep.search_base.train.max_epochs

    def curves(params):
        point = [encode(params[key], dimension)[0] for key, dimension in space.items()]
        distance = sum(w * (x - best) ** 2 for w, x, best in zip(WEIGHTS, point, BEST, strict=True))
        height = 0.75 * math.exp(-1.5 * distance)
        return [height * (1 - math.exp(-epoch / speed(point))) for epoch in range(1, num_epochs + 1)]

    return curves


def compare_searches(sweep, families):
    budget = FULL_TRIALS * sweep.search_base.train.max_epochs
    figure = Figure(figsize=(5.2 * len(families), 4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(families)))
    for axes, (name, curves) in zip(panels, families.items(), strict=True):
        regrets = compare_methods(sweep, curves, max_epochs=budget, seeds=SEEDS)
        plot_regret(axes, regrets, name)
        print(
            f"\n{name}: regret after {budget // 4}, {budget // 2} and {budget} joint epochs, {len(SEEDS)} seeds"
        )
        for method, regret in regrets.items():
            cells = [
                f"{regret[:, n].mean():.4f} +- {regret[:, n].std(ddof=1):.4f}"
                for n in (budget // 4, budget // 2, budget)
            ]
            print(f"| {method} | {' | '.join(cells)} |")
    figure.savefig(HERE / "search_replay.png", dpi=110)


def compare_choices(spread, noise):
    """Choose one of eight: by the search's one run each, by a race, or by all runs of all pairs."""
    rules, rng = RacingConfig(), np.random.default_rng(0)
    regret, runs = {"the search's best": [], "race": [], "nobody dropped": []}, []
    for _ in range(RACES):
        quality = dict(zip(CANDIDATES, rng.normal(0, spread, len(CANDIDATES)), strict=True))
        searched = {name: quality[name] + rng.normal(0, noise) for name in CANDIDATES}
        names = sorted(CANDIDATES, key=lambda name: -searched[name])
        shared = rng.normal(0, noise, rules.num_pairs)
        known = {
            (name, pair): quality[name] + shared[pair] + rng.normal(0, noise)
            for name in names
            for pair in range(rules.num_pairs)
        }
        scores = {}
        while (where := standing(names, rules, scores)).missing:
            scores |= {run: known[run] for run in where.missing}
        means = {name: np.mean([known[name, pair] for pair in range(rules.num_pairs)]) for name in names}
        chosen = (names[0], where.survivors[0], max(means, key=means.get))
        for way, name in zip(regret, chosen, strict=True):
            regret[way].append(max(quality.values()) - quality[name])
        runs.append(len(scores))
    spent = (0, np.mean(runs), len(CANDIDATES) * rules.num_pairs)
    print(f"\nChoosing one of 8, qualities' std {spread}, noise of a run {noise}, {RACES} times:")
    for way, number in zip(regret, spent, strict=True):
        right = np.mean(np.array(regret[way]) == 0)
        print(f"| {way} | {number:.1f} | {np.mean(regret[way]):.4f} | {right:.0%} |")


def main():
    quiet_optuna()
    for spread, noise in ((0.03, 0.04), (0.03, 0.02), (0.06, 0.02)):
        compare_choices(spread, noise)
    sweep = load_sweep(SWEEP)
    families = {
        "early epochs tell": hill(sweep, lambda _point: 2.5),
        "good ones are slow": hill(sweep, lambda point: 1 + 5 * (1 - abs(point[4] - BEST[4]))),
    }
    if len(sys.argv) > 1:
        recorded, trials = read_sweep(Path(sys.argv[1]))
        space = recorded.config.search.space
        surrogate = Surrogate(recorded, recorded_curves(trials, joint_budget(recorded.search_base, space)))
        print(
            f"\nsurrogate: {surrogate.num_trials} trials, error {surrogate.error:.3f}, spread {surrogate.spread:.3f}"
        )
        assert recorded.search_base.train.max_epochs == sweep.search_base.train.max_epochs
        families[f"surrogate of {recorded.config.name}"] = surrogate
    compare_searches(sweep, families)


if __name__ == "__main__":
    main()
