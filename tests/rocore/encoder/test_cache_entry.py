"""What makes an entry be hashed again, and how long its lock is held."""

import json
import os
import shutil
import time

import pytest

from rocore.encoder import cache_entry
from rocore.encoder.cache_entry import (
    last_use,
    open_entry,
    read_description,
    remove_entry,
    unused,
    verify_entry,
)
from rocore.errors import BrokenEntryError

from ..tiny_cache import get_tiny


@pytest.fixture
def entry(tmp_path, tiny_trunk, monkeypatch):
    """An entry that was hashed and stamped."""
    monkeypatch.setattr(cache_entry, "SETTLED_NS", 0)
    get_tiny(tmp_path)
    return next(path for path in (tmp_path / "trunk").iterdir() if path.is_dir())


@pytest.fixture
def hashed(entry, monkeypatch):
    """Names of the files that are hashed from here on."""
    names = []
    real = cache_entry.sha256

    def spy(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(cache_entry, "sha256", spy)
    return names


BOTH = ["hidden.bin", "index.safetensors"]


def is_free(entry):
    with unused(entry) as free:
        return free


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def stamp_of(entry):
    (stamp,) = entry.glob("verified.*")
    return stamp


def test_open_entry_that_did_not_change_hashes_nothing(entry, hashed):
    assert open_entry(entry).hidden.shape == (3, 4)
    assert hashed == []


@pytest.mark.parametrize("name", BOTH)
def test_open_entry_of_a_flipped_byte_notices_it(name, entry, hashed):
    flip(entry / name)
    with pytest.raises(BrokenEntryError, match=f"{name} doesn't have its checksum"):
        open_entry(entry)
    assert name in hashed


def test_open_entry_of_a_flipped_byte_with_its_old_time_notices_it(entry, hashed):
    before = (entry / "hidden.bin").stat()
    flip(entry / "hidden.bin")
    os.utime(entry / "hidden.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BrokenEntryError, match=r"hidden\.bin doesn't have its checksum"):
        open_entry(entry)


def test_open_entry_of_a_copy_hashes_it_once(entry, hashed):
    original = entry.with_name("original")
    entry.rename(original)
    shutil.copytree(original, entry)  # copies the stamp and the times of modification, too
    for _ in range(2):
        open_entry(entry)
    assert hashed == BOTH


def test_open_entry_after_another_boot_hashes_it(entry, hashed):
    stamp_of(entry).rename(entry / "verified.another-boot")
    open_entry(entry)
    assert hashed == BOTH


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_open_entry_with_a_torn_stamp_hashes_it(content, entry, hashed):
    stamp_of(entry).write_bytes(content)
    open_entry(entry)
    assert hashed == BOTH


def test_open_entry_just_after_a_change_leaves_no_stamp(entry, hashed, monkeypatch):
    """A second change in the same tick of the clock would leave the times as they are."""
    monkeypatch.setattr(cache_entry, "SETTLED_NS", 10**18)
    stamp_of(entry).unlink()
    for _ in range(2):
        open_entry(entry)
    assert hashed == 2 * BOTH
    assert not list(entry.glob("verified.*"))


def test_verify_entry_notices_what_the_file_system_does_not(entry):
    """A byte that flips below the file system moves no time; here the stamp is made to agree instead."""
    flip(entry / "hidden.bin")
    stamp_of(entry).write_text(json.dumps(cache_entry._state_of(entry)))
    open_entry(entry)
    with pytest.raises(BrokenEntryError, match=r"hidden\.bin doesn't have its checksum"):
        verify_entry(entry)


def test_read_description_under_another_name_refuses(entry):
    other = entry.with_name("0" * 32)
    entry.rename(other)
    with pytest.raises(BrokenEntryError, match=r"entry\.json describes another entry"):
        read_description(other)


def test_read_description_names_source_and_encoder(entry):
    description = read_description(entry)
    assert (description.source_name, description.encoder_name) == ("pool", "tiny")
    assert (description.shape, description.num_bytes) == ((3, 4), 48)


def test_entry_is_used_until_the_last_tensor_on_it_is_gone(entry):
    assert is_free(entry)
    store = open_entry(entry)
    last_row = store.hidden[-1].view(2, 2)
    del store
    assert not is_free(entry)
    assert last_row.tolist() == [[0, 0], [0, 0]]
    del last_row
    assert is_free(entry)


def test_removed_entry_stays_with_whoever_maps_it(entry):
    store = open_entry(entry)
    remove_entry(entry)
    assert list(entry.parent.glob("[!.]*.tmp")) == []
    assert not entry.exists()
    assert store.hidden.sum() == 0


def test_open_entry_that_is_replaced_meanwhile_refuses(entry, monkeypatch):
    """Else the lock would be on a file that nobody asks any more."""
    real = cache_entry.load_file

    def replace_and_load(path):
        copy = entry.with_name("copy")
        shutil.copytree(entry, copy)
        remove_entry(entry)
        copy.rename(entry)
        return real(path)

    monkeypatch.setattr(cache_entry, "load_file", replace_and_load)
    with pytest.raises(BrokenEntryError, match="it was replaced while it was opened"):
        open_entry(entry)


def test_last_use_is_when_it_was_opened_not_when_it_was_verified(entry):
    long_ago = time.time() - 1000
    os.utime(entry / "used", (long_ago, long_ago))
    verify_entry(entry)
    assert last_use(entry) == pytest.approx(long_ago)
    open_entry(entry)
    assert last_use(entry) > long_ago + 900


def test_last_use_of_an_entry_that_was_never_opened_is_when_it_was_made(entry):
    (entry / "used").unlink()
    assert last_use(entry) == entry.stat().st_mtime
