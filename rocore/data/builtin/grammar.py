"""Expansion of the built-in corpus's templates: choices, slots, entities and spans."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from rocore.data.instance import Span

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Rendered:
    """A piece of text and the spans of the entity pair's members that stand in it, by role."""

    text: str
    spans: Mapping[str, Span]


@dataclass(frozen=True)
class Relation:
    """A relation: the entity type of each role, and its templates."""

    name: str
    types: Mapping[str, str]
    templates: Sequence[str]


@dataclass(frozen=True)
class Grammar:
    """What the YAML files beside this module hold.

    Attributes:
        relations: In order: known ones are taken from the front, novel ones from the back.
        types: Patterns by entity type.
        parts: What the patterns' slots stand for.
        shares: How often each kind of clause occurs, in [0, 1].
        clauses: Clauses by kind; those of the kind `middle` by entity type.
    """

    relations: tuple[Relation, ...]
    types: Mapping[str, Sequence[str]]
    parts: Mapping[str, Sequence[str]]
    shares: dict[str, float]
    clauses: Mapping[str, Sequence[str]]


@cache
def read_grammar() -> Grammar:
    """Read the grammar; once a process."""
    relations, entities, clauses = (_read(name) for name in ("relations", "entities", "clauses"))
    middle = {f"middle {kind}": options for kind, options in clauses.pop("middle").items()}
    return Grammar(
        relations=tuple(
            Relation(r["name"], {"head": r["head"], "tail": r["tail"]}, r["templates"]) for r in relations
        ),
        types=entities["types"],
        parts=entities["parts"],
        shares=clauses.pop("shares"),
        clauses=clauses | middle,
    )


def _read(name: str) -> Any:
    return yaml.safe_load(files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


def choose(template: str, rng: random.Random) -> str:
    """Replace every `[a|b|c]` by one of its options."""
    return _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)


def fill(slot: str, rng: random.Random) -> str:
    """Return text for a slot: an entity of that type, one of its parts, or a value.

    Args:
        slot: A type or part of entities.yaml, or `year`, `day`, `money`, `percent`.
        rng: Source of chance.
    """
    numbers = {
        "year": lambda: str(rng.randint(1871, 2019)),
        "day": lambda: str(rng.randint(2, 28)),
        "money": lambda: (
            f"{rng.randint(2, 950)} {rng.choice(('thousand', 'million'))} {rng.choice(('dollars', 'euros'))}"
        ),
        "percent": lambda: f"{rng.randint(3, 49)} percent",
    }
    if slot in numbers:
        return numbers[slot]()
    grammar = read_grammar()
    if slot in grammar.types:
        return _SLOT.sub(lambda match: fill(match[1], rng), rng.choice(grammar.types[slot]))
    return rng.choice(grammar.parts[slot])


def render(
    template: str, entities: Mapping[str, str], middles: Mapping[str, str], rng: random.Random
) -> Rendered:
    """Expand a template.

    Args:
        template: Text with choices and slots.
        entities: Surface of the slots that are the entity pair's (`head`, `tail`); other slots are drawn.
        middles: Clauses to set between commas behind an entity of the pair, by role, where grammar allows it.
        rng: Source of chance.

    Returns:
        The text and the spans of the pair's entities in it.
    """
    pieces = _SLOT.split(choose(template, rng))
    text, spans = pieces[0], {}
    for slot, following in zip(pieces[1::2], pieces[2::2], strict=True):
        surface = entities[slot] if slot in entities else fill(slot, rng)
        if slot in entities:
            spans[slot] = (len(text), len(text) + len(surface))
        text += surface
        if slot in middles and following[:1] in {"", " ", ","}:
            text += f", {middles[slot]}" + ("," if following.startswith(" ") else "")
        text += following
    return Rendered(text, spans)


def join(parts: Sequence[Rendered]) -> Rendered:
    """Join pieces, each as it stands; spans move along."""
    text, spans = "", {}
    for part in parts:
        for role, (start, end) in part.spans.items():
            spans[role] = (start + len(text), end + len(text))
        text += part.text
    return Rendered(text, spans)


def capitalized(part: Rendered) -> Rendered:
    """Return the piece with its first letter in upper case."""
    return Rendered(part.text[:1].upper() + part.text[1:], part.spans)
