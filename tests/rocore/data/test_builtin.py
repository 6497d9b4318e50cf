import re

import pytest

from rocore.config import BuiltinConfig
from rocore.data.builtin import RELATIONS, generate
from rocore.data.builtin.grammar import capitalized, choose, fill, join, read_grammar, render
from rocore.errors import ConfigError

SMALL = BuiltinConfig(num_known_relations=16, num_novel_relations=8, instances_per_relation=40)


class First:
    """Chance that always takes the first option."""

    def choice(self, options):
        return options[0]

    def randint(self, low, high):
        return low


def both(config):
    known, novel = generate(config)
    return known + novel


def test_generate_same_seed_gives_same_instances():
    assert generate(SMALL) == generate(SMALL)


def test_generate_other_seed_gives_other_sentences():
    other = SMALL.model_copy(update={"seed": 1})
    assert not {i.sentence.text for i in both(SMALL)} & {i.sentence.text for i in both(other)}


def test_generate_counts_sentences_of_each_relation():
    known, novel = generate(SMALL)
    assert [i.relation for i in known] == [name for name in RELATIONS[:16] for _ in range(40)]
    assert [i.relation for i in novel] == [name for name in RELATIONS[16:] for _ in range(40)]


def test_generate_more_sentences_keeps_the_first_ones():
    more = SMALL.model_copy(update={"instances_per_relation": 50})
    kept = [i for i in both(more) if int(re.findall(r"\[(\d+)\]", i.place)[0]) < 40]
    assert kept == both(SMALL)


def test_generate_fewer_known_relations_keeps_the_novel_ones():
    fewer = SMALL.model_copy(update={"num_known_relations": 4, "num_novel_relations": 3})
    known, novel = generate(fewer)
    assert {i.relation for i in known} == set(RELATIONS[:4])
    assert novel == generate(SMALL)[1][5 * 40 :]


def test_generate_places_name_relation_and_position():
    known, novel = generate(SMALL)
    assert known[43].place == f"builtin {RELATIONS[1]}[3]"
    assert novel[-1].place == f"builtin {RELATIONS[-1]}[39]"


def test_generate_too_many_relations_is_refused():
    with pytest.raises(ConfigError, match=r"must be at most 24, but is 20 \+ 5 = 25; lower one of them"):
        generate(BuiltinConfig(num_known_relations=20, num_novel_relations=5))


def test_generate_has_no_duplicate_sentences():
    texts = [i.sentence.text for i in both(BuiltinConfig(instances_per_relation=200))]
    assert len(texts) == len(set(texts))


def test_generate_spans_hold_two_apart_entities():
    for instance in both(SMALL):
        sentence = instance.sentence
        (first_start, first_end), (second_start, second_end) = sorted([sentence.head, sentence.tail])
        assert 0 <= first_start < first_end <= second_start < second_end <= len(sentence.text), instance.place
        for start, end in (sentence.head, sentence.tail):
            surface = sentence.text[start:end]
            assert surface == surface.strip()
            assert surface[0].isupper(), instance


def test_generate_sentences_are_clean_text():
    for instance in both(SMALL):
        text = instance.sentence.text
        assert not re.search(r"[\[\]{}|]|  |,,| ,|,\.|\.\.", text), text
        assert text[0].isupper()
        assert text.endswith(".")


def test_generate_entities_rarely_repeat():
    surfaces = [i.sentence.text[slice(*i.sentence.head)] for i in both(SMALL)]
    assert len(set(surfaces)) > 0.8 * len(surfaces)


def test_generate_seats_both_orders_of_head_and_tail_in_each_relation():
    for name in RELATIONS:
        orders = {i.sentence.head < i.sentence.tail for i in both(SMALL) if i.relation == name}
        assert orders == {True, False}, name


def test_generate_novel_relations_share_entity_types_with_known_ones():
    relations = {r.name: (r.types["head"], r.types["tail"]) for r in read_grammar().relations}
    known = {relations[name] for name in RELATIONS[:16]}
    novel = [relations[name] for name in RELATIONS[16:]]
    assert set(novel) <= known
    assert sum(novel.count(types) >= 2 for types in novel) >= 6


@pytest.mark.parametrize("relation", read_grammar().relations, ids=lambda r: r.name)
def test_relation_has_enough_templates_with_head_and_tail_once(relation):
    templates = relation.templates
    assert len(set(templates)) == len(templates) >= 12
    assert all(t.count("{head}") == t.count("{tail}") == 1 for t in templates)


def test_relations_are_24_by_different_names():
    assert len(set(RELATIONS)) == len(RELATIONS) == 24


def test_choose_replaces_each_choice():
    assert choose("[a|b] x [|c]", First()) == "a x "


@pytest.mark.parametrize(
    ("slot", "text"),
    [("year", "1871"), ("money", "2 thousand dollars"), ("percent", "3 percent"), ("month", "January")],
)
def test_fill_value_or_part_gives_text(slot, text):
    assert fill(slot, First()) == text


def test_fill_type_expands_its_parts():
    assert re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", fill("person", First()))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{head} met {tail}", "Ann, a friend, met Bob"),
        ("{head}, who met {tail}", "Ann, a friend, who met Bob"),
        ("{tail} met {head}", "Bob met Ann, a friend"),
        ("{head}'s friend {tail}", "Ann's friend Bob"),
    ],
)
def test_render_sets_middle_clause_where_grammar_allows(template, text):
    rendered = render(template, {"head": "Ann", "tail": "Bob"}, {"head": "a friend"}, First())
    assert rendered.text == text
    assert {role: text[slice(*span)] for role, span in rendered.spans.items()} == {
        "head": "Ann",
        "tail": "Bob",
    }


def test_join_moves_spans_and_capitalized_keeps_them():
    plain = render("when it rained, ", {}, {}, First())
    pair = render("{head} met {tail}.", {"head": "Ann", "tail": "Bob"}, {}, First())
    joined = capitalized(join([plain, pair]))
    assert joined.text == "When it rained, Ann met Bob."
    assert {joined.text[slice(*span)] for span in joined.spans.values()} == {"Ann", "Bob"}
