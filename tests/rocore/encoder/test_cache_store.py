"""Trunk cache entries that travel between machines by way of a store."""

import logging

import pytest

from rocore.encoder import cache as cache_module
from rocore.encoder.cache import TrunkCache
from rocore.encoder.cache_entry import try_lock
from rocore.encoder.cache_store import FILES
from rocore.errors import ConfigError, StorageAwayError
from rocore.progress import silent
from rocore.storage import MANIFEST, Storage
from tests.rocore.tiny_cache import CPU, ENCODER, SOURCE, zeros_trunk


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/store"


@pytest.fixture
def passes(monkeypatch):
    """Count trunk passes."""
    seen = []

    def trunk(encoder, tokenized, outputs, **options):
        seen.append(sorted(outputs))
        zeros_trunk(encoder, tokenized, outputs, **options)

    monkeypatch.setattr(cache_module, "run_trunk", trunk)
    return seen


@pytest.fixture
def get(tmp_path, url):
    """Get the tiny pool's entry on one of several machines."""

    def get_on(machine, *output_layers, url=url):
        return TrunkCache(tmp_path / machine, store=url).get(
            SOURCE,
            ENCODER,
            output_layers=output_layers or (2,),
            precision="fp32",
            max_pieces=64,
            device=CPU,
            progress=silent,
        )

    return get_on


def entry_of(url):
    (digest,) = {name.split("/")[0] for name in Storage.at(url).files()}
    return Storage.at(url).below(digest)


def test_entry_that_one_machine_built_is_fetched_by_the_next(get, passes, url):
    built = get("first")[2]
    assert set(entry_of(url).files()) == {*FILES, MANIFEST}
    fetched = get("second")[2]
    assert passes == [[2]]
    assert fetched.hidden.tolist() == built.hidden.tolist()
    assert fetched.spans.tolist() == built.spans.tolist()


def test_entries_that_the_store_lacks_are_built_and_put_there(get, passes):
    get("first", 2)
    get("second", 2, 3)
    get("third", 2, 3)
    assert passes == [[2], [3]]


@pytest.mark.parametrize("broken", FILES)
def test_entry_with_a_flipped_byte_is_built_anew_and_replaced(get, passes, url, caplog, broken):
    get("first")
    entry = entry_of(url)
    whole = entry.read(broken)
    entry.write(broken, whole[:-1] + bytes([whole[-1] ^ 1]))
    get("second")
    assert passes == [[2], [2]]
    assert "must have the SHA-256 of the manifest" in caplog.text
    get("third")
    assert passes == [[2], [2]]


def test_entry_that_was_half_pushed_is_built(get, passes, url):
    get("first")
    entry_of(url).remove(MANIFEST)
    get("second")
    assert passes == [[2], [2]]


def test_store_that_cannot_be_used_is_a_warning(get, passes, caplog, tmp_path):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        get("first", url=f"file://{tmp_path}/file/store")
    assert passes == [[2]]
    assert "the trunk cache goes on without its store: " in caplog.text


def test_store_that_is_away_is_waited_for_once_before_the_pass_and_once_after_it(
    get, passes, url, monkeypatch, caplog
):
    asked = []

    def away(self, what, action):
        asked.append(what.split()[0])
        raise StorageAwayError("it is away")

    monkeypatch.setattr(Storage, "_ask", away)
    get("first", 2, 3)
    assert passes == [[2, 3]]
    assert asked == ["look", "remove"]
    assert caplog.text.count("goes on without its store: it is away") == 2


def test_entries_are_put_there_when_nobody_waits_for_the_lock(get, passes, url, monkeypatch, tmp_path):
    free = []

    def push(self, folder, **_):
        (lock,) = (tmp_path / "first/trunk").glob("*-*.lock")
        with lock.open("w") as file:
            free.append(try_lock(file))

    monkeypatch.setattr(Storage, "push", push)
    get("first")
    assert free == [True]


def test_store_whose_url_is_none_is_refused(get):
    with pytest.raises(ConfigError, match="must look like s3://"):
        get("first", url="http://somewhere")


def test_entry_travels_by_an_object_store(get, passes, bucket):
    get("first", url=f"{bucket}/trunks")
    get("second", url=f"{bucket}/trunks")
    assert passes == [[2]]
