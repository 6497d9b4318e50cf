"""Sweep directories as a sweep leaves them, small and made up."""

import json
import math
import random

import pytest

from tune.report import importances_optuna

SPACE = {
    "loss.center_weight": {"distribution": "log_uniform", "low": 1e-4, "high": 1e-1, "choices": None},
    "loss.pair_margin": {"distribution": "uniform", "low": 0.5, "high": 4.0, "choices": None},
    "encoder.output_layer": {"distribution": "integer", "low": 2, "high": 6, "choices": None},
    "model.rectifier": {
        "distribution": "categorical",
        "low": None,
        "high": None,
        "choices": ["leaky_relu", "relu"],
    },
}
PAPER = {
    "loss.center_weight": 0.005,
    "loss.pair_margin": 2.0,
    "encoder.output_layer": 4,
    "model.rectifier": "leaky_relu",
}
NAMES = ("b3_precision", "b3_recall", "b3_f1", "homogeneity", "completeness", "v_measure", "ari")


def summary(values):
    n = len(values)
    if not n:
        return {"mean": None, "std": None, "n": 0, "values": [], "ci95": None}
    mean = sum(values) / n
    if n == 1:
        return {"mean": mean, "std": None, "n": 1, "values": values, "ci95": None}
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = 2.776 * std / math.sqrt(n)
    return {"mean": mean, "std": std, "n": n, "values": values, "ci95": [mean - half, mean + half]}


def make_trial(number, params, score, state="complete", joint=10, error=None):
    curve = [{"epoch": epoch, "phase": "pretrain", "objective": 0.0, "seconds": 0.4} for epoch in (1, 2, 3)]
    for epoch in range(4, 4 + joint):
        value = score * (1 - math.exp(-(epoch - 3) / 3)) / (1 - math.exp(-joint / 3))
        curve.append({"epoch": epoch, "phase": "joint", "objective": value, "seconds": 2.5})
    if state == "failed":
        curve = curve[:5]
    return {
        "number": number,
        "params": params,
        "objective": None if state == "failed" else curve[-1]["objective"],
        "state": state,
        "is_paper": number == 0,
        "epochs": len(curve),
        "seconds": sum(row["seconds"] for row in curve),
        "error": error,
        "curve": curve,
    }


def make_trials(count=16):
    draw, trials = random.Random(0), [make_trial(0, PAPER, 0.66)]
    for number in range(1, count):
        params = {
            "loss.center_weight": 10 ** draw.uniform(-4, -1),
            "loss.pair_margin": draw.uniform(0.5, 4.0),
            "encoder.output_layer": draw.randint(2, 6),
            "model.rectifier": draw.choice(["leaky_relu", "relu"]),
        }
        score = 0.74 - 0.08 * (math.log10(params["loss.center_weight"]) + 3) ** 2
        score += 0.01 * params["encoder.output_layer"] + draw.gauss(0, 0.01)
        if number in (5, 11):
            trials.append(
                make_trial(number, params, score, "failed", error="the loss must be finite, but is nan")
            )
        elif number % 4 == 2:
            trials.append(make_trial(number, params, score * 0.8, "pruned", joint=4))
        else:
            trials.append(make_trial(number, params, score))
    return trials


def make_final(name, params, level, seeds=(1, 2, 3, 4, 5), failed=()):
    draw, values = random.Random(len(name) + int(level * 1000)), {}
    finished = [seed for seed in seeds if seed not in failed]
    for index, metric in enumerate(NAMES):
        values[f"novel_test.{metric}"] = summary(
            [level + 0.02 * index + 0.008 * (seed % 3) + draw.gauss(0, 0.006) for seed in finished]
        )
    return {
        "name": name,
        "params": params,
        "seeds": list(seeds),
        "failed_seeds": [{"seed": seed, "error": "out of memory: 2.1 GiB asked for"} for seed in failed],
        "metrics": values,
        "seconds": 63.25,
    }


def make_facts():
    """Return what a sweep was run on and with."""
    return {
        "base_config": {
            "seed": 0,
            "data": {"format": "builtin"},
            "encoder": {"name": "minilm", "output_layer": 4},
        },
        "data": {
            "format": "fewrel",
            "num_known_relations": 64,
            "num_novel_relations": 16,
            "num_known_instances": 44800,
            "num_novel_instances": 11200,
            "files": {"train_wiki.json": "ab" * 32, "val_wiki.json": "cd" * 32},
        },
        "encoder": {"name": "minilm", "num_layers": 6, "hidden_size": 384, "sha256": "ef" * 32},
        "objective": {
            "name": "pseudo_novel",
            "description": "B-cubed F1 on hidden known relations, mean over 2 fold(s) of 8 relations",
            "stamp": None,
            "num_folds": 2,
            "num_relations": 8,
        },
        "resources": {"cpus_per_trial": 2.0, "gpus_per_trial": 0.0},
        "environment": {
            "python": "3.11.9",
            "packages": {"torch": "2.13.0", "optuna": "5.0.0"},
            "gpus": [],
            "cpus": 2,
        },
    }


def make_tree():
    trials = make_trials()
    complete = [trial for trial in trials if trial["state"] == "complete"]
    best = max(complete, key=lambda trial: trial["objective"])
    second = sorted(complete, key=lambda trial: -trial["objective"])[1]
    final = [
        make_final(f"trial-{best['number']}", best["params"], 0.70),
        make_final(f"trial-{second['number']}", second["params"], 0.69, failed=(3,)),
        make_final("paper", PAPER, 0.66),
    ]
    ours, theirs = (entry["metrics"]["novel_test.b3_f1"]["mean"] for entry in (final[0], final[2]))
    return {
        **make_facts(),
        "schema": 1,
        "name": "fewrel with MiniLM",
        "created": "2026-03-01T12:00:00+0000",
        "synthetic": False,
        "status": "complete",
        "search": {
            "space": SPACE,
            "searcher": "tpe",
            "scheduler": {"name": "asha", "grace_epochs": 3, "reduction_factor": 3.0},
            "seconds": 412.5,
            "best_trial": best["number"],
            "trials": trials,
        },
        "final": final,
        "decision": {
            "choice": final[0]["name"],
            "runner_up": final[1]["name"],
            "comparison": None,
            "pairs_needed": None,
            "text": f"Use {final[0]['name']}.",
        },
        "verdict": {
            "best": final[0]["name"],
            "against": "paper",
            "compared": final[0]["name"],
            "metric": "novel_test.b3_f1",
            "difference": ours - theirs,
            "ci95": [0.031, 0.047],
            "p_value": 0.0004,
            "num_pairs": 5,
            "significant": True,
            "text": f"{final[0]['name']} is significantly better than paper (+0.040 novel-test B-cubed F1, "
            "95% interval [+0.031, +0.047], 5 seeds).",
        },
    }


@pytest.fixture
def few_resamples(monkeypatch):
    """Importances in a fraction of the time, for tests of everything around them."""
    monkeypatch.setattr(importances_optuna, "NUM_RESAMPLES", 5)


@pytest.fixture
def tree():
    """results.json of a complete sweep: 16 trials, two failed, a seed failed."""
    return make_tree()


@pytest.fixture
def sweep(tmp_path):
    """Write a results.json and return its directory."""

    def write(tree):
        directory = tmp_path / "my-sweep"
        directory.mkdir(exist_ok=True)
        (directory / "results.json").write_text(json.dumps(tree), encoding="utf-8")
        (directory / "config.yaml").write_text("search:\n  num_trials: 16\n", encoding="utf-8")
        return directory

    return write
