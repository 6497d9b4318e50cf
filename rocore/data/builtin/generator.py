"""The generator of the built-in corpus: sentences of 24 relations, seeded."""

import random

from rocore.config import BuiltinConfig
from rocore.data.builtin.grammar import Relation, Rendered, capitalized, fill, join, read_grammar, render
from rocore.data.instance import Instance, Sentence
from rocore.errors import ConfigError

RELATIONS: tuple[str, ...] = tuple(relation.name for relation in read_grammar().relations)
"""Names in order: known relations are taken from the front, novel ones from the back."""


def generate(config: BuiltinConfig) -> tuple[list[Instance], list[Instance]]:
    """Generate the built-in corpus.

    Every relation has a random stream of its own, so its first n sentences never change.

    Args:
        config: How many relations and sentences, and the seed.

    Returns:
        Instances of known relations and of novel relations, relation by relation.

    Raises:
        ConfigError: If more than the 24 relations are asked for.
    """
    known, novel = config.num_known_relations, config.num_novel_relations
    if known + novel > len(RELATIONS):
        raise ConfigError(
            "`data.builtin.num_known_relations + data.builtin.num_novel_relations` must be at most "
            f"{len(RELATIONS)}, but is {known} + {novel} = {known + novel}; lower one of them"
        )
    relations = read_grammar().relations
    return (
        [instance for relation in relations[:known] for instance in _instances(relation, config)],
        [instance for relation in relations[-novel:] for instance in _instances(relation, config)],
    )


def _instances(relation: Relation, config: BuiltinConfig) -> list[Instance]:
    rng = random.Random(f"{config.seed}/{relation.name}")
    sentences: dict[str, Sentence] = {}
    while len(sentences) < config.instances_per_relation:
        sentence = _sentence(relation, rng)
        sentences.setdefault(sentence.text, sentence)
    return [
        Instance(sentence, relation.name, f"builtin {relation.name}[{index}]")
        for index, sentence in enumerate(sentences.values())
    ]


def _sentence(relation: Relation, rng: random.Random) -> Sentence:
    entities = {role: fill(kind, rng) for role, kind in relation.types.items()}
    while entities["head"] == entities["tail"]:
        entities["tail"] = fill(relation.types["tail"], rng)
    middles = {
        role: _clause(f"middle {kind}", rng).text
        for role, kind in relation.types.items()
        if _occurs("middle", rng)
    }
    core = render(rng.choice(relation.templates), entities, middles, rng)
    surrounded = _surround(core, rng)
    return Sentence(surrounded.text, surrounded.spans["head"], surrounded.spans["tail"])


def _surround(core: Rendered, rng: random.Random) -> Rendered:
    """Add clauses or sentences on other entities before and after the relation's own clause."""
    before = after = leading = trailing = Rendered("", {})
    if _occurs("before", rng):
        before = join([_clause("before", rng), Rendered(", ", {})])
    if _occurs("after", rng):
        after = join([Rendered(", ", {}), _clause("after", rng)])
    if _occurs("sentence", rng):
        leading = join([capitalized(_clause("sentence", rng)), Rendered(". ", {})])
    if _occurs("sentence", rng):
        trailing = join([Rendered(" ", {}), capitalized(_clause("sentence", rng)), Rendered(".", {})])
    return join([leading, capitalized(join([before, core, after])), Rendered(".", {}), trailing])


def _occurs(kind: str, rng: random.Random) -> bool:
    return rng.random() < read_grammar().shares[kind]


def _clause(kind: str, rng: random.Random) -> Rendered:
    return render(rng.choice(read_grammar().clauses[kind]), {}, {}, rng)
