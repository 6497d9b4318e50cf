import json
import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rocore.data.checks import join_words
from rocore.data.instance import Sentence, Source
from rocore.data.tokenization import BATCH_SIZE, nearest_pieces, tokenize
from rocore.errors import DataError

CALM = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""The same examples each time, however busy the machine is."""

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    [
        "",
        " ",
        "Zoë",
        "e\u0301",
        "林檎",
        "👩‍👩‍👧",
        "\u200b",
        "\ufb01n",
        "İstanbul",
        "한국",
        "x" * 150,
        "don't",
        "-LRB-",
        "ß",
    ]
)


def pieces_of(tokenized, row, tokenizer):
    """Return a sentence's pieces, and those of head and tail."""
    ids = tokenized.piece_ids[tokenized.offsets[row] : tokenized.offsets[row + 1]]
    head = ids[tokenized.head_start[row] : tokenized.head_end[row]]
    tail = ids[tokenized.tail_start[row] : tokenized.tail_end[row]]
    return tuple(tokenizer.convert_ids_to_tokens(part.tolist()) for part in (ids, head, tail))


def test_tokenize_minilm_gives_pieces_and_spans_with_special_tokens(source_of, minilm_tokenizer):
    source = source_of("in [[Paris]] , {{Marie Skłodowska-Curie}} worked", "{{b}} and [[a]]")
    tokenized = tokenize(source, minilm_tokenizer, 128)
    pieces, head, tail = pieces_of(tokenized, 0, minilm_tokenizer)
    assert pieces[0] == "[CLS]"
    assert pieces[-1] == "[SEP]"
    assert head == ["paris"]
    assert "".join(tail).replace("##", "") == "marieskłodowska-curie"
    assert pieces_of(tokenized, 1, minilm_tokenizer) == (["[CLS]", "b", "and", "a", "[SEP]"], ["a"], ["b"])
    assert tokenized.num_windowed == 0
    assert len(tokenized) == 2
    assert tokenized.piece_ids.dtype == np.int32
    assert tokenized.offsets.dtype == np.int64
    assert tokenized.head_start.dtype == np.int32


def test_tokenize_byte_level_first_word_and_inner_word_align(source_of, roberta_tokenizer):
    tokenized = tokenize(source_of("[[Marie]] worked in {{Paris}} and"), roberta_tokenizer, 128)
    _, head, tail = pieces_of(tokenized, 0, roberta_tokenizer)
    assert "".join(head) == "Marie"
    assert "".join(tail) == "ĠParis"


def test_tokenize_byte_level_space_in_span_takes_no_piece_of_the_next_word(source_of, roberta_tokenizer):
    tokenized = tokenize(source_of("[[Marie ]]worked in{{ Paris }}and"), roberta_tokenizer, 128)
    _, head, tail = pieces_of(tokenized, 0, roberta_tokenizer)
    assert "".join(head) == "Marie"
    assert "".join(tail) == "ĠParis"


def test_tokenize_span_inside_a_word_takes_the_pieces_that_overlap(source_of, minilm_tokenizer):
    tokenized = tokenize(source_of("[[wash]]ing {{Paris}}"), minilm_tokenizer, 128)
    assert pieces_of(tokenized, 0, minilm_tokenizer)[1] == ["washing"]


def test_tokenize_more_than_a_batch_equals_one_by_one(source_of, minilm_tokenizer):
    texts = [f"[[Paris]] {'and ' * (i % 5)} {{{{Rome}}}} {i}" for i in range(BATCH_SIZE + 3)]
    whole = tokenize(source_of(*texts), minilm_tokenizer, 128)
    for row in (0, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 2):
        single = tokenize(source_of(texts[row]), minilm_tokenizer, 128)
        assert pieces_of(whole, row, minilm_tokenizer) == pieces_of(single, 0, minilm_tokenizer)


def test_tokenize_empty_pool_gives_empty_arrays(minilm_tokenizer):
    tokenized = tokenize(Source((), "empty"), minilm_tokenizer, 128)
    assert len(tokenized) == 0
    assert tokenized.offsets.tolist() == [0]
    assert tokenized.tail_end.shape == (0,)


@pytest.mark.parametrize("entity", ["\u200b", "\x00", "\u0301"])
@pytest.mark.parametrize("what", ["head", "tail"])
def test_tokenize_entity_without_piece_raises_with_sentence(source_of, minilm_tokenizer, entity, what):
    first, second = (f"[[{entity}]]", "{{Rome}}") if what == "head" else ("[[Rome]]", f"{{{{{entity}}}}}")
    source = source_of("[[a]] {{b}}", f"x {first} in {second}")
    match = rf"^pool\.jsonl \[1\]: the {what} must have at least one word piece, .* of 'x "
    with pytest.raises(DataError, match=match):
        tokenize(source, minilm_tokenizer, 128)


def test_tokenize_tokenizer_settings_are_overridden_and_nothing_is_logged(
    source_of, minilm_tokenizer, caplog
):
    minilm_tokenizer.backend_tokenizer.enable_truncation(8)
    minilm_tokenizer.backend_tokenizer.enable_padding(length=32)
    with caplog.at_level(logging.WARNING):
        tokenized = tokenize(source_of("[[a]] {{b}}", "[[a]] {{b}}" + " c" * 700), minilm_tokenizer, 1000)
    assert np.diff(tokenized.offsets).tolist() == [4, 704]
    assert caplog.records == []


def test_tokenize_long_sentence_keeps_entities_and_neighbours(source_of, minilm_tokenizer):
    text = "a b c d [[Paris]] e f g h i {{Rome}} j k l"
    tokenized = tokenize(source_of(text, "[[x]] {{y}}"), minilm_tokenizer, 8)
    pieces, head, tail = pieces_of(tokenized, 0, minilm_tokenizer)
    assert pieces == ["[CLS]", "d", "paris", "e", "i", "rome", "j", "[SEP]"]
    assert (head, tail) == (["paris"], ["rome"])
    assert pieces_of(tokenized, 1, minilm_tokenizer) == (["[CLS]", "x", "y", "[SEP]"], ["x"], ["y"])
    assert tokenized.num_windowed == 1


def test_tokenize_window_tie_goes_to_the_left(source_of, minilm_tokenizer):
    tokenized = tokenize(source_of("a b c d [[Paris]] {{Rome}} e f g h"), minilm_tokenizer, 9)
    pieces, _, _ = pieces_of(tokenized, 0, minilm_tokenizer)
    assert pieces == ["[CLS]", "b", "c", "d", "paris", "rome", "e", "f", "[SEP]"]


def test_tokenize_entities_longer_than_the_window_raise(source_of, minilm_tokenizer):
    source = source_of("[[a b c d e]] f {{g h}}")
    with pytest.raises(
        DataError, match=r"^pool\.jsonl \[0\]: the entities must fit into `encoder\.max_pieces` = 8 pieces"
    ):
        tokenize(source, minilm_tokenizer, 8)
    assert tokenize(source, minilm_tokenizer, 9).num_windowed == 1


def test_tokenize_bad_sentences_of_several_batches_are_named_all_at_once(source_of, minilm_tokenizer):
    good = ["[[a]] {{b}}"] * BATCH_SIZE
    texts = [
        "[[\u200b]] {{\u00ad}}",
        *good,
        "[[a b c d e]] f {{g h}}",
        "[[a]] {{\u202e}} and more and more words",
    ]
    source = source_of(*texts)
    source = Source(source.sentences, source.name, tuple(f"d.jsonl line {i + 5}" for i in range(len(texts))))
    with pytest.raises(DataError) as caught:
        tokenize(source, minilm_tokenizer, 8)
    found = [line.partition(" must")[0] for line in str(caught.value).splitlines()]
    assert found == [
        "d.jsonl line 5: the head",
        "d.jsonl line 5: the tail",
        "d.jsonl line 1031: the tail",
        "d.jsonl line 1030: the entities",
    ]


def test_tokenize_with_a_tokenizer_that_gives_nothing_names_the_entities(source_of):
    class Nothing:
        def __call__(self, text, /, **options):
            empty = [[] if "x" in one else [0, 1] for one in text]
            offsets = [[] if "x" in one else [(0, 1), (2, 3)] for one in text]
            return {
                "input_ids": empty,
                "offset_mapping": offsets,
                "special_tokens_mask": [[0] * len(e) for e in empty],
            }

    for texts, rows in ((["[[x]] {{x}}"], [0]), (["[[a]] {{b}}", "[[x]] {{x}}", "[[x]] {{x}}"], [1, 2])):
        with pytest.raises(DataError) as caught:
            tokenize(source_of(*texts), Nothing(), 8)
        found = [line.partition(":")[0] for line in str(caught.value).splitlines()]
        assert found == [f"pool.jsonl [{row}]" for row in rows] * 2


def test_tokenized_part_holds_the_pieces_of_its_sentences(source_of, minilm_tokenizer):
    texts = [f"[[Paris]] {'and ' * i} {{{{Rome}}}}" for i in range(5)]
    part = tokenize(source_of(*texts), minilm_tokenizer, 128).part(2, 9)
    assert part.fingerprint == tokenize(source_of(*texts[2:]), minilm_tokenizer, 128).fingerprint


@pytest.mark.parametrize("changed", ["[[a]] b {{d}}", "[[a b]] {{c}}", "[[a]] {{b c}}"])
def test_fingerprint_changes_with_pieces_and_spans(source_of, minilm_tokenizer, changed):
    original = tokenize(source_of("[[a]] b {{c}}"), minilm_tokenizer, 128).fingerprint
    assert original == tokenize(source_of("[[a]] b {{c}}"), minilm_tokenizer, 128).fingerprint
    assert original != tokenize(source_of(changed), minilm_tokenizer, 128).fingerprint


def covered(sentence, tokenizer, start, end):
    """Return the text that pieces start..end-1 stand for."""
    offsets = tokenizer([sentence.text], return_offsets_mapping=True, verbose=False)["offset_mapping"][0]
    real = [(a, b) for a, b in offsets[start:end] if b > a]
    return sentence.text[real[0][0] : real[-1][1]]


def plain(text, tokenizer):
    """Return a text as the tokenizer reads it, without spaces."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return "".join((normalizer.normalize_str(text) if normalizer else text).split())


@st.composite
def word_sentences(draw):
    words = draw(st.lists(WORDS, min_size=1, max_size=12))
    spans = []
    for _ in range(2):
        start = draw(st.integers(0, len(words) - 1))
        spans.append((start, draw(st.integers(start + 1, len(words)))))
    return join_words(words, *spans)


def check_alignment(sentence, tokenizer):
    source = Source((sentence,), "random")
    if not all(plain(sentence.text[slice(*span)], tokenizer) for span in (sentence.head, sentence.tail)):
        with pytest.raises(DataError, match="at least one word piece"):
            tokenize(source, tokenizer, 4096)
        return
    tokenized = tokenize(source, tokenizer, 4096)
    for span, start, end in (
        (sentence.head, tokenized.head_start[0], tokenized.head_end[0]),
        (sentence.tail, tokenized.tail_start[0], tokenized.tail_end[0]),
    ):
        found = covered(sentence, tokenizer, start, end)
        assert plain(found, tokenizer) == plain(sentence.text[slice(*span)], tokenizer)


@settings(CALM, max_examples=300)
@given(sentence=word_sentences())
def test_tokenize_minilm_any_words_pieces_cover_the_entity(sentence, minilm_tokenizer):
    check_alignment(sentence, minilm_tokenizer)


@settings(CALM, max_examples=150)
@given(sentence=word_sentences())
def test_tokenize_byte_level_any_words_pieces_cover_the_entity(sentence, roberta_tokenizer):
    check_alignment(sentence, roberta_tokenizer)


@settings(CALM, max_examples=100)
@given(
    words=st.lists(
        st.sampled_from(["a", "Paris", "Skłodowska", "unbelievably", "林"]), min_size=2, max_size=40
    ),
    data=st.data(),
    max_pieces=st.integers(24, 40),
)
def test_tokenize_any_window_is_a_subsequence_with_the_same_entities(
    words, data, max_pieces, minilm_tokenizer
):
    head, tail = (data.draw(st.integers(0, len(words) - 1)) for _ in range(2))
    source = Source((join_words(words, (head, head + 1), (tail, tail + 1)),), "random")
    full = pieces_of(tokenize(source, minilm_tokenizer, 4096), 0, minilm_tokenizer)
    cut = pieces_of(tokenize(source, minilm_tokenizer, max_pieces), 0, minilm_tokenizer)
    assert cut[1:] == full[1:]
    assert len(cut[0]) == min(max_pieces, len(full[0]))
    rest = iter(full[0])
    assert all(piece in rest for piece in cut[0])


@settings(CALM)
@given(data=st.data(), length=st.integers(4, 40), max_pieces=st.integers(3, 40))
def test_nearest_pieces_any_spans_agree_with_plain_sorting(data, length, max_pieces):
    special = np.zeros(length, dtype=bool)
    special[[0, -1]] = True
    spans = []
    for _ in range(2):
        start = data.draw(st.integers(1, length - 2))
        spans += [start, data.draw(st.integers(start + 1, length - 1))]
    entity = {*range(spans[0], spans[1]), *range(spans[2], spans[3])}
    others = sorted(range(1, length - 1), key=lambda p: (min(abs(p - q) for q in entity), p))
    stays = nearest_pieces(special, np.array(spans, dtype=np.int32), max_pieces)
    if len(entity) > max_pieces - 2:
        assert stays is None
    else:
        assert np.flatnonzero(stays).tolist() == sorted([0, *others[: max_pieces - 2], length - 1])


def test_join_words_json_round_trip_keeps_every_character():
    words = json.loads(json.dumps(["a", "", "b c", "林"]))
    sentence = join_words(words, (2, 4), (0, 1))
    assert sentence == Sentence("a  b c 林", (3, 8), (0, 1))
