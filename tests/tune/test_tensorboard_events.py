import threading

import pytest

from tune.tensorboard_events import EventFile

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_event_file_holds_what_was_added_before_it_is_closed(tmp_path):
    file = EventFile(tmp_path / "run")
    file.add_scalars({"objective": 0.5, "loss/pair": 1.5}, 3)
    found = read(tmp_path / "run")
    assert found.Tags()["scalars"] == ["objective", "loss/pair"]
    assert [(event.step, event.value) for event in found.Scalars("loss/pair")] == [(3, 1.5)]
    file.close()


def test_event_files_of_one_run_have_names_of_their_own_and_merge(tmp_path):
    for step in range(3):
        file = EventFile(tmp_path, ".suffix")
        file.add_scalars({"objective": float(step)}, step)
        file.close()
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 3
    assert all(name.startswith("events.out.tfevents.") and name.endswith(".suffix") for name in names)


def test_event_file_starts_no_thread(tmp_path):
    before = threading.active_count()
    file = EventFile(tmp_path)
    assert threading.active_count() == before
    file.close()
