"""Listing, pruning and verifying entries."""

import logging
import os
import socket
import time

import pytest

from rocore.encoder import cache_admin
from rocore.encoder.cache_admin import list_entries, prune, remove_broken, remove_leftovers, verify

from ..tiny_cache import get_tiny

DAY_S = 86400


@pytest.fixture
def trunk(tmp_path, tiny_trunk):
    """Entries of the layers 1, 2, 3, last used 3, 1, 2 days ago."""
    now = time.time()
    for layer, days in ((1, 3), (2, 1), (3, 2)):
        get_tiny(tmp_path, layer)
        (entry,) = (e for e in list_entries(tmp_path / "trunk") if e.description.key.output_layer == layer)
        os.utime(entry.folder / "used", (now, now - days * DAY_S))
    return tmp_path / "trunk"


def layers(entries):
    return [entry.description.key.output_layer for entry in entries]


def test_list_entries_gives_the_least_recently_used_first(trunk):
    entries = list_entries(trunk)
    assert layers(entries) == [1, 3, 2]
    assert [entry.in_use for entry in entries] == [False] * 3
    assert [e.num_bytes for e in entries] == [
        sum(f.stat().st_size for f in e.folder.iterdir()) for e in entries
    ]


def test_list_entries_where_there_is_no_cache_gives_none(tmp_path):
    assert list_entries(tmp_path / "trunk") == []


def test_list_entries_of_an_unreadable_entry_has_no_description(trunk):
    (list_entries(trunk)[0].folder / "entry.json").write_text("{}")
    assert [entry.description is None for entry in list_entries(trunk)] == [True, False, False]


def test_prune_to_a_size_removes_the_least_recently_used(trunk):
    sizes = [entry.num_bytes for entry in list_entries(trunk)]
    assert layers(prune(trunk, max_bytes=sum(sizes[1:]))) == [1]
    assert layers(prune(trunk, max_bytes=sum(sizes[1:]))) == []
    assert layers(prune(trunk, max_bytes=sizes[2])) == [3]
    assert layers(list_entries(trunk)) == [2]


def test_prune_to_a_size_passes_over_what_is_in_use(trunk, tmp_path):
    store = get_tiny(tmp_path, 1)
    os.utime(list_entries(trunk)[-1].folder / "used", (0, 0))
    assert [entry.in_use for entry in list_entries(trunk)] == [True, False, False]
    assert layers(prune(trunk, max_bytes=0)) == [3, 2]
    assert layers(list_entries(trunk)) == [1]
    del store
    assert layers(prune(trunk, max_bytes=0)) == [1]


def test_prune_by_age_removes_what_was_not_used_since(trunk):
    assert layers(prune(trunk, unused_since=time.time() - 1.5 * DAY_S)) == [1, 3]


def test_prune_without_limits_removes_nothing(trunk):
    assert prune(trunk) == []


def test_prune_as_a_dry_run_removes_nothing(trunk, tmp_path):
    store = get_tiny(tmp_path, 3)
    assert layers(prune(trunk, max_bytes=0, dry_run=True)) == [1, 2]
    assert len(list_entries(trunk)) == 3
    assert len(store) == 1


def test_prune_of_an_entry_that_came_into_use_after_the_listing_leaves_it(trunk, tmp_path, monkeypatch):
    listed = list_entries(trunk)
    store = get_tiny(tmp_path, 1)
    monkeypatch.setattr(cache_admin, "list_entries", lambda _folder: listed)
    assert layers(prune(trunk, max_bytes=0)) == [3, 2]
    assert len(store) == 1


def test_get_above_the_bound_makes_room_before_it_builds(trunk, tmp_path):
    held = sum(entry.num_bytes for entry in list_entries(trunk))
    store = get_tiny(tmp_path, 4, max_gib=(held + 40) / 2**30)  # hidden.bin alone takes 48 bytes
    assert layers(list_entries(trunk)) == [3, 2, 4]
    assert len(store) == 1


def test_get_that_finds_its_entry_removes_nothing(trunk, tmp_path):
    get_tiny(tmp_path, 1, max_gib=1e-9)
    assert sorted(layers(list_entries(trunk))) == [1, 2, 3]


def test_get_above_the_bound_with_all_in_use_builds_and_warns(trunk, tmp_path, caplog):
    stores = [get_tiny(tmp_path, layer) for layer in (1, 2, 3)]
    with caplog.at_level(logging.WARNING):
        stores.append(get_tiny(tmp_path, 4, max_gib=1e-9))
    assert "above `cache.max_gib`: nothing else in it may be removed" in caplog.text
    assert len(list_entries(trunk)) == len(stores)


def leave(trunk, host, purpose="new", age_s=0.0):
    folder = trunk / f".{'0' * 32}.{host}.1.{purpose}.tmp"
    folder.mkdir()
    (folder / "hidden.bin").write_bytes(b"half")
    os.utime(folder, (time.time(), time.time() - age_s))
    return folder


@pytest.mark.parametrize("purpose", ["new", "old"])
def test_remove_leftovers_of_this_machine_removes_them(purpose, trunk):
    leftover = leave(trunk, socket.gethostname(), purpose)
    remove_leftovers(trunk)
    assert not leftover.exists()
    assert len(list_entries(trunk)) == 3


@pytest.mark.parametrize(("age_s", "left"), [(0.0, True), (2.0 * DAY_S, False)])
def test_remove_leftovers_of_another_machine_waits_a_day(age_s, left, trunk):
    leftover = leave(trunk, "another.machine", age_s=age_s)
    remove_leftovers(trunk)
    assert leftover.exists() is left


def test_remove_leftovers_while_a_process_writes_removes_nothing(trunk, monkeypatch):
    leftover = leave(trunk, socket.gethostname())
    monkeypatch.setattr(cache_admin, "try_lock", lambda _file: False)
    remove_leftovers(trunk)
    assert leftover.exists()


def break_first(trunk):
    entry = list_entries(trunk)[0]
    (entry.folder / "hidden.bin").write_bytes(bytes(47) + b"1")
    return entry.folder.name


def test_verify_names_the_broken_entry_alone(trunk):
    assert verify(trunk) == {}
    key = break_first(trunk)
    assert verify(trunk) == {key: "hidden.bin doesn't have its checksum"}


def test_remove_broken_removes_the_broken_entry_alone(trunk):
    key = break_first(trunk)
    assert remove_broken(trunk, [key]) == [key]
    assert layers(list_entries(trunk)) == [3, 2]
    assert verify(trunk) == {}


def test_remove_broken_of_an_entry_in_use_leaves_it(trunk, tmp_path):
    store = get_tiny(tmp_path, 1)
    key = list_entries(trunk)[-1].folder.name
    assert remove_broken(trunk, [key]) == []
    assert len(list_entries(trunk)) == 3
    assert len(store) == 1
