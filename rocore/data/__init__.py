"""Sentences with entity pairs: reading, splitting, checking and cutting them into word pieces."""

from rocore.data.describe import describe
from rocore.data.fetch import fetch_fewrel
from rocore.data.fewrel import read_fewrel
from rocore.data.instance import Corpus, Instance, LoadedData, NovelGold, Sentence, Source, Span, Splits
from rocore.data.jsonl import read_jsonl, read_sentences
from rocore.data.load import load_data
from rocore.data.splits import count_labeled_per_epoch, load_splits, make_splits, save_splits
from rocore.data.tacred import known_tacred, novel_tacred, read_tacred
from rocore.data.tokenization import TokenizedSource, tokenize
from rocore.data.validation import Finding, raise_errors, validate

__all__ = [
    "Corpus",
    "Finding",
    "Instance",
    "LoadedData",
    "NovelGold",
    "Sentence",
    "Source",
    "Span",
    "Splits",
    "TokenizedSource",
    "count_labeled_per_epoch",
    "describe",
    "fetch_fewrel",
    "known_tacred",
    "load_data",
    "load_splits",
    "make_splits",
    "novel_tacred",
    "raise_errors",
    "read_fewrel",
    "read_jsonl",
    "read_sentences",
    "read_tacred",
    "save_splits",
    "tokenize",
    "validate",
]
