"""The frozen-trunk cache: built once, never torn, never used when broken."""

import json
import logging
import os
import re
import resource
import shutil
import socket
import subprocess
from dataclasses import replace

import pytest
import torch

from rocore.config import BuiltinConfig, make_config, override
from rocore.data.builtin import generate
from rocore.data.instance import Source
from rocore.downloads import cache_root
from rocore.encoder import cache as cache_module
from rocore.encoder.cache import TrunkCache, TrunkKey
from rocore.encoder.cache_admin import list_entries
from rocore.errors import CacheError
from rocore.progress import silent
from rocore.storage import Storage
from rocore.training.task import build_trunk_cache

FILES = ("hidden.bin", "index.safetensors", "entry.json", "used")


@pytest.fixture(scope="module")
def source():
    """Sixteen sentences."""
    known, _ = generate(BuiltinConfig(num_known_relations=2, num_novel_relations=2, instances_per_relation=8))
    return Source(tuple(instance.sentence for instance in known), "builtin known")


@pytest.fixture
def get(source, minilm, tmp_path):
    """Get stores of the source from a cache in the test's folder."""

    def attach_or_build(*output_layers, root=None, **options):
        arguments = {"precision": "fp32", "max_pieces": 64, "device": torch.device("cpu"), "progress": silent}
        cache = root if isinstance(root, TrunkCache) else TrunkCache(root or tmp_path / "cache")
        return cache.get(
            options.pop("source", source), minilm, output_layers=output_layers or (2,), **arguments | options
        )

    return attach_or_build


@pytest.fixture
def passes(monkeypatch):
    """Output layers of each trunk pass, as they happen."""
    seen = []
    real = cache_module.run_trunk

    def spy(encoder, tokenized, outputs, **options):
        seen.append(sorted(outputs))
        real(encoder, tokenized, outputs, **options)

    monkeypatch.setattr(cache_module, "run_trunk", spy)
    return seen


def entries(folder, cache="cache"):
    """Folders of entries, finished ones alone."""
    return [path for path in (folder / cache / "trunk").glob("[!.]*") if path.is_dir()]


def assert_only_locks(folder):
    """No entry, whole or half written."""
    left = list((folder / "cache" / "trunk").iterdir())
    assert {path.suffix for path in left} == {".lock"}


def assert_same(store, other):
    assert torch.equal(store.hidden, other.hidden)
    assert (store.offsets == other.offsets).all()
    assert (store.spans == other.spans).all()


def test_get_of_a_missing_entry_builds_those_of_the_other_layers_in_the_same_pass(get, passes):
    assert set(get(2, others=(2, 3, 4))) == {2}
    get(3, others=(2, 3, 4))
    get(4)
    assert passes == [[2, 3, 4]]


def test_get_of_an_entry_that_is_there_builds_no_other(get, passes):
    get(2)
    get(2, others=(2, 3))
    assert passes == [[2]]


def test_get_builds_other_layers_in_the_same_pass_and_none_where_nothing_is_missing(get, passes):
    assert set(get(3, others=(2, 3, 4))) == {3}
    get(4, others=(2, 3, 4, 5))
    assert passes == [[2, 3, 4]]


def test_get_that_shares_gives_the_store_what_was_here_before(get, passes, tmp_path):
    get(2)
    machine = {"root": TrunkCache(tmp_path / "cache", store=f"file://{tmp_path}/store")}
    get(2, **machine)
    assert not (tmp_path / "store").exists()
    get(2, share=True, **machine)
    get(2, 3, share=True, **machine)
    get(2, 3, root=TrunkCache(tmp_path / "other", store=f"file://{tmp_path}/store"))
    assert passes == [[2], [3]]


def test_get_that_shares_leaves_what_the_store_has(get, tmp_path, monkeypatch):
    machine = {"root": TrunkCache(tmp_path / "cache", store=f"file://{tmp_path}/store")}
    get(2, 3, **machine)
    pushed = []
    monkeypatch.setattr(machine["root"].store, "push", pushed.append)
    get(2, 3, share=True, **machine)
    assert pushed == []


def test_build_trunk_cache_leaves_every_layer_in_the_store(monkeypatch, tmp_path):
    def write_zeros(encoder, tokenized, outputs, **_options):
        for path in outputs.values():
            path.write_bytes(bytes(len(tokenized.piece_ids) * encoder.hidden_size * 4))

    monkeypatch.setattr(cache_module, "run_trunk", write_zeros)
    builtin = {"num_known_relations": 4, "num_novel_relations": 3, "instances_per_relation": 8}
    config = make_config(
        {
            "data": {"builtin": builtin},
            "encoder": {"precision": "fp32"},
            "cache": {"root": str(tmp_path / "c")},
        },
        "test",
    )
    build_trunk_cache(config, [1, 2])
    store = f"file://{tmp_path}/store"
    build_trunk_cache(override(config, {"cache.store": store}), [1, 2, 3])
    held = {name.split("/")[0] for name in Storage.at(store).files()}
    assert held == {entry.name for entry in entries(tmp_path, "c")}
    assert len(held) == 6


def test_get_a_second_time_builds_nothing(get, passes, tmp_path):
    first, second = get()[2], get()[2]
    assert passes == [[2]]
    assert_same(first, second)
    (entry,) = entries(tmp_path)
    assert sorted(path.name for path in entry.iterdir()) == sorted(FILES)
    assert len(first) == 16
    assert first.hidden.shape == (int(first.offsets[-1]), 384)


def test_get_of_several_layers_takes_one_pass_and_equals_single_passes(get, passes, tmp_path):
    together = get(1, 2, 4)
    alone = {r: get(r, root=tmp_path / f"alone-{r}")[r] for r in (1, 2, 4)}
    assert passes == [[1, 2, 4], [1], [2], [4]]
    for r, store in together.items():
        assert_same(store, alone[r])
    assert not torch.equal(together[1].hidden, together[2].hidden)


def test_get_builds_only_the_layers_that_are_missing(get, passes):
    get(2)
    assert set(get(1, 2, 3)) == {1, 2, 3}
    assert passes == [[2], [1, 3]]


@pytest.mark.parametrize(
    "options", [{"precision": "bf16"}, {"max_pieces": 16}], ids=["precision", "max_pieces"]
)
def test_get_with_other_numbers_builds_an_entry_of_its_own(options, get, passes, tmp_path):
    get()
    get(**options)
    assert passes == [[2], [2]]
    assert len(entries(tmp_path)) == 2


def test_get_of_other_sentences_builds_an_entry_of_its_own(get, passes, source):
    get()
    first = source.sentences[0]
    other = replace(first, head=first.tail, tail=first.head)
    store = get(source=Source((other, *source.sentences[1:]), source.name))[2]
    assert passes == [[2], [2]]
    assert store.spans[0].tolist() != get()[2].spans[0].tolist()


@pytest.mark.parametrize("field", ["source", "encoder", "output_layer", "precision", "max_pieces"])
def test_trunk_key_depends_on_every_field(field):
    key = TrunkKey("s", "e", 2, "fp32", 64)
    assert replace(key, **{field: 3}).digest != key.digest
    assert replace(key).digest == key.digest


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def enlarge_shape(path):
    entry = json.loads(path.read_text())
    entry["shape"][0] += 5
    path.write_text(json.dumps(entry))


FAULTS = {
    "flipped-hidden": ("hidden.bin", flip, "hidden.bin doesn't have its checksum"),
    "truncated-hidden": ("hidden.bin", truncate, r"hidden.bin must hold \d+ bytes, but holds \d+"),
    "absent-hidden": ("hidden.bin", lambda path: path.unlink(), "FileNotFoundError"),
    "flipped-index": ("index.safetensors", flip, "index.safetensors doesn't have its checksum"),
    "absent-entry": ("entry.json", lambda path: path.unlink(), "FileNotFoundError"),
    "truncated-entry": ("entry.json", truncate, "JSONDecodeError"),
    "empty-entry": ("entry.json", lambda path: path.write_text("{}"), "KeyError"),
    "no-object": ("entry.json", lambda path: path.write_text("[]"), "TypeError"),
    "other-shape": ("entry.json", enlarge_shape, r"hidden.bin must hold \d+ bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_get_of_a_broken_entry_warns_and_builds_it_anew(fault, get, passes, tmp_path, caplog):
    name, damage, message = FAULTS[fault]
    before = get()[2]
    kept = replace(before, hidden=before.hidden.clone())
    (entry,) = entries(tmp_path)
    damage(entry / name)
    with caplog.at_level(logging.WARNING):
        again = get()[2]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"trunk cache entry {entry.name} is broken (")
    assert "it is built anew" in warning
    assert re.search(message, warning)
    assert_same(again, kept)
    assert passes == [[2], [2]]
    assert_same(get()[2], kept)
    assert len(passes) == 2


@pytest.mark.parametrize("host", [socket.gethostname(), "another-machine"])
def test_get_after_a_killed_writer_builds_as_if_nothing_were_there(host, get, passes, tmp_path):
    store = get()[2]
    (entry,) = entries(tmp_path)
    leftover = entry.with_name(f".{entry.name}.{host}.{os.getpid()}.tmp")
    entry.rename(leftover)
    (leftover / "entry.json").unlink()
    assert_same(get()[2], store)
    assert passes == [[2], [2]]
    assert leftover.exists() is (host == "another-machine")


def test_get_when_another_machine_was_faster_takes_its_entry(get, tmp_path, monkeypatch):
    other = get(root=tmp_path / "other")[2]
    real = cache_module.run_trunk

    def slow(*args, **options):
        real(*args, **options)
        (entry,) = entries(tmp_path, "other")
        shutil.copytree(entry, tmp_path / "cache" / "trunk" / entry.name)

    monkeypatch.setattr(cache_module, "run_trunk", slow)
    assert_same(get()[2], other)
    assert [path.name for path in (tmp_path / "cache" / "trunk").glob(".*")] == []


def test_get_that_fails_midway_leaves_no_entry_behind(get, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "run_trunk", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            get()
    assert_only_locks(tmp_path)
    assert len(get()[2]) == 16


def test_get_in_a_root_that_is_a_file_says_what_to_do(get, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"must be writable.* set `cache.root` \(or ROCORE_CACHE\)"):
        get(root=tmp_path / "file")


def test_get_on_a_full_disk_says_so_and_leaves_nothing(get, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage._replace(free=1000))
    with pytest.raises(CacheError, match=r"GiB are needed, 0\.00 GiB are free; free some space"):
        get()
    assert_only_locks(tmp_path)


def test_get_whose_file_outgrows_a_limit_midway_says_so_and_leaves_nothing(get, tmp_path):
    """The system's own refusal to write on, as a full disk gives it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(CacheError, match=r"must be writable, but .*File too large; free some space"):
            get()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_only_locks(tmp_path)
    assert len(get()[2]) == 16


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can't be mounted here (it takes root's rights)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_get_on_a_small_disk_removes_what_is_not_used_or_says_what_is_needed(get, small_disk, source):
    few = Source(source.sentences[:5], "few")
    other = Source(source.sentences[5:10], "other")
    bounded = TrunkCache(small_disk, max_gib=1)
    first = get(root=bounded, source=few)
    with pytest.raises(CacheError, match=r"GiB are needed, .* are free"):
        get(root=bounded, source=other)
    del first
    assert len(get(root=bounded, source=other)[2]) == 5
    assert [entry.description.source_name for entry in list_entries(bounded.folder)] == ["other"]
    with pytest.raises(CacheError, match=r"GiB are needed, .* are free"):
        get(root=bounded)


def test_writing_into_an_attached_store_leaves_file_and_other_stores(get):
    first, second = get()[2], get()[2]
    before = second.hidden.clone()
    first.hidden.fill_(7.0)
    assert torch.equal(second.hidden, before)
    assert torch.equal(get()[2].hidden, before)


def test_cache_root_is_given_or_of_the_environment_or_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROCORE_CACHE", str(tmp_path / "environment"))
    assert cache_root(str(tmp_path / "given")) == tmp_path / "given"
    assert cache_root(None) == tmp_path / "environment"
    monkeypatch.delenv("ROCORE_CACHE")
    assert cache_root(None) == tmp_path / ".cache" / "rocore"
