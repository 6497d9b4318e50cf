"""The documents say what the code does: every key is listed, every file that they link to is there."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from rocore.config import Config, known_keys

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for folder in (".", "docs", "benchmarks") for path in (ROOT / folder).glob("*.md"))
MAKE = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def renderer():
    path = ROOT / "docs" / "render_configuration.py"
    spec = importlib.util.spec_from_file_location("render_configuration", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("key", known_keys(Config))
def test_configuration_page_names_every_key(renderer, key):
    assert f"`{key}`" in renderer.PAGE.read_text(encoding="utf-8")


def test_configuration_page_is_what_the_code_says(renderer):
    text = renderer.PAGE.read_text(encoding="utf-8")
    assert renderer.render_page(text) == text, "run `make docs`"


def test_every_key_has_a_description(renderer):
    rows = [line.split(" | ") for line in renderer.render_keys(Config).splitlines() if line.startswith("| `")]
    assert rows
    assert [row[0] for row in rows if len(row) != 3 or not row[2].strip(" |")] == []


def test_render_page_where_there_are_no_markers_refuses(renderer):
    with pytest.raises(ValueError, match="the page must hold"):
        renderer.render_page("# Keys\n")


def dead_links(page, text):
    """Return the links of a page to files of the project that aren't there."""
    links = (link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text))
    return [link for link in links if link and "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_readme_names_every_dependency_with_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert names <= named


def test_links_where_a_file_is_absent_are_found(tmp_path):
    assert dead_links(tmp_path / "a.md", "[a](gone.md#x) [b](https://example.org) [c](#part) [d](.)") == [
        "gone.md"
    ]


def test_pages_name_only_targets_that_make_has():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for page in PAGES for name in MAKE.findall(page.read_text(encoding="utf-8"))}
    assert {"test", "quickstart"} <= named
    assert named <= targets
