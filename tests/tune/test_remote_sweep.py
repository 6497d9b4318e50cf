import json
import shutil
import threading
import time

import pytest

from rocore import Storage
from rocore.errors import CheckpointError, ConfigError, StorageAwayError, StorageError
from tune.journal import FILE
from tune.ledger import Ledger
from tune.records import TrialRecord, read_records
from tune.remote import journal as remote_journal
from tune.remote import lease as remote_lease
from tune.remote import sweep as remote_sweep
from tune.remote.copy import LINK, collect, copy_root, has_begun, snapshot
from tune.remote.journal import SEGMENTS
from tune.remote.lease import LEASE, Lease
from tune.remote.sweep import RemoteSweep, opened

ROW = {"phase": "joint", "objective": 0.5, "seconds": 1.0, "metrics": None}


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path, monkeypatch):
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_lease, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(remote_lease, "TAKEOVER_S", 0.5)
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


def test_what_a_sweep_is_reaches_the_store_before_its_first_line(url, tmp_path):
    with opened(url) as (directory, remote):
        directory.create()
        directory.write_text("config.yaml", "a: 1\n")
        assert not has_begun(url)
        run(remote, 0, end=None)
        collect(url, tmp_path / "here")
        assert (tmp_path / "here/config.yaml").read_text() == "a: 1\n"


def test_machine_that_is_lost_at_any_event_leaves_all_that_was_told(url, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_journal, "SEGMENTS_TOGETHER", 3)
    remote = RemoteSweep(url)
    with remote.held():
        for number in range(4):
            run(remote, number)
            collect(url, tmp_path / f"other-{number}")
            assert states(tmp_path / f"other-{number}") == states(remote.root)
        assert len(Storage.at(url).files(SEGMENTS)) < 12


@pytest.mark.parametrize("cut", range(1, 7))
def test_putting_segments_together_may_be_cut_off_anywhere(url, tmp_path, monkeypatch, cut):
    monkeypatch.setattr(remote_journal, "SEGMENTS_TOGETHER", 4)
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
        patch.setattr(Lease, "check", lambda _: None)
        for name in real:
            patch.setattr(Storage, name, cut_off(name))
        with pytest.raises(KeyboardInterrupt):
            run(remote, 0, epochs=9)
    stored = remote_journal.read_journal(Storage.at(url))
    local = (remote.root / FILE).read_bytes()
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
    with stale.lease.held():
        stale.catch_up()
    assert states(away) == {"0000": ("complete", 2), "0001": ("complete", 2)}


def test_second_driver_is_refused_while_the_first_one_lives(url):
    with opened(url), pytest.raises(ConfigError, match=r"another one is running .* \(.*process"), opened(url):
        pass


def test_lease_of_a_driver_that_was_killed_is_taken_over_and_it_is_told(url):
    first = Lease(Storage.at(url))
    first.take()
    time.sleep(0.6)
    with opened(url), pytest.raises(StorageError, match="must be this process's alone"):
        first.check()
    assert not Storage.at(url).exists(LEASE)


def test_driver_whose_sweep_was_taken_over_writes_nothing_more(url):
    remote = RemoteSweep(url)

    def go_on_too_long():
        with remote.held():
            run(remote, 0)
            # The holder may be amid renewing it, and write over the first one.
            while remote.lease._lost is None:
                Storage.at(url).write(LEASE, b'{"owner": "somebody"}')
                time.sleep(0.02)
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
    assert {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()} == {
        path.name: path.read_bytes() for path in copy_root(url).iterdir() if path.name != LINK
    }


@pytest.mark.parametrize("held", ["another sweep", "more than the store", "files"])
def test_collect_overwrites_nothing_but_its_own_copy(url, tmp_path, held):
    with opened(url) as (_, remote):
        run(remote, 0)
    target = tmp_path / "here"
    target.mkdir()
    journal = {
        "another sweep": b'{"event": "begin"}\n',
        "more than the store": (copy_root(url) / FILE).read_bytes(),
    }
    name, content = (
        ("notes.txt", b"mine") if held == "files" else (FILE, journal[held] + b'{"event": "session"}\n')
    )
    (target / name).write_bytes(content)
    with pytest.raises(ConfigError, match="holds something else; name another one"):
        collect(url, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {name: content}


def test_collect_that_was_cut_off_goes_on(url, tmp_path, monkeypatch):
    with opened(url) as (directory, remote):
        directory.create()
        directory.write_text("config.yaml", "a: 1\n")
        run(remote, 0)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "download", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            collect(url, tmp_path / "here")
    collect(url, tmp_path / "here")
    assert (tmp_path / "here/config.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize("reads", [snapshot, lambda url: collect(url, copy_root(url) / "new")])
def test_readers_of_a_url_without_a_sweep_say_so_and_touch_nothing(url, reads):
    copy_root(url).mkdir(parents=True)
    (copy_root(url) / FILE).write_bytes(b'{"event": "session"}\n')
    with pytest.raises(CheckpointError, match="holds no journal; check the URL"):
        reads(url)
    assert (copy_root(url) / FILE).is_file()
    assert Storage.at(url).files() == {}


def test_readers_write_nothing_to_the_store(url, tmp_path, monkeypatch):
    with opened(url) as (_, remote):
        run(remote, 0, end=None)
    for name in ("write", "upload", "remove", "push"):
        monkeypatch.setattr(Storage, name, lambda *_, **__: 1 / 0)
    snapshot(url)
    snapshot(url)
    collect(url, tmp_path / "here")


def test_reader_of_another_sweep_at_the_same_url_sees_nothing_of_the_first(url):
    with opened(url) as (directory, remote):
        directory.create()
        directory.write_text("old.txt", "old")
        run(remote, 0)
    assert (snapshot(url) / "old.txt").is_file()
    Storage.at(url).remove("")
    with opened(url) as (_, remote):
        run(remote, 1)
    assert states(snapshot(url)) == {"0001": ("complete", 2)}
    assert not (snapshot(url) / "old.txt").exists()


def test_reader_tries_again_where_segments_were_put_together_meanwhile(url, monkeypatch):
    remote = RemoteSweep(url)
    with remote.held():
        run(remote, 0)
        real, misses = Storage.read, [2]

        def read(self, name):
            if name.startswith(SEGMENTS) and misses[0]:
                misses[0] -= 1
                raise StorageError("it is gone")
            return real(self, name)

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "read", read)
            assert states(snapshot(url)) == states(remote.root)
        assert misses == [0]


def test_lease_is_renewed_while_a_large_file_is_copied(url, monkeypatch):
    monkeypatch.setattr(remote_sweep, "COPY_PERIOD_S", 0.05)
    copying, real = threading.Event(), Storage.push

    def push(self, *arguments, **options):
        copying.set()
        time.sleep(1.5)
        return real(self, *arguments, **options)

    with opened(url) as (_, remote):
        monkeypatch.setattr(Storage, "push", push)
        run(remote, 0, end=None)
        assert copying.wait(30)
        with pytest.raises(ConfigError, match="another one is running"), opened(url):
            pass


def test_store_that_is_lost_in_the_end_is_an_error_and_the_next_driver_brings_what_is_missing(
    url, monkeypatch
):
    def away(*_, **__):
        raise StorageAwayError("it is away")

    def go_on(patch):
        with opened(url) as (directory, remote):
            directory.create()
            run(remote, 0)
            directory.write_text("report.html", "done")
            patch.setattr(Storage, "push", away)

    with (
        monkeypatch.context() as patch,
        pytest.raises(StorageAwayError, match=r"nothing is lost: .*--resume"),
    ):
        go_on(patch)
    assert "report.html" not in Storage.at(url).files()
    with opened(url):
        pass
    assert "report.html" in Storage.at(url).files()


def test_copy_that_fails_on_the_way_is_made_in_the_end(url, monkeypatch):
    monkeypatch.setattr(remote_sweep, "COPY_PERIOD_S", 0.05)
    tried = threading.Event()

    def away(*_, **__):
        tried.set()
        raise StorageAwayError("it is away")

    with opened(url) as (directory, remote), monkeypatch.context() as patch:
        run(remote, 0)
        patch.setattr(Storage, "push", away)
        directory.write_text("report.html", "done")
        assert tried.wait(30)
    assert "report.html" in Storage.at(url).files()
