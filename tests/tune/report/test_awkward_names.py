"""Awkward names in everything that a finished sweep leaves: shown as they are, and none disturbs the others."""

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from markdown_it import MarkdownIt

from rocore.config import dump_config, load_config, make_config
from rocore.text import shortened, shown, visible
from tests.awkward import AWKWARD
from tune.comparison import Side
from tune.model_card import render_card
from tune.report import write_report
from tune.report.comparison_page import comparison_report
from tune.report.contents import Paragraph, Report, Section, table
from tune.report.html import render_html
from tune.report.latex import escape as latex
from tune.report.latex import latex_table
from tune.report.markdown import render_markdown
from tune.report.pictures_representations import representations_section
from tune.report.pictures_slices import NARROWEST, slice_pictures
from tune.report.results import Results
from tune.report.svg import MAX_LABEL
from tune.representations import NUM_GROUPS, STAGES, Representations

from .conftest import make_trial

METRIC = "novel_test.b3_f1"
names = pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD)
LETTER = re.compile(
    r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textquotesingle"
    r"|textasciigrave)\{\}|\{\\char34\}|\\([&%$#_{}])|\{([*\[\]])\}|(-)\{\}"
)
MEANINGS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textquotesingle{}": "'",
    r"\textasciigrave{}": "`",
    r"{\char34}": '"',
}


class Texts(HTMLParser):
    """Gathers the text of each element of some kinds, and the kinds of all."""

    def __init__(self, page, kinds):
        super().__init__()
        self.kinds, self.found, self.tags, self.inside = kinds, [], set(), False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in self.kinds:
            self.inside = True
            self.found.append("")

    def handle_endtag(self, tag):
        if tag in self.kinds:
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.found[-1] += data


def report_of(name):
    rows = [(name, "0.5"), ("neighbor", "0.6")]
    section = Section("one", "One", (Paragraph(name), table(("Name", "Score"), rows, caption=name)))
    return Report(name, name, (name,), f"{name} is best.", (), (name,), (section,))


def representations(*labels):
    found = Representations(run="paper-seed1", labels=np.repeat(labels, 5), gold=True)
    found.shown = np.arange(len(found.labels))
    points = np.random.default_rng(0).normal(size=(len(found.labels), 2))
    found.stages = {stage: points.astype(np.float16) for stage in STAGES}
    found.maps = {"trained": points}
    return found


def texts_of(svg):
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return ["".join(one.itertext()).strip() for one in root.iter() if one.tag.endswith("text")]


def label_of(name, width=MAX_LABEL):
    return shown(shortened(name, width)).strip()


@names
def test_html_shows_a_name_as_it_is(name):
    page = render_html(report_of(name))
    assert Texts(page, ("td",)).found == [shown(name), "0.5", "neighbor", "0.6"]
    assert Texts(page, ("h1",)).found == [shown(name)]
    assert not Texts(page, ()).tags & {"script", "b", "i", "img"}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e]", page)


@names
def test_markdown_shows_a_name_as_it_is(name):
    page = (
        MarkdownIt("commonmark")
        .enable("table")
        .enable("strikethrough")
        .render(render_markdown(report_of(name)))
    )
    found = Texts(page, ("td",)).found
    assert found == [shown(name).strip(" "), "0.5", "neighbor", "0.6"]
    assert Texts(page, ("h1",)).found == [shown(name).strip(" ")]
    assert Texts(page, ("p",)).found[1] == shown(name).strip(" ")
    assert not Texts(page, ()).tags & {"script", "b", "a", "img", "em", "code", "ul", "ol", "li", "hr", "s"}


@names
def test_latex_prints_a_name_as_it_is(name, tree):
    def meaning(found):
        return MEANINGS.get(found[0]) or found[1] or found[2] or found[3]

    assert LETTER.sub(meaning, latex(name)) == visible(name)
    tree["final"][1]["name"] = tree["encoder"]["name"] = name
    text = latex_table(Results(tree))
    rows = [row for row in text.splitlines() if row.endswith(r" \\") and r"\pm" in row]
    assert len(rows) == 3
    assert not any(row.startswith(("*", "[")) for row in rows)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {8}


@pytest.mark.parametrize("start", range(0, len(AWKWARD), NUM_GROUPS))
def test_pictures_of_representations_name_every_group(start):
    shown_names = [name.replace("\0", r"\x00") for name in AWKWARD.values()][start : start + NUM_GROUPS]
    section = representations_section(Results({}, representations=representations(*shown_names)))
    picture = section.blocks[1].pictures[0]
    assert picture.fault == ""
    assert texts_of(picture.svg) == [label_of(name) for name in shown_names]


def test_slice_names_every_value(tree):
    tree["search"]["space"] = {
        "encoder.name": {"distribution": "categorical", "choices": list(AWKWARD.values())}
    }
    for trial in tree["search"]["trials"]:
        trial["params"] = {"encoder.name": AWKWARD["math"]}
    (picture,) = slice_pictures(Results(tree))
    assert picture.fault == ""
    assert texts_of(picture.svg)[: len(AWKWARD)] == [label_of(name, NARROWEST) for name in AWKWARD.values()]


@pytest.mark.parametrize("start", range(0, len(AWKWARD), NUM_GROUPS))
def test_comparison_page_names_every_side(start):
    shown_names = list(AWKWARD.values())[start : start + NUM_GROUPS]
    curve = {"silhouette": {1: [0.1], 2: [0.2]}, "pseudo_label_change": {}}
    scores = {"novel_test.b3_f1": {1: 0.5, 2: 0.6}}
    report = comparison_report([Side(name, {"seed": 0}, scores, curve) for name in shown_names], METRIC)
    assert report.faults == ()
    labels = texts_of(report.sections[1].blocks[0].pictures[0].svg)[-len(shown_names) :]
    assert labels == [label_of(name) for name in shown_names]
    headings = Texts(render_html(report), ("th",)).found
    assert [shown(name) for name in shown_names] == headings[2 : 2 + len(shown_names)]


@names
def test_model_card_shows_a_name_as_it_is(name, tmp_path):
    (tmp_path / "config.yaml").write_text(dump_config(make_config({"encoder": {"name": "minilm"}})), "utf-8")
    run = {
        "known_relations": [name, "neighbor"],
        "num_novel_relations": 3,
        "synthetic": False,
        "precision": "fp32",
        "files": {name: "ab12", "other": "cd34"},
        "fingerprints": {"encoder": "ef56"},
        "environment": {"python": "3.11", "packages": {}, "platform": "Linux", "gpus": []},
    }
    (tmp_path / "run.json").write_text(json.dumps(run), "utf-8")
    page = MarkdownIt("commonmark").enable("table").render(render_card(name, tmp_path, {}, {}))
    assert Texts(page, ("h1",)).found == [f"RoCORE: {shown(name).strip(' ')}"]
    items = Texts(page, ("li",)).found
    assert f"Known relations: {shown(name).strip(' ')}, neighbor" in items
    assert f"{shown(name).strip(' ')}, SHA-256 ab12" in items
    assert not Texts(page, ()).tags & {"script", "b", "a", "img", "em", "ol", "hr", "blockquote"}


def test_report_with_awkward_names_everywhere_is_whole(tree, sweep):
    every = list(AWKWARD.values())
    params = [{"model.rectifier": name} for name in every]
    tree["name"] = tree["encoder"]["name"] = tree["data"]["format"] = "".join(every)
    tree["data"]["files"] = dict.fromkeys(every, "ab" * 32)
    tree["search"]["space"] = {"model.rectifier": {"distribution": "categorical", "choices": every}}
    tree["search"]["trials"] = [make_trial(number, one, 0.5) for number, one in enumerate(params)]
    tree["final"] = [entry | {"params": {"model.rectifier": "relu"}} for entry in tree["final"]]
    assert write_report(sweep(tree)) == ()
    with (sweep(tree) / "results.csv").open(encoding="utf-8", newline="") as file:
        assert [row["model.rectifier"] for row in csv.DictReader(file)] == every
    assert load_config(sweep(tree) / "best_config.yaml").model.rectifier == "relu"
    title = shown(tree["name"])
    assert Texts((sweep(tree) / "report.html").read_text("utf-8"), ("h1",)).found == [title]
