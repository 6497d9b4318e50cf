"""`rocore cache`: tables, limits, exit codes."""

import re

import pytest
from click.testing import CliRunner

from rocore.commands.cache import cache
from rocore.encoder.cache_admin import list_entries

from ..tiny_cache import get_tiny


@pytest.fixture
def run_cache(tmp_path):
    """Run a sub-command on the test's cache."""

    def run(command, *options):
        return CliRunner().invoke(cache, [command, "--root", str(tmp_path), *map(str, options)])

    return run


@pytest.fixture
def trunk(tmp_path, tiny_trunk):
    """Entries of the layers 1 and 2."""
    get_tiny(tmp_path, 1)
    get_tiny(tmp_path, 2)
    return tmp_path / "trunk"


def test_ls_shows_a_line_for_each_entry(run_cache, trunk, tmp_path):
    store = get_tiny(tmp_path, 1)
    result = run_cache("ls")
    header, first, second, total = result.output.splitlines()
    assert re.split(r"\s{2,}", header) == [
        *("key", "source", "encoder", "layer", "precision", "size", "last use", "in use")
    ]
    row = r"[0-9a-f]{32}  pool +tiny +%d +fp32 +0\.0 MiB  \d{4}-\d\d-\d\d \d\d:\d\d  %s"
    assert {bool(re.fullmatch(row % (1, "yes"), line)) for line in (first, second)} == {True, False}
    assert {bool(re.fullmatch(row % (2, "no"), line)) for line in (first, second)} == {True, False}
    assert total == f"2 entries, 0.0 MiB, in {trunk}"
    assert len(store) == 1


def test_ls_of_an_unreadable_entry_says_so(run_cache, trunk):
    (list_entries(trunk)[0].folder / "entry.json").unlink()
    assert "(unreadable)" in run_cache("ls").output


@pytest.mark.parametrize("arguments", [("ls",), ("prune", "--all"), ("verify",)])
def test_cache_that_is_not_there_is_empty(arguments, run_cache, tmp_path):
    result = run_cache(*arguments)
    assert (result.exit_code, "0 entries" in result.output) == (0, True)
    assert not (tmp_path / "trunk").exists()


def test_prune_without_a_limit_is_refused(run_cache, trunk):
    result = run_cache("prune")
    assert result.exit_code == 2
    assert "give --max-gib, --older-than or --all" in result.output
    assert len(list_entries(trunk)) == 2


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (("--all",), 0),
        (("--all", "--dry-run"), 2),
        (("--max-gib", 0), 0),
        (("--max-gib", 1), 2),
        (("--older-than", 0), 0),
        (("--older-than", 1), 2),
    ],
)
def test_prune_leaves_what_its_limits_allow(options, left, run_cache, trunk):
    result = run_cache("prune", *options)
    assert result.exit_code == 0, result.output
    assert len(list_entries(trunk)) == left
    if "--dry-run" in options:
        assert "would remove 2 entries" in result.output
    else:
        assert f"removed {2 - left} entries" in result.output


def test_verify_of_whole_entries_ends_with_0(run_cache, trunk):
    result = run_cache("verify")
    assert (result.exit_code, result.output) == (0, f"0 of 2 entries broken, in {trunk}\n")


@pytest.mark.parametrize(("options", "outcome", "left"), [((), "broken", 2), (("--remove",), "removed", 1)])
def test_verify_of_a_broken_entry_ends_with_1(options, outcome, left, run_cache, trunk):
    folder = list_entries(trunk)[0].folder
    (folder / "hidden.bin").write_bytes(b"torn")
    result = run_cache("verify", *options)
    assert result.exit_code == 1
    assert f"{folder.name}  {outcome}: hidden.bin must hold 48 bytes, but holds 4" in result.output
    assert "1 of 2 entries broken" in result.output
    assert len(list_entries(trunk)) == left
