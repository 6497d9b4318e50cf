import numpy as np
import pytest
from rich.console import Console

from rocore.data.describe import describe, render
from rocore.data.instance import Corpus, LoadedData, NovelGold, Sentence, Source
from rocore.text import shown as visible_name
from tests.awkward import AWKWARD


def data(gold=None):
    known = Source((Sentence("a b c", (0, 1), (2, 5)), Sentence("d e", (0, 1), (0, 1))) * 2, "known.json")
    novel = Source((Sentence("x [red] y", (0, 1), (8, 9)), Sentence("u v", (0, 1), (2, 3))), "novel.json")
    corpus = Corpus(
        known, np.arange(3), np.array([1, 0, 1]), ("P1", "[P2]"), novel, np.arange(2), num_novel_relations=2
    )
    return LoadedData(corpus, NovelGold(gold) if gold else None)


def shown(loaded, num_relations=10):
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(render(describe(loaded), num_relations=num_relations))
    return capture.get()


def test_describe_counts_what_the_roles_hold():
    known, novel = describe(data(gold=["P9", None]))
    assert (known.num_instances, known.relations, known.num_unlabeled) == (3, {"[P2]": 2, "P1": 1}, 0)
    assert (known.num_duplicates, known.num_same_entity) == (1, 1)
    assert known.sentence_words == (2, 3, 3, 3)
    assert known.entity_words == (1, 1, 2, 2)
    assert (novel.num_instances, novel.relations, novel.num_unlabeled) == (2, {"P9": 1}, 1)
    assert novel.num_duplicates == 0


def test_describe_without_gold_knows_no_novel_relations():
    novel = describe(data())[1]
    assert (novel.relations, novel.num_unlabeled) == ({}, 2)
    assert "unknown" in shown(data())


def test_describe_empty_role_has_no_lengths():
    loaded = data()
    empty = Corpus(
        loaded.corpus.known,
        np.arange(0),
        np.arange(0),
        ("P1", "P2"),
        loaded.corpus.novel,
        np.arange(2),
        num_novel_relations=2,
    )
    known = describe(LoadedData(empty, None))[0]
    assert (known.num_instances, known.sentence_words, known.relations) == (0, (), {})


def test_render_names_in_brackets_are_shown_as_they_are():
    assert "[P2]" in shown(data())


def test_render_long_list_says_how_many_are_left_out():
    text = shown(data(), num_relations=1)
    assert "and 1 more" in text
    assert "P1" not in text


def test_render_no_relations_wanted_shows_the_roles_alone():
    assert "relation" not in shown(data(), num_relations=0).split("head and tail")[1]


@pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD)
def test_tables_show_a_name_as_it_is(name):
    console = Console(width=20_000, force_terminal=True, color_system=None)
    loaded = data(gold=[name, None])
    with console.capture() as capture:
        console.print(render(describe(loaded), num_relations=10))
    assert visible_name(name).strip() in capture.get()
    assert "\x1b" not in capture.get()
