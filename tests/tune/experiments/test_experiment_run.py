"""The steps of an experiment around Ray, with Ray taken out."""

import csv
import dataclasses
import errno
import json

import pytest

from rocore.errors import CheckpointError, ConfigError, DiskFullError, SweepError, SweepInterrupted
from tune.experiments.preparation import trunk_needs
from tune.experiments.report import HIDDEN, write_experiment_report
from tune.experiments.results import ExperimentResults
from tune.experiments.run import resume_experiment, run_experiment, run_specs
from tune.export import export
from tune.report.results import read_results
from tune.statistics import compare

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


@pytest.fixture
def run(make_experiment, tmp_path, no_ray, facts, score_of):
    """Return a function that runs an experiment with no Ray and returns what it left."""

    def start(end=score_of, out="out", facts=facts, **changes):
        no_ray(end)
        return run_experiment(make_experiment(**changes), tmp_path / out, prepare=lambda _: facts).results

    return start


def test_report_of_hidden_relations_says_that_they_are_known_ones(run, facts, tmp_path):
    run()
    assert HIDDEN not in (tmp_path / "out" / "report.html").read_text()
    run(out="hidden", facts=dataclasses.replace(facts, data=({**facts.data[0], "num_hidden_relations": 4},)))
    assert HIDDEN in (tmp_path / "hidden" / "report.html").read_text()


def test_specs_pair_settings_seed_by_seed_and_name_layers_of_all(make_experiment):
    specs = run_specs(make_experiment(seeds=[3, 1]))
    assert [spec["name"] for spec in specs] == [
        *("paper-seed3", "wide-seed3", "deep-seed3"),
        *("paper-seed1", "wide-seed1", "deep-seed1"),
    ]
    assert {spec["role"] for spec in specs} == {"final"}
    assert [spec["config"]["seed"] for spec in specs] == [3, 3, 3, 1, 1, 1]
    assert specs[1]["config"]["loss"]["pair_margin"] == 3.0
    assert [spec["config"]["cache"]["layers"] for spec in specs] == [[4, 5]] * 6
    assert {spec["config"]["train"]["device"] for spec in specs} == {"cpu"}


def test_experiment_leaves_its_figures_and_pages(run, tmp_path):
    results, out = run(), tmp_path / "out"
    assert results == ExperimentResults.read(out)
    for name in (
        "config.yaml",
        "environment.json",
        "journal.jsonl",
        "report.html",
        "report.md",
        "report.tex",
    ):
        assert (out / name).stat().st_size > 0
    assert [setting.name for setting in results.settings] == ["paper", "wide", "deep"]
    assert [setting.seeds for setting in results.settings] == [(0, 1, 2)] * 3
    assert results.settings[0].against_reference is None
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(row["setting"], row["seed"]) for row in rows][:4] == [
        *(("paper", "0"), ("paper", "1"), ("paper", "2"), ("wide", "0")),
    ]
    assert float(rows[3]["novel_test.b3_f1"]) == results.runs[3].metrics["novel_test.b3_f1"]
    assert rows[3]["loss.pair_margin"] == "3.0"


def test_comparison_is_the_paired_test_corrected_by_holm(run):
    results = run()
    values = {setting.name: setting.metrics["novel_test.b3_f1"].values for setting in results.settings}
    alone = {name: compare(values[name], values["paper"]) for name in ("wide", "deep")}
    found = {each.name: each.against_reference for each in results.settings if each.against_reference}
    assert found["wide"].difference == pytest.approx(alone["wide"].difference)
    # The smaller of two p values counts twice.
    assert found["wide"].p_value == pytest.approx(2 * alone["wide"].p_value)
    assert found["deep"].p_value == pytest.approx(max(found["wide"].p_value, alone["deep"].p_value))
    assert found["wide"].num_compared == 2
    assert found["wide"].probability_better == pytest.approx(alone["wide"].probability_better)
    assert found["wide"].detectable > 0


DATA_SETS = {"few": {"builtin.seed": 1}, "many": {"builtin.seed": 2}}


def test_data_sets_are_compared_each_within_itself_and_corrected_together(run, score_of, tmp_path):
    def end(spec):
        # The setting that wins on one data set is like the reference on the other.
        is_lost = spec["name"].startswith("wide-on-many")
        return score_of(spec) - 0.2 * is_lost - 0.1 * ("-on-many-" in spec["name"])

    results, out = run(end, data_sets=DATA_SETS), tmp_path / "out"
    assert [setting.name for setting in results.on("few")] == ["paper-on-few", "wide-on-few", "deep-on-few"]
    found = {each.name: each for each in results.settings}
    values = {name: each.metrics["novel_test.b3_f1"].values for name, each in found.items()}
    alone = compare(values["wide-on-few"], values["paper-on-few"])
    compared = found["wide-on-few"].against_reference
    assert (compared.num_compared, compared.difference) == (4, pytest.approx(alone.difference))
    assert compared.p_value == pytest.approx(4 * alone.p_value)
    assert found["paper-on-few"].against_reference is found["paper-on-many"].against_reference is None
    text = (out / "report.md").read_text()
    assert "On few: Wide is significantly better than paper" in text
    assert "On many: No significant difference to paper: wide, deep." in text
    page = (out / "report.html").read_text()
    for name in DATA_SETS:
        assert f'id="settings-on-{name}"' in page
        assert page.count(f'id="picture-seeds-{name}"') == 1
    assert "are corrected for 4 comparisons" in page
    assert "corrected for 2" not in page
    table = (out / "report.tex").read_text()
    assert table.count("corrected for 4 comparisons") == 2
    assert table.count(r"\label{tab:rocore-novel-few}") == 1
    assert "RoCORE on many, novel test split" in table
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(row["setting"], row["data_set"], row["seed"]) for row in rows][8:10] == [
        *(("deep", "few", "2"), ("paper", "many", "0")),
    ]
    assert (out / "tensorboard" / "wide-on-many" / "seed2").is_dir()


def test_order_of_settings_and_seeds_changes_no_figure(run):
    settings = {"deep": {"encoder.output_layer": 5}, "wide": {"loss.pair_margin": 3.0}, "paper": {}}
    one, other = run(), run(out="other", settings=settings, seeds=[2, 0, 1])
    as_named = [{each.name: each for each in results.settings} for results in (one, other)]
    assert as_named[0] == as_named[1]
    by_run = [{run.name: run for run in results.runs} for results in (one, other)]
    assert by_run[0] == by_run[1]


def test_report_says_what_differs_and_what_can_not_be_seen(run, tmp_path):
    run()
    for name in ("report.html", "report.md"):
        text = (tmp_path / "out" / name).read_text()
        assert "Wide is significantly better than paper" in text
        assert "No significant difference to paper: deep." in text
        assert "Synthetic data" in text
        assert "Detectable" in text
        assert "the search" not in text
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<title>small · RoCORE experiment</title>" in page
    assert "of every seed" in page
    assert "Difference to paper" in page
    assert "results.json and results.csv beside" in page
    table = (tmp_path / "out" / "report.tex").read_text()
    assert "wide & 3 &" in table
    assert "to paper, paired by seed" in table
    assert "Paper's configuration" not in table


def test_failed_runs_are_shown_and_not_averaged(run, score_of, tmp_path):
    results = run(lambda spec: "it *broke*" if spec["name"] == "wide-seed1" else score_of(spec))
    wide = results.settings[1]
    assert (wide.seeds, [failure.seed for failure in wide.failed_seeds]) == ((0, 2), [1])
    assert wide.metrics["novel_test.b3_f1"].n == wide.against_reference.num_pairs == 2
    assert "1 of 9 runs failed, and don't count." in (tmp_path / "out" / "report.md").read_text()
    assert "it *broke*" in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "runs" / "wide-seed1" / "error.txt").read_text() == "it *broke*\n"


def test_experiment_whose_runs_all_fail_ends_with_the_first_cause_and_a_report(run, tmp_path):
    with pytest.raises(SweepError, match=r"all 9 failed; see error.txt in .*runs; the first one: no luck"):
        run(lambda spec: "no luck")
    assert (tmp_path / "out" / "report.html").exists()


def test_experiment_without_a_reference_compares_nothing(run, tmp_path):
    results = run(reference=None)
    assert {setting.against_reference for setting in results.settings} == {None}
    assert "Nothing was compared" in (tmp_path / "out" / "report.md").read_text()


def test_setting_with_other_data_has_means_but_no_test(run, tmp_path):
    settings = {
        "paper": {},
        "wide": {"loss.pair_margin": 3.0},
        "deep": {"data.builtin.instances_per_relation": 20},
    }
    results = run(settings=settings)
    assert [setting.shares_data for setting in results.settings] == [True, True, False]
    assert results.settings[2].against_reference is None
    assert results.settings[1].against_reference.num_compared == 1
    assert results.settings[2].metrics["novel_test.b3_f1"].n == 3
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Not compared, as their data are others than paper's: deep." in text


def test_experiment_stopped_reports_what_is_known_and_goes_on_with_what_is_missing(
    run, no_ray, facts, score_of, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(SweepInterrupted, match=f"go on with: rocore experiment --resume {out}$") as stop:
        run(lambda spec: KeyboardInterrupt() if spec["name"] == "deep-seed1" else score_of(spec))
    assert stop.value.exit_code == 130
    partial = ExperimentResults.read(out)
    assert (partial.status, len(partial.runs)) == ("interrupted", 6)
    assert "5 of 9 runs are done" in (out / "report.html").read_text()
    before = {each.name: each for each in partial.runs if each.state == "complete"}
    started = no_ray(score_of)
    results = resume_experiment(out, prepare=lambda _: facts).results
    assert [spec["name"] for spec in started] == ["deep-seed1", "paper-seed2", "wide-seed2", "deep-seed2"]
    assert results.status == "complete"
    assert {each.name: each for each in results.runs if each.name in before} == before
    assert "runs are done" not in (out / "report.html").read_text()


def test_experiment_stopped_before_anything_ended_reports_nothing(run, tmp_path):
    with pytest.raises(SweepInterrupted, match="go on with"):
        run(lambda spec: KeyboardInterrupt())
    assert not (tmp_path / "out" / "results.json").exists()


def test_experiment_resumed_when_complete_runs_nothing_and_reports_again(
    run, no_ray, facts, score_of, tmp_path
):
    first = run()
    (tmp_path / "out" / "report.html").unlink()
    started = no_ray(score_of)
    again = resume_experiment(tmp_path / "out", prepare=lambda _: facts).results
    assert started == []
    assert again.settings == first.settings
    assert (tmp_path / "out" / "report.html").exists()


def test_experiment_on_a_full_disk_says_how_to_go_on(run):
    with pytest.raises(DiskFullError, match=r"nothing is lost: .*`rocore experiment --resume"):
        run(lambda spec: OSError(errno.ENOSPC, "No space left on device"))


@pytest.mark.parametrize(
    "key", ["train.learning_rate", "seeds", "settings.wide.loss.pair_margin", "reference"]
)
def test_experiment_that_goes_on_refuses_to_compute_something_else(run, facts, tmp_path, key):
    run()
    value = {"seeds": [0], "reference": "deep"}.get(key, 0.5)
    with pytest.raises(ConfigError, match="an experiment that goes on must compute what it began to, but `"):
        resume_experiment(tmp_path / "out", overrides={key: value}, prepare=lambda _: pytest.fail("prepared"))


def test_experiment_goes_on_with_settings_that_say_where_it_runs(run, no_ray, facts, score_of, tmp_path):
    run()
    overrides = {"resources.cpus_per_trial": 2, "cache.max_gib": 7.0}
    result = resume_experiment(tmp_path / "out", overrides=overrides, prepare=lambda _: facts)
    assert "cpus_per_trial: 2" in (result.directory / "config.yaml").read_text()
    assert "max_gib: 7.0" in (result.directory / "config.yaml").read_text()


def test_experiment_resumed_on_other_data_is_refused(run, facts, tmp_path):
    run()
    other = dataclasses.replace(facts, fingerprints={"encoder of paper": "00"})
    with pytest.raises(ConfigError, match=r"that the experiment began with, but encoder of paper changed"):
        resume_experiment(tmp_path / "out", prepare=lambda _: other)


def test_experiment_into_a_directory_in_use_is_refused_before_anything_runs(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").touch()
    with pytest.raises(ConfigError, match="the experiment directory must be new or empty"):
        run()


def test_nodes_of_a_cluster_build_trunks_and_say_the_precision(
    make_experiment, no_ray, facts, score_of, tmp_path, monkeypatch
):
    asked = []

    def build_trunks(needs, echo):
        asked.append(needs)
        return "bf16"

    monkeypatch.setattr("tune.ray_trunks.build_trunks", build_trunks)
    on_nodes = dataclasses.replace(facts, on_nodes=True)
    started = no_ray(score_of)
    settings = {"paper": {}, "deep": {"encoder.precision": "fp32", "encoder.output_layer": 5}}
    experiment = make_experiment({"resources.address": "auto"}, settings=settings)
    run_experiment(experiment, tmp_path / "out", prepare=lambda _: on_nodes)
    assert asked[0].config.encoder.precision == "auto"
    groups = [(config.encoder.precision, layers) for config, layers in asked[0].groups("bf16")]
    assert groups == [("bf16", [4]), ("fp32", [5])]
    assert [spec["config"]["encoder"]["precision"] for spec in started[:2]] == ["bf16", "fp32"]
    resume_experiment(tmp_path / "out", prepare=lambda _: on_nodes)
    # Nothing was left to train: no node is waited for.
    assert len(asked) == 1
    resume_experiment(tmp_path / "out", overrides={"seeds.number": 4}, prepare=lambda _: on_nodes)
    assert [needs.config.encoder.precision for needs in asked] == ["auto", "bf16"]


def test_settings_of_several_devices_must_name_their_precision_on_a_cluster(make_experiment):
    settings = {"paper": {}, "cuda": {"train.device": "cuda"}}
    experiment = make_experiment({"resources.address": "auto"}, settings=settings)
    with pytest.raises(ConfigError, match="is left to the devices cpu and cuda; set it"):
        trunk_needs(experiment)


def test_equal_settings_are_told_of(make_experiment, no_ray, facts, score_of, tmp_path):
    said = []
    no_ray(score_of)
    settings = {"paper": {}, "deep": {"loss.pair_margin": 2.0}}
    run_experiment(
        make_experiment(settings=settings), tmp_path / "out", prepare=lambda _: facts, echo=said.append
    )
    assert "note: a note" in said
    assert any("settings paper and deep are the same configuration" in line for line in said)


def test_tensorboard_has_a_run_a_setting_and_seed_and_one_table(run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    run()
    write_experiment_report(tmp_path / "out")
    root = tmp_path / "out" / "tensorboard"
    assert sorted(str(each.relative_to(root)) for each in root.glob("*/*") if each.is_dir()) == sorted(
        f"{name}/seed{seed}" for name in ("paper", "wide", "deep") for seed in range(3)
    )
    table = EventAccumulator(str(root)).Reload().summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(table).experiment
    assert [info.name for info in experiment.hparam_infos] == [
        *("setting", "seed", "encoder.output_layer", "loss.pair_margin"),
    ]
    assert [info.name.tag for info in experiment.metric_infos] == ["novel_test.b3_f1", "novel_test.ari"]
    row = EventAccumulator(str(root / "wide" / "seed1")).Reload()
    content = row.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["setting"].string_value == "wide"
    assert start.hparams["loss.pair_margin"].number_value == 3.0


def test_readers_of_sweeps_refuse_an_experiment_and_say_where_its_runs_are(run, tmp_path):
    run()
    for read in (read_results, lambda out: export(out, tmp_path / "exported")):
        with pytest.raises(
            CheckpointError, match=r"is an experiment's; .* the folders in .*runs are run dir"
        ):
            read(tmp_path / "out")


def test_results_of_another_kind_are_refused(run, tmp_path):
    run()
    path = tmp_path / "out" / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(CheckpointError, match=r"of version 1, but 1 things .*version"):
        ExperimentResults.read(tmp_path / "out")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"that holds results.json, but it doesn't"):
        ExperimentResults.read(tmp_path / "out")


def test_resume_of_a_folder_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"that holds config.yaml, but it doesn't"):
        resume_experiment(tmp_path)
    (tmp_path / "config.yaml").write_text("search: {}\n")
    with pytest.raises(CheckpointError, match=r"but is a sweep's; go on with it with `rocore sweep --resume"):
        resume_experiment(tmp_path)
