"""What TensorBoard reads back."""

import pytest

from rocore.text import shown
from tests.awkward import AWKWARD
from tune.tensorboard import FINAL_MEAN, FINAL_STD, OBJECTIVE, TrialLogger, write_hparams

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")

SPACE = {
    "loss.center_weight": {"distribution": "log_uniform", "low": 1e-4, "high": 0.1},
    "encoder.output_layer": {"distribution": "integer", "low": 2, "high": 6},
    "model.rectifier": {"distribution": "categorical", "choices": ["relu", "leaky_relu"]},
    "train.dropout": {"distribution": "categorical", "choices": [None, 0.1]},
}
PARAMS = {
    "loss.center_weight": 0.005,
    "encoder.output_layer": 4,
    "model.rectifier": "relu",
    "train.dropout": None,
}
FIRST = "0000-lambda=0.005-layer=4-rectifier=relu-dropout=none"
SECOND = "0001-lambda=0.005-layer=5-rectifier=relu-dropout=none"
FIGURES = {"mean": 0.7, "std": 0.02, "n": 3, "values": [0.68, 0.7, 0.72]}


def results():
    trials = [
        {"number": 0, "params": PARAMS, "objective": 0.61, "state": "complete"},
        {"number": 1, "params": PARAMS | {"encoder.output_layer": 5}, "objective": None, "state": "failed"},
    ]
    final = [{"name": "paper", "params": PARAMS, "metrics": {"novel_test.b3_f1": FIGURES}}]
    return {"objective": {"stamp": None}, "search": {"space": SPACE, "trials": trials}, "final": final}


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def plugin_content(folder, tag):
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    content = read(folder).summary_metadata[tag].plugin_data.content
    assert metadata.PLUGIN_NAME == "hparams"
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_trial_logger_writes_one_run_with_the_names_it_was_given(tmp_path):
    logger = TrialLogger(tmp_path, "0000", PARAMS)
    logger.log(1, {"objective": 0.0, "loss/pair": 1.5})
    logger.log(2, {"objective": 0.25, "loss/pair": 1.0})
    logger.close()
    assert [folder.name for folder in (tmp_path / "tensorboard").iterdir()] == [FIRST]
    accumulator = read(tmp_path / "tensorboard" / FIRST)
    assert accumulator.Tags()["scalars"] == ["objective", "loss/pair"]
    assert [(event.step, event.value) for event in accumulator.Scalars("objective")] == [(1, 0.0), (2, 0.25)]


def test_trial_logger_flushes_every_epoch(tmp_path):
    logger = TrialLogger(tmp_path, "0000", PARAMS)
    logger.log(1, {"objective": 0.5})
    assert len(read(tmp_path / "tensorboard" / FIRST).Scalars("objective")) == 1
    logger.close()


def test_hparams_describe_every_key_with_its_domain(tmp_path):
    write_hparams(tmp_path, results())
    experiment = plugin_content(tmp_path / "tensorboard", "_hparams_/experiment").experiment
    infos = {info.name: info for info in experiment.hparam_infos}
    assert list(infos) == ["lambda", "layer", "rectifier", "dropout"]
    assert (infos["lambda"].domain_interval.min_value, infos["lambda"].domain_interval.max_value) == (
        1e-4,
        0.1,
    )
    assert (infos["layer"].domain_interval.min_value, infos["layer"].domain_interval.max_value) == (2, 6)
    assert [value.string_value for value in infos["rectifier"].domain_discrete.values] == [
        "leaky_relu",
        "relu",
    ]
    assert [value.string_value for value in infos["dropout"].domain_discrete.values] == ["0.1", "None"]
    assert [metric.name.tag for metric in experiment.metric_infos] == [OBJECTIVE, FINAL_MEAN, FINAL_STD]


def test_hparams_of_a_trial_hold_its_values_status_and_figures(tmp_path):
    write_hparams(tmp_path, results())
    folder = tmp_path / "tensorboard" / FIRST
    start = plugin_content(folder, "_hparams_/session_start_info").session_start_info
    assert start.hparams["lambda"].number_value == 0.005
    assert start.hparams["rectifier"].string_value == "relu"
    assert start.hparams["dropout"].string_value == "None"
    accumulator = read(folder)
    found = {tag: accumulator.Scalars(tag)[0].value for tag in accumulator.Tags()["scalars"]}
    assert found == pytest.approx({OBJECTIVE: 0.61, FINAL_MEAN: 0.7, FINAL_STD: 0.02})


@pytest.mark.parametrize(("run", "status"), [(FIRST, "STATUS_SUCCESS"), (SECOND, "STATUS_FAILURE")])
def test_hparams_say_how_a_trial_ended(tmp_path, run, status):
    from tensorboard.plugins.hparams import api_pb2

    write_hparams(tmp_path, results())
    end = plugin_content(tmp_path / "tensorboard" / run, "_hparams_/session_end_info").session_end_info
    assert api_pb2.Status.Name(end.status) == status


def test_hparams_of_a_failed_trial_hold_no_figures(tmp_path):
    write_hparams(tmp_path, results())
    assert read(tmp_path / "tensorboard" / SECOND).Tags()["scalars"] == []


def test_hparams_written_again_replace_the_table_and_keep_the_curves(tmp_path):
    logger = TrialLogger(tmp_path, "0000", PARAMS)
    logger.log(1, {"objective": 0.5})
    logger.close()
    write_hparams(tmp_path, results() | {"final": []})
    write_hparams(tmp_path, results())
    root = tmp_path / "tensorboard"
    assert sorted(folder.name for folder in root.iterdir() if folder.is_dir()) == [FIRST, SECOND]
    assert len(list((root / FIRST).iterdir())) == 2
    accumulator = read(root / FIRST)
    assert {tag: len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"]} == {
        "objective": 1,
        OBJECTIVE: 1,
        FINAL_MEAN: 1,
        FINAL_STD: 1,
    }


def test_hparams_of_an_oracle_sweep_are_stamped(tmp_path):
    write_hparams(tmp_path, results() | {"objective": {"stamp": "selected on novel gold labels"}})
    experiment = plugin_content(tmp_path / "tensorboard", "_hparams_/experiment").experiment
    assert "selected on novel gold labels" in experiment.metric_infos[0].display_name


def test_hparams_without_trials_write_nothing(tmp_path):
    write_hparams(tmp_path, {"search": {"space": SPACE, "trials": []}})
    assert not (tmp_path / "tensorboard").exists()


def test_hparams_show_names_as_they_are(tmp_path):
    every = list(AWKWARD.values())
    space = {"encoder.name": {"distribution": "categorical", "choices": every}}
    trials = [
        {"number": number, "params": {"encoder.name": name}, "objective": 0.5, "state": "complete"}
        for number, name in enumerate(every)
    ]
    write_hparams(tmp_path, {"search": {"space": space, "trials": trials}})
    experiment = plugin_content(tmp_path / "tensorboard", "_hparams_/experiment").experiment
    values = {value.string_value for value in experiment.hparam_infos[0].domain_discrete.values}
    assert values == {shown(name) for name in every}
    folders = sorted(path for path in (tmp_path / "tensorboard").iterdir() if path.is_dir())
    assert len(folders) == len(every)
    starts = [plugin_content(folder, "_hparams_/session_start_info") for folder in folders[:3]]
    assert [start.session_start_info.hparams["name"].string_value for start in starts] == every[:3]
