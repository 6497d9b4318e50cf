"""h' in a final run: what is taken when, that it survives a restart, and what the report is given."""

import numpy as np
import pytest

from rocore.config import make_config
from rocore.errors import CheckpointError
from rocore.text import shown
from tests.awkward import AWKWARD
from tune.objective import final_run
from tune.report.pictures_representations import representations_section
from tune.report.results import Results
from tune.representations import FILE, MAX_INSTANCES, Representations, gather
from tune.tensorboard_representations import write_representations

CONFIG = make_config({"train": {"pretrain_epochs": 2, "max_epochs": 2}})
RESULTS = {
    "verdict": {"best": "paper"},
    "final": [{"name": "paper", "seeds": [4, 7], "params": {"loss.center_weight": 0.005}}],
}


def finished(run):
    while not run.finished:
        run.run_epoch()
    return run.representations


def make_folder(directory, seed):
    folder = directory / "final" / f"paper-seed{seed}"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def left_behind(tmp_path, engine):
    """A sweep directory with the folder of paper-seed7, while paper-seed4 left none."""
    run = final_run(CONFIG, engine)
    finished(run)
    run.keep(make_folder(tmp_path, seed=7))
    return tmp_path


def test_final_run_keeps_h_at_the_start_after_pretraining_and_after_training(engine):
    found = finished(final_run(CONFIG, engine))
    assert list(found.stages) == ["start", "pretrained", "trained"]
    # The fake trainer moves every other instance by one an epoch.
    moved = {stage: float((points - found.stages["start"])[1, 0]) for stage, points in found.stages.items()}
    assert moved == {
        "start": 0.0,
        "pretrained": pytest.approx(2, abs=0.01),
        "trained": pytest.approx(4, abs=0.01),
    }


@pytest.mark.parametrize(
    ("gold", "labels"),
    [(True, ["relation 0", "relation 1", "relation 0"]), (False, ["cluster 0", "cluster 1", "cluster 2"])],
)
def test_final_run_names_groups_by_gold_or_by_cluster(engine, gold, labels):
    engine.gold = gold
    found = finished(final_run(CONFIG, engine))
    assert found.labels[:3].tolist() == labels
    assert (found.labels[-1] == "") is gold
    assert found.gold is gold


def test_final_run_that_goes_on_from_a_checkpoint_keeps_the_stages_before(engine, tmp_path):
    whole, first = final_run(CONFIG, engine), final_run(CONFIG, engine)
    for _ in range(3):
        first.run_epoch()
    first.save(tmp_path)
    second = final_run(CONFIG, engine)
    second.load(tmp_path)
    for stage, points in finished(whole).stages.items():
        np.testing.assert_array_equal(finished(second).stages[stage], points)


def test_search_run_keeps_no_representations(engine, tmp_path):
    from tune.config import ObjectiveConfig
    from tune.objective import search_run

    run = search_run(CONFIG, ObjectiveConfig(), engine)
    run.run_epoch()
    run.save(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_representations_of_many_instances_are_thinned_evenly():
    from types import SimpleNamespace

    import torch

    found = Representations()
    many = torch.arange(4 * MAX_INSTANCES, dtype=torch.float32)[:, None] / 1000
    found.take("start", SimpleNamespace(relation_repr=lambda part: many))
    assert len(found.stages["start"]) == MAX_INSTANCES
    assert float(found.stages["start"][-1, 0]) == pytest.approx(float(many[-1, 0]), rel=1e-3)


def test_gather_takes_the_first_seed_that_left_them_and_lays_them_out(left_behind):
    found = gather(left_behind, RESULTS)
    read = Representations.load(left_behind / FILE)
    assert found.run == read.run == "paper-seed7"
    assert read.maps["trained"].shape == (19, 2)
    assert "" not in read.labels[read.shown]
    assert read.silhouettes["trained"] > read.silhouettes["start"]
    np.testing.assert_array_equal(read.maps["start"], found.maps["start"])


def test_gather_passes_over_a_torn_file(left_behind):
    (make_folder(left_behind, seed=4) / FILE).write_bytes(b"torn")
    assert gather(left_behind, RESULTS).run == "paper-seed7"


def test_gather_without_any_removes_an_older_file(tmp_path):
    (tmp_path / FILE).write_bytes(b"old")
    assert gather(tmp_path, RESULTS) is None
    assert not (tmp_path / FILE).exists()


def test_representations_from_a_torn_file_say_so(tmp_path):
    (tmp_path / FILE).write_bytes(b"PK\x03\x04torn")
    with pytest.raises(CheckpointError, match="must hold representations"):
        Representations.load(tmp_path / FILE)


def test_section_shows_every_stage_with_its_numbers(left_behind):
    section = representations_section(Results(RESULTS, representations=gather(left_behind, RESULTS)))
    pictures = section.blocks[1].pictures
    assert [picture.title for picture in pictures] == ["At the start", "After pre-training", "After training"]
    assert [row[0].text for row in pictures[0].table.rows[:2]] == ["relation 0", "relation 1"]
    assert [row[1].text for row in pictures[0].table.rows[:2]] == ["10", "9"]


def test_section_without_representations_is_absent():
    assert representations_section(Results(RESULTS)) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")
def test_tensorboard_gets_images_tensors_and_labels_in_the_run_they_come_from(left_behind):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = left_behind / "tensorboard" / "paper-seed7-lambda=0.005"
    run.mkdir(parents=True)
    write_representations(left_behind, gather(left_behind, RESULTS))
    accumulator = EventAccumulator(str(run))
    accumulator.Reload()
    assert accumulator.Tags()["images"] == ["tsne/start", "tsne/pretrained", "tsne/trained"]
    tensors = np.loadtxt(run / "trained.tsv", delimiter="\t")
    labels = (run / "labels.tsv").read_text(encoding="utf-8").splitlines()
    assert tensors.shape == (20, 4)
    assert labels[:2] == ["relation 0", "relation 1"]
    assert labels[-1] == "none"
    assert 'tensor_path: "pretrained.tsv"' in (run / "projector_config.pbtxt").read_text(encoding="utf-8")


def test_final_run_with_null_characters_in_relations_keeps_them_apart():
    from types import SimpleNamespace

    positions, relations = np.arange(3), ["a", "a\0", "\0"]
    trainer = SimpleNamespace(predict_novel=lambda part: SimpleNamespace(classes=positions))
    gold = SimpleNamespace(of=lambda rows: (positions, relations))
    found = Representations()
    found.label(trainer, SimpleNamespace(gold=gold, novel_rows={"test": positions}))
    assert found.labels.tolist() == ["a", r"a\x00", r"\x00"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")
def test_tensorboard_shows_awkward_names_a_line_each(tmp_path):
    every = [name.replace("\0", r"\x00") for name in AWKWARD.values()]
    found = Representations(run="paper-seed1", labels=np.array(every), shown=np.arange(len(every)))
    found.maps = {"trained": np.random.default_rng(0).normal(size=(len(every), 2))}
    write_representations(tmp_path, found)
    folder = tmp_path / "tensorboard" / "paper-seed1"
    text = (folder / "labels.tsv").read_bytes().decode()
    assert text.split("\n") == [*(shown(name) for name in every), ""]
    assert "\t" not in text
    assert list(folder.glob("events.*"))


def test_layout_that_fails_is_named_in_the_report(left_behind, monkeypatch):
    monkeypatch.setattr(Representations, "project", lambda self: 1 // 0)
    gather(left_behind, RESULTS)
    section = representations_section(
        Results(RESULTS, representations=Representations.load(left_behind / FILE))
    )
    assert section.fault.startswith("ZeroDivisionError")
