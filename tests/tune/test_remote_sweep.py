import json
import shutil
import threading

import pytest

from rocore import Storage
from rocore.errors import ConfigError, StorageError
from tune import remote_sweep
from tune.collection import collect, manifest
from tune.journal import FILE
from tune.ledger import Ledger, TrialRecord, read_records
from tune.remote_sweep import LEASE, LINK, SEGMENTS, RemoteSweep, copy_root, has_begun, opened, snapshot

ROW = {"phase": "joint", "objective": 0.5, "seconds": 1.0, "metrics": None}


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path, monkeypatch):
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_sweep, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(remote_sweep, "TAKEOVER_S", 0.5)
    base = f"file://{tmp_path}/store" if request.param == "file" else request.getfixturevalue("bucket")
    return f"{base}/sweeps/a"


def run(remote, number, epochs=2, role="search", end="complete"):
    """Let a trial run, as far as the journal sees it."""
    with Ledger(remote.directory, (remote,), sink=remote.sink) as ledger:
        ledger.begin({"study": "s"})
        record = TrialRecord(f"{number:04d}", number, {}, role=role)
        ledger.start(record)
        for epoch in range(1, epochs + 1):
            ledger.report(record.name, {**ROW, "epoch": epoch, "finished": epoch == epochs})
        if end is not None:
            ledger.end(record.name, end)


def states(folder):
    return {name: (record.state, record.epochs) for name, record in read_records(folder).by_name.items()}


def test_sweep_on_a_store_is_there_whole_after_its_end(url):
    with opened(url) as (directory, remote):
        directory.create()
        directory.write_text("config.yaml", "a: 1\n")
        run(remote, 0)
        assert directory.place == url
    assert set(Storage.at(url).files()) == {"config.yaml", FILE, "manifest.json"}
    shutil.rmtree(copy_root(url))
    found = snapshot(url)
    assert (found / "config.yaml").read_text() == "a: 1\n"
    assert states(found) == {"0000": ("complete", 2)}


def test_journal_reaches_the_store_before_anything_acts_on_a_line(url):
    remote = RemoteSweep(url)
    with remote.held():
        run(remote, 0, end=None)
        machine = copy_root(url)
        assert has_begun(url)
        assert (snapshot(url) / FILE).read_bytes() == (machine / FILE).read_bytes()


def test_machine_that_is_lost_at_any_event_leaves_all_that_was_told(url, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_sweep, "SEGMENTS_TOGETHER", 3)
    remote = RemoteSweep(url)
    with remote.held():
        for number in range(4):
            run(remote, number)
            copied = RemoteSweep(url, tmp_path / f"other-{number}")
            copied.pull()
            assert states(copied.root) == states(remote.root)
        assert len(Storage.at(url).files(SEGMENTS)) < 12


@pytest.mark.parametrize("cut", range(1, 7))
def test_putting_segments_together_may_be_cut_off_anywhere(url, tmp_path, monkeypatch, cut):
    monkeypatch.setattr(remote_sweep, "SEGMENTS_TOGETHER", 4)
    remote, left = RemoteSweep(url), [cut]
    real = {name: getattr(Storage, name) for name in ("write", "remove")}

    def cut_off(name):
        def call(self, *arguments):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return real[name](self, *arguments)

        return call

    remote.root.mkdir(parents=True)
    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(Storage, name, cut_off(name))
        with pytest.raises(KeyboardInterrupt):
            run(remote, 0, epochs=9)
    other = RemoteSweep(url, tmp_path / "other")
    other.pull()
    stored, local = (
        (root / FILE).read_bytes() if (root / FILE).exists() else b"" for root in (other.root, remote.root)
    )
    assert local.startswith(stored)
    assert local.count(b"\n") - stored.count(b"\n") <= 1


def test_own_copy_that_is_ahead_of_the_store_brings_it_up_to_date(url):
    with opened(url) as (_, remote):
        run(remote, 0, end=None)
        with (remote.root / FILE).open("a") as journal:
            end = {"event": "end", "name": "0000", "state": "pruned", "error": None, "at": 1}
            journal.write(json.dumps(end) + "\n")
    Storage.at(url).upload(copy_root(url) / FILE, FILE)
    with opened(url) as (_, remote):
        assert states(snapshot(url)) == {"0000": ("pruned", 2)}


def test_copy_of_a_machine_that_was_away_is_replaced(url, tmp_path):
    with opened(url) as (_, remote):
        run(remote, 0)
    away = tmp_path / "away"
    shutil.copytree(copy_root(url), away)
    with (away / FILE).open("a") as journal:
        journal.write('{"event": "session", "at": 1}\n')
    with opened(url) as (_, remote):
        run(remote, 1)
    stale = RemoteSweep(url, away)
    stale.pull()
    assert states(away) == {"0000": ("complete", 2), "0001": ("complete", 2)}


def test_second_driver_is_refused_while_the_first_one_lives(url):
    with opened(url), pytest.raises(ConfigError, match=r"another one is running .* \(.*process"), opened(url):
        pass


def test_lease_of_a_driver_that_was_killed_is_taken_over_and_it_is_told(url):
    first = RemoteSweep(url)
    first._take_lease()
    with opened(url), pytest.raises(StorageError, match="must be this process's alone"):
        first._check_lease()
    assert not Storage.at(url).exists(LEASE)


def test_driver_whose_sweep_was_taken_over_writes_nothing_more(url):
    remote = RemoteSweep(url)

    def go_on_too_long():
        with remote.held():
            run(remote, 0)
            Storage.at(url).write(LEASE, b'{"owner": "somebody"}')
            while remote._lost is None:
                threading.Event().wait(0.05)
            run(remote, 1)

    with pytest.raises(StorageError, match="has taken it over"):
        go_on_too_long()
    assert json.loads(Storage.at(url).read(LEASE))["owner"] == "somebody"
    assert "0001" not in states(snapshot(url))


def test_folder_of_a_final_run_comes_from_the_store_and_its_model_goes_from_there(url, tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/weights").write_text("w")
    (tmp_path / "run/metrics.json").write_text("{}")
    with opened(url) as (directory, remote):
        record = TrialRecord("paper-seed1", 1, {}, role="final", state="complete")
        Storage.at(directory.place_of(record)).push(tmp_path / "run")
        remote.ended(record)
        assert (directory.folder(record) / "checkpoints/weights").read_text() == "w"
        directory.remove_model(record)
        assert not (directory.folder(record) / "checkpoints").exists()
        run(remote, 0)
    names = set(Storage.at(url).files("final"))
    assert names == {"final/paper-seed1/metrics.json"}


def test_folder_of_a_final_run_that_nobody_copied_comes_with_a_resume(url, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.json").write_text("{}")
    with opened(url) as (_, remote):
        run(remote, 0)
    Storage.at(f"{url}/final/paper-seed1").push(tmp_path / "run")
    with opened(url) as (directory, _):
        assert (directory.root / "final/paper-seed1/metrics.json").is_file()


def test_local_folder_that_is_a_copy_leads_to_its_url(url):
    with opened(url) as (_, remote):
        run(remote, 0)
    assert (copy_root(url) / LINK).is_file()
    with opened(copy_root(url)) as (directory, _):
        assert directory.place == url


def test_collect_brings_a_sweep_from_its_url_and_again_what_changed(url, tmp_path):
    with opened(url) as (directory, remote):
        directory.create()
        directory.write_text("config.yaml", "a: 1\n")
        run(remote, 0)
    assert collect(url, tmp_path / "here") == []
    with opened(url) as (directory, remote):
        directory.write_text("config.yaml", "a: 2\n")
        run(remote, 1)
    assert collect(url, tmp_path / "here") == []
    assert (tmp_path / "here/config.yaml").read_text() == "a: 2\n"
    assert manifest(tmp_path / "here") == manifest(copy_root(url))
