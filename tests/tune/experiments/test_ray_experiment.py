"""Whole experiments on a Ray of their own, with the small engine."""

import tempfile

import pytest
from ray.cluster_utils import Cluster

from rocore.errors import SweepInterrupted
from tune.experiments.run import resume_experiment, run_experiment
from tune.journal import read_events

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*"),
]
LOST = 1.5
"""Margin of a setting whose first process is lost once, after its first epoch."""


@pytest.fixture
def trainable(losing_trainer, make_trainable):
    class Trainer(losing_trainer):
        lost = LOST

    return make_trainable(Trainer)


@pytest.fixture
def experiment(make_experiment, tmp_path):
    settings = {"paper": {}, "lost": {"loss.pair_margin": LOST}, "bad": {"loss.pair_margin": 3.95}}
    keys = {"data.root": str(tmp_path), "resources.max_concurrent_trials": 2, "seeds.number": 2}
    return make_experiment(keys, settings=settings)


def starts(out):
    return [event["name"] for event in read_events(out / "journal.jsonl") if event["event"] == "start"]


def test_experiment_runs_whole_stops_and_goes_on(experiment, trainable, facts, tmp_path):
    """Stopped at the first end, resumed to its own: every run is trained once."""
    out = tmp_path / "out"

    def stop(text):
        if text.startswith("3 settings") and "done" not in text:
            raise KeyboardInterrupt

    with pytest.raises(SweepInterrupted, match="go on with: rocore experiment --resume"):
        run_experiment(experiment, out, trainable=trainable, prepare=lambda _: facts, echo=stop)
    results = resume_experiment(out, trainable=trainable, prepare=lambda _: facts).results
    paper, lost, bad = results.settings
    # The engine's figure: it falls with the margin, and grows with the seed.
    assert paper.metrics["novel_test.b3_f1"].values == pytest.approx((0.6, 0.61))
    assert lost.metrics["novel_test.b3_f1"].values == pytest.approx((0.7, 0.71))
    assert lost.against_reference.difference == pytest.approx(0.1)
    assert [failure.seed for failure in bad.failed_seeds] == [0, 1]
    assert "must be finite" in bad.failed_seeds[0].error
    assert (results.status, results.history["lost_processes"]) == ("complete", 1)
    # A lost process goes on from its checkpoint; what ended isn't run again, now or later.
    assert {run.epochs for run in results.runs if run.state == "complete"} == {4}
    assert len(starts(out)) == 7
    assert resume_experiment(out, trainable=trainable, prepare=lambda _: facts).results.runs == results.runs
    assert len(starts(out)) == 7
    assert {path.parent.name for path in (out / "runs").glob("*/checkpoints")} == {
        f"{name}-seed{seed}" for name in ("paper", "lost") for seed in (0, 1)
    }
    assert list((out / "ray").glob("*/*/checkpoint_*")) == []


def test_experiment_trains_runs_of_all_data_sets_in_packs(make_experiment, small_corpus, tmp_path):
    data_sets = {"one": {}, "two": {"builtin.seed": 1}}
    settings = {"paper": {}, "wide": {"loss.pair_margin": 3.0}}
    keys = {**small_corpus, "resources.max_concurrent_trials": 1, "trial.pack": 3, "seeds": [0]}
    experiment = make_experiment(keys, base={}, settings=settings, data_sets=data_sets)
    results = run_experiment(experiment, tmp_path / "out").results
    assert [(run.name, run.state, run.epochs) for run in results.runs] == [
        (f"{setting}-on-{data_set}-seed0", "complete", 12) for data_set in data_sets for setting in settings
    ]
    assert {each.metrics["novel_test.b3_f1"].n for each in results.settings} == {1}


def test_experiment_runs_on_a_cluster_whose_nodes_build_its_trunks(make_experiment, small_corpus, tmp_path):
    said, shared = [], tmp_path / "node"
    with tempfile.TemporaryDirectory(prefix="rt-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # Ray's socket paths must be short
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            cluster.add_node(num_cpus=2, env_vars={"ROCORE_CACHE": str(shared)}, wait=True)
            keys = {**small_corpus, "resources.address": cluster.address, "seeds": [0]}
            settings = {"paper": {}, "deep": {"encoder.output_layer": 3}}
            keys.pop("encoder.output_layer")
            experiment = make_experiment(keys, base={"encoder": {"output_layer": 2}}, settings=settings)
            results = run_experiment(experiment, tmp_path / "out", echo=said.append).results
        finally:
            cluster.shutdown()
    assert [run.state for run in results.runs] == ["complete"] * 2
    assert any("has its frozen trunks (1 of 1)" in line for line in said)
    # Known and novel sentences, two layers each, all of one pass.
    assert len(list(shared.glob("trunk/*/entry.json"))) == 4
