"""The steps of a sweep around Ray, with Ray taken out."""

import dataclasses
import errno
import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from rocore.encoder import cache
from rocore.errors import CheckpointError, ConfigError, DiskFullError, SweepError, SweepInterrupted
from tune import preparation, ray_backend, ray_trunks
from tune.config import load_sweep
from tune.preparation import Facts, by_output_layer, prepare_sweep
from tune.space import trunk_configs
from tune.specification import record_of, search_spec
from tune.sweep import resume_sweep, run_sweep

FACTS = Facts(data={}, encoder={}, environment={}, synthetic=True, warnings=())


@contextmanager
def no_session(resources, log_folder):
    yield


def no_ray(monkeypatch, ends):
    """Let trials end as `ends` says, at once; an error there is raised instead."""

    def search(sweep, ledger, study, others, trainable):
        while len(ledger.of("search")) < sweep.config.search.num_trials:
            number, params = study.propose()
            end = ends[number]
            if isinstance(end, BaseException):
                raise end
            run(ledger, search_spec(sweep, number, params), end)

    def run_all(sweep, specs, ledger, trainable):
        for spec in specs:
            if spec["name"] not in ledger.records:
                run(ledger, spec, "complete")

    def run(ledger, spec, end):
        ledger.start(record_of(spec))
        metrics = {"novel_test.b3_f1": 0.5}
        row = {
            "epoch": 1,
            "phase": "joint",
            "objective": 0.1,
            "seconds": 1.0,
            "finished": True,
            "metrics": metrics,
        }
        ledger.report(spec["name"], row)
        ledger.end(spec["name"], end, f"cause {spec['number']}" if end == "failed" else None)

    monkeypatch.setattr("tune.ray_backend.ray_session", no_session)
    monkeypatch.setattr("tune.ray_backend.search", search)
    monkeypatch.setattr("tune.ray_backend.run_all", run_all)


def read(out):
    return json.loads((out / "results.json").read_text())


def test_sweep_whose_trials_all_fail_ends_with_the_first_cause_and_a_report(
    make_sweep, tmp_path, monkeypatch
):
    no_ray(monkeypatch, ["failed"] * 2)
    with pytest.raises(SweepError, match=r"all 2 failed; see error.txt in .*; the first one: cause 0"):
        run_sweep(make_sweep({"search.num_trials": 2}), tmp_path / "out", prepare=lambda _: FACTS)
    results = read(tmp_path / "out")
    assert (results["status"], results["search"]["best_trial"]) == ("searched", None)
    assert [trial["state"] for trial in results["search"]["trials"]] == ["failed", "failed"]
    assert (tmp_path / "out" / "report.html").exists()


def test_sweep_stopped_reports_what_is_known_and_says_how_to_go_on(make_sweep, tmp_path, monkeypatch):
    no_ray(monkeypatch, ["complete", "failed", KeyboardInterrupt()])
    out = tmp_path / "out"
    with pytest.raises(SweepInterrupted, match=f"go on with: rocore sweep --resume {out}$") as stop:
        run_sweep(make_sweep({"search.num_trials": 3}), out, prepare=lambda _: FACTS)
    assert stop.value.exit_code == 130
    assert read(out)["status"] == "interrupted"
    assert [trial["state"] for trial in read(out)["search"]["trials"]] == ["complete", "failed"]
    assert (out / "report.html").exists()
    no_ray(monkeypatch, [None, None, "complete"])
    resume_sweep(out, prepare=lambda _: FACTS)
    assert read(out)["status"] == "complete"
    assert [trial["state"] for trial in read(out)["search"]["trials"]] == ["complete", "failed", "complete"]


def test_sweep_with_two_objectives_resumed_shows_the_front(make_sweep, tmp_path, monkeypatch):
    out = tmp_path / "out"
    sweep = make_sweep({"search.num_trials": 3, "objective.second": "training_seconds"})
    no_ray(monkeypatch, ["complete", "pruned", KeyboardInterrupt()])
    with pytest.raises(SweepInterrupted, match="go on with"):
        run_sweep(sweep, out, prepare=lambda _: FACTS)
    no_ray(monkeypatch, [None, None, "complete"])
    resume_sweep(out, prepare=lambda _: FACTS)
    assert read(out)["trade_off"]["values"] == {"0": [0.1, 1.0], "1": None, "2": [0.1, 1.0]}
    assert "against training time in seconds" in (out / "report.html").read_text()


def test_sweep_stopped_before_anything_ended_reports_nothing(make_sweep, tmp_path, monkeypatch):
    no_ray(monkeypatch, [KeyboardInterrupt()])
    with pytest.raises(SweepInterrupted, match="go on with"):
        run_sweep(make_sweep(), tmp_path / "out", prepare=lambda _: FACTS)
    assert not (tmp_path / "out" / "results.json").exists()


FREE = {
    "cache.max_gib": 7.0,
    "resources.cpus_per_trial": 2,
    "resources.address": "auto",
    "trial.checkpoint_share": 0.5,
}


def test_sweep_goes_on_with_settings_that_say_where_its_trials_run(make_sweep, tmp_path, monkeypatch):
    out = tmp_path / "out"
    no_ray(monkeypatch, ["complete", KeyboardInterrupt()])
    with pytest.raises(SweepInterrupted):
        run_sweep(make_sweep({"search.num_trials": 2}), out, prepare=lambda _: FACTS)
    no_ray(monkeypatch, [None, "complete"])
    resume_sweep(out, overrides={**FREE, "search.num_trials": 2}, prepare=lambda _: FACTS)
    kept = load_sweep(out / "config.yaml")
    assert kept.base.cache.max_gib == 7
    assert (kept.config.resources.cpus_per_trial, kept.config.resources.address) == (2, "auto")


@pytest.mark.parametrize("key", ["search.num_trials", "train.learning_rate", "seed"])
def test_sweep_that_goes_on_refuses_to_compute_something_else(make_sweep, tmp_path, monkeypatch, key):
    out = tmp_path / "out"
    no_ray(monkeypatch, ["complete"] * 2)
    run_sweep(make_sweep({"search.num_trials": 2}), out, prepare=lambda _: FACTS)
    before = (out / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=f"must compute what it began to, but `{key}` would be"):
        resume_sweep(out, overrides={**FREE, key: 3}, prepare=lambda _: pytest.fail("prepared"))
    assert (out / "config.yaml").read_text() == before


def test_sweep_on_a_full_disk_says_so(make_sweep, tmp_path, monkeypatch):
    no_ray(monkeypatch, ["complete", OSError(errno.ENOSPC, "No space left on device")])
    with pytest.raises(DiskFullError, match=r"No space left on device; nothing is lost: .*--resume"):
        run_sweep(make_sweep(), tmp_path / "out", prepare=lambda _: FACTS)


def test_sweep_extended_adds_trials_and_runs_only_what_is_missing(make_sweep, tmp_path, monkeypatch):
    out = tmp_path / "out"
    no_ray(monkeypatch, ["complete"] * 3)
    run_sweep(make_sweep({"search.num_trials": 3}), out, prepare=lambda _: FACTS)
    before = (out / "journal.jsonl").read_text()
    no_ray(monkeypatch, [None] * 3 + ["failed"] * 2)
    resume_sweep(out, num_more=2, prepare=lambda _: FACTS)
    assert len(read(out)["search"]["trials"]) == 5
    added = (out / "journal.jsonl").read_text().removeprefix(before)
    # The choice stays, and so does its comparison.
    assert [json.loads(line)["name"] for line in added.splitlines() if '"end"' in line] == ["0003", "0004"]
    assert load_sweep(out / "config.yaml").config.search.num_trials == 5


def test_sweep_resumed_when_complete_only_reports_again(make_sweep, tmp_path, monkeypatch):
    out = tmp_path / "out"
    no_ray(monkeypatch, ["complete"] * 2)
    first = run_sweep(make_sweep({"search.num_trials": 2}), out, prepare=lambda _: FACTS)
    (out / "report.html").unlink()
    assert resume_sweep(out, prepare=lambda _: FACTS) == first
    assert (out / "report.html").exists()


@pytest.mark.parametrize("what", ["files", "fingerprints"])
def test_sweep_resumed_on_other_data_is_refused(make_sweep, tmp_path, monkeypatch, what):
    out = tmp_path / "out"
    no_ray(monkeypatch, ["complete"] * 2)
    run_sweep(make_sweep({"search.num_trials": 2}), out, prepare=lambda _: FACTS)
    changed = {"files": {"a.json": "ff"}} if what == "files" else {}
    environment = {"fingerprints": {"a.json": "ff"}} if what == "fingerprints" else {}
    other = dataclasses.replace(FACTS, data=changed, environment=environment)
    with pytest.raises(ConfigError, match=r"must be those that the sweep began with, but a.json changed"):
        resume_sweep(out, num_more=1, prepare=lambda _: other)
    assert load_sweep(out / "config.yaml").config.search.num_trials == 2


def test_resume_of_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"must be a sweep directory that holds config.yaml"):
        resume_sweep(tmp_path, prepare=lambda _: pytest.fail("prepared"))


def test_sweep_into_a_directory_in_use_is_refused_before_anything_runs(make_sweep, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").touch()
    with pytest.raises(ConfigError, match="must be new or empty"):
        run_sweep(make_sweep(), tmp_path / "out", prepare=lambda _: pytest.fail("prepared"))


def test_sweep_that_can_not_be_prepared_leaves_no_directory(make_sweep, tmp_path):
    def refuse(sweep):
        raise ConfigError("no such data")

    with pytest.raises(ConfigError, match="no such data"):
        run_sweep(make_sweep(), tmp_path / "out", prepare=refuse)
    assert not (tmp_path / "out").exists()


def test_trunks_of_all_layers_are_built_in_one_pass(make_sweep):
    sweep = make_sweep()
    ((config, layers),) = by_output_layer(trunk_configs(sweep.base, sweep.config.search.space))
    assert layers == [2, 3, 4, 5, 6]
    assert config.encoder.name == sweep.base.encoder.name


def test_trunks_of_other_encoder_keys_are_built_apart(make_sweep):
    space = {
        "encoder.output_layer": {"distribution": "integer", "low": 3, "high": 4},
        "encoder.max_pieces": {"distribution": "categorical", "choices": [64, 128]},
    }
    sweep = make_sweep(search={"space": space}, paper={"encoder.output_layer": 4, "encoder.max_pieces": 128})
    groups = by_output_layer(trunk_configs(sweep.base, sweep.config.search.space))
    assert [(config.encoder.max_pieces, layers) for config, layers in groups] == [(64, [3, 4]), (128, [3, 4])]


CORPUS = SimpleNamespace(
    num_known_relations=16,
    num_novel_relations=8,
    known_rows=range(160),
    novel_rows=range(80),
    files={"a.json": "00"},
    synthetic=False,
)


@pytest.fixture
def calls(monkeypatch, engine):
    """What a preparation did, in its order; data and encoder aren't read."""
    calls = []

    def check_task(config):
        calls.append("real" if config.data.pseudo_novel is None else f"fold {config.data.pseudo_novel.fold}")
        evaluator = engine.prepare(config).evaluator
        return SimpleNamespace(
            corpus=CORPUS, evaluator=evaluator, fingerprints={"encoder": "ff"}, warnings=("hm",)
        )

    def check_encoder(config, layers):
        calls.append(("encoder", config.encoder.name, layers))

    monkeypatch.setattr(preparation.rocore, "check_task", check_task, raising=False)
    monkeypatch.setattr(preparation.rocore, "check_encoder", check_encoder, raising=False)
    monkeypatch.setattr(
        preparation.rocore,
        "build_trunk_cache",
        lambda config, layers, progress: calls.append((config.train.device, layers)),
        raising=False,
    )
    return calls


def test_prepare_checks_data_every_fold_and_the_encoder_then_builds_trunks(make_sweep, calls, engine):
    facts = prepare_sweep(make_sweep({"encoder.precision": "bf16"}))
    # A trial without a share of a GPU trains on the CPU, and so does its trunk.
    layers = [2, 3, 4, 5, 6]
    assert calls == ["real", "fold 0", "fold 1", ("encoder", "minilm", layers), ("cpu", layers)]
    assert facts.data["num_known_instances"] == 160
    assert facts.environment["fingerprints"] == {"encoder": "ff"}
    assert (facts.synthetic, facts.warnings) == (False, ("hm",))
    assert (facts.precision, facts.on_nodes) == ("bf16", False)

    engine.gold = False
    with pytest.raises(ConfigError, match="objective `oracle` needs gold"):
        prepare_sweep(make_sweep({"objective.name": "oracle"}))


def test_prepare_checks_every_encoder_that_is_searched_before_it_builds_any_trunk(make_sweep, calls):
    choices = {"distribution": "categorical", "choices": [64, 128]}
    prepare_sweep(
        make_sweep({"search.space": {"encoder.max_pieces": choices}, "paper": {"encoder.max_pieces": 128}})
    )
    assert [call[0] for call in calls if isinstance(call, tuple)] == ["encoder", "encoder", "cpu", "cpu"]


def test_prepare_for_a_cluster_leaves_device_and_trunks_to_its_nodes(make_sweep, calls):
    keys = {"resources.address": "auto", "resources.gpus_per_trial": 1, "train.device": "cuda"}
    facts = prepare_sweep(make_sweep(keys))
    assert calls == ["real", "fold 0", "fold 1", ("encoder", "minilm", [2, 3, 4, 5, 6])]
    assert (facts.precision, facts.on_nodes) == (None, True)


def test_precision_is_settled_once_and_is_that_of_every_trial(make_sweep, tmp_path, monkeypatch):
    given, prepared, out = [], [], tmp_path / "out"

    def prepare_in(precision):
        def prepare(sweep):
            prepared.append(sweep.base.encoder.precision)
            return dataclasses.replace(FACTS, precision=precision)

        return prepare

    def no_ray_that_looks(ends):
        no_ray(monkeypatch, ends)
        for name in ("search", "run_all"):
            real = getattr(ray_backend, name)

            def look(sweep, *rest, real=real):
                given.append(sweep.base.encoder.precision)
                real(sweep, *rest)

            monkeypatch.setattr(ray_backend, name, look)

    no_ray_that_looks(["complete", KeyboardInterrupt()])
    with pytest.raises(SweepInterrupted):
        run_sweep(make_sweep({"search.num_trials": 2}), out, prepare=prepare_in("bf16"))
    # Gone on with on a machine without bf16.
    no_ray_that_looks(["complete"] * 2)
    resume_sweep(out, prepare=prepare_in("fp32"))
    assert prepared == ["auto", "bf16"]
    assert set(given) == {"bf16"}
    assert read(out)["encoder"] == {"precision": "bf16"}
    # What users take away fits the machine that they take it to.
    assert load_sweep(out / "config.yaml").base.encoder.precision == "auto"


def test_nodes_build_trunks_unless_nothing_is_left_to_train(make_sweep, tmp_path, monkeypatch):
    asked, out = [], tmp_path / "out"

    def build_trunks(needs, echo):
        asked.append(needs.config.encoder.precision)
        return "fp32"

    monkeypatch.setattr(ray_trunks, "build_trunks", build_trunks)
    on_nodes = dataclasses.replace(FACTS, on_nodes=True)
    no_ray(monkeypatch, ["complete"] * 3)
    run_sweep(make_sweep({"search.num_trials": 2}), out, prepare=lambda _: on_nodes)
    assert asked == ["auto"]
    resume_sweep(out, prepare=lambda _: on_nodes)
    assert asked == ["auto"]
    resume_sweep(out, num_more=1, prepare=lambda _: on_nodes)
    assert asked == ["auto", "fp32"]


def test_prepare_of_a_searched_output_layer_takes_one_trunk_pass_a_pool(tmp_path, monkeypatch):
    """No later step of the preparation runs the trunk again."""
    passes = []

    def write_zeros(encoder, tokenized, outputs, **_options):
        passes.append(sorted(outputs))
        for path in outputs.values():
            path.write_bytes(bytes(len(tokenized.piece_ids) * encoder.hidden_size * 4))

    monkeypatch.setattr(cache, "run_trunk", write_zeros)
    builtin = {"num_known_relations": 8, "num_novel_relations": 3, "instances_per_relation": 8}
    base = {
        "data": {"builtin": builtin},
        "encoder": {"output_layer": 2, "precision": "fp32"},
        "cache": {"root": str(tmp_path / "cache")},
    }
    layers = {"encoder.output_layer": {"distribution": "integer", "low": 1, "high": 3}}
    tree = {
        "base": base,
        "search": {"space": layers},
        "paper": {"encoder.output_layer": 2},
        "objective": {"num_relations": 4, "num_folds": 2},
    }
    (tmp_path / "sweep.yaml").write_text(json.dumps(tree))
    prepare_sweep(load_sweep(tmp_path / "sweep.yaml", {}))
    assert passes == [[1, 2, 3], [1, 2, 3]]
