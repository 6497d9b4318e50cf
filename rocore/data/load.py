"""From a configuration to what training may see and, apart from it, the novel gold relations."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocore.config import DataConfig, ResplitConfig
from rocore.data.checks import Limits
from rocore.data.fewrel import read_fewrel
from rocore.data.files import resolve
from rocore.data.instance import (
    Corpus,
    Instance,
    LabeledData,
    LoadedData,
    NovelGold,
    Source,
    UnlabeledData,
)
from rocore.data.jsonl import read_jsonl
from rocore.data.problems import Problems
from rocore.data.pseudo_novel import hide_relations, make_hidden_task
from rocore.data.resplit import draw_novel
from rocore.data.subset import take_subset
from rocore.data.tacred import known_tacred, novel_tacred, read_tacred
from rocore.errors import DataError
from rocore.storage import sha256

READERS = {"fewrel": read_fewrel, "tacred": read_tacred, "jsonl": read_jsonl}
ROLES = {"known": known_tacred, "novel": novel_tacred}
NO_RELATION_IN_KNOWN = (
    "an instance in `data.known` must carry a relation, but has none; label it or move it to `data.novel`"
)
NO_RELATION_IN_RESPLIT = (
    "an instance must carry a relation where `data.resplit` deals them, but has none; label it or leave "
    "`data.resplit` out"
)


def load_data(config: DataConfig) -> LoadedData:
    """Read both pools, label the known one, by order of first appearance, and cut what is used, in this order.

    1. `data.resplit` deals the relations of both roles' files into known and novel ones.
    2. `data.subset.num_known_relations` keeps so many known relations,
    3. `data.subset.instances_per_relation` so many instances of each,
    4. `data.subset.num_labeled` so many in all.
    5. `data.pseudo_novel` hides some of the known relations that are left: they become the novel ones.

    Training and test are split from what is left (`make_splits`). With `data.pseudo_novel`, the known pool serves as
    both; `data.novel` is opened where that section or a re-split asks for it, and no relation of it gets any further.

    Raises:
        DataError: If a file or an instance can't be used, a known instance has no relation, C_u is neither given nor
            can be counted, or a cut can't be made.
    """
    hiding = config.pseudo_novel
    with_novel = hiding is None or hiding.opens_novel or config.resplit is not None
    known, novel, files = (
        _generate(config) if config.format == "builtin" else _read(config, with_novel=with_novel)
    )
    loaded = _by_role(known, novel if with_novel else None, config)
    if config.subset is not None:
        loaded = replace(loaded, corpus=take_subset(loaded.corpus, config.subset))
    if hiding is not None:
        real = _without_relations(loaded.corpus) if hiding.opens_novel else None
        loaded = make_hidden_task(loaded.corpus, hiding, real)
    return _with(loaded, files=files, synthetic=config.format == "builtin")


def _with(loaded: LoadedData, **fields: Any) -> LoadedData:
    return replace(loaded, corpus=replace(loaded.corpus, **fields))


def _without_relations(corpus: Corpus) -> UnlabeledData:
    """Return the real novel sentences."""
    return UnlabeledData(corpus.novel, corpus.novel_rows, corpus.num_novel_relations)


def _by_role(known: list[Instance], novel: list[Instance] | None, config: DataConfig) -> LoadedData:
    """Return the roles as the files or the re-split give them; `novel` is None where it wasn't read."""
    if config.resplit is not None:
        return _dealt(known, novel or [], config, config.resplit)
    pool = _pool(known, "known", config)
    relations = tuple(instance.relation for instance in novel or ())
    num_novel_relations = config.num_novel_relations or 0
    problems = Problems(shown=None)
    with problems:
        labels, names = _label(known, NO_RELATION_IN_KNOWN)
    if novel is not None and not num_novel_relations:
        with problems:
            num_novel_relations = _count_relations(relations)
    problems.raise_any()
    corpus = Corpus(
        known=pool,
        known_rows=np.arange(len(known)),
        known_labels=labels,
        known_relations=names,
        novel=pool if novel is None else _pool(novel, "novel", config),
        novel_rows=np.arange(len(relations)),
        num_novel_relations=num_novel_relations,
    )
    return LoadedData(corpus, NovelGold(relations) if any(r is not None for r in relations) else None)


def load_known(config: DataConfig) -> LabeledData:
    """Return the known relations' instances as `load_data` does; `data.novel` is opened by `data.resplit` alone.

    With `data.pseudo_novel`, without the relations that it hides.

    Raises:
        DataError: If a file or an instance can't be used, a known instance has no relation, or a cut can't be made.
    """
    if config.pseudo_novel is None and config.resplit is None:
        synthetic = config.format == "builtin"
        known, _, _ = _generate(config) if synthetic else _read(config, with_novel=False)
        corpus = replace(_by_role(known, None, config).corpus, synthetic=synthetic)
        if config.subset is not None:
            corpus = take_subset(corpus, config.subset)
    else:
        hiding = config.pseudo_novel
        if hiding is not None:  # nothing of which labeled instances there are hangs on the real novel ones
            hiding = hiding.model_copy(update={"read_novel": False, "instances_per_relation": None})
        corpus = load_data(config.model_copy(update={"pseudo_novel": hiding})).corpus
    return LabeledData(
        corpus.known, corpus.known_rows, corpus.known_labels, corpus.known_relations, corpus.synthetic
    )


def _dealt(
    known: list[Instance], novel: list[Instance], config: DataConfig, resplit: ResplitConfig
) -> LoadedData:
    """Label the instances of both roles in one pool, and hide the relations that are drawn as novel."""
    places = {instance.place for instance in known}
    if twice := [instance.place for instance in novel if instance.place in places]:
        raise DataError(
            f"`data.resplit` deals every instance once, but {len(twice)} stand in both `data.known` and `data.novel`, "
            f"the first at {twice[0]}; name a file in one of them alone"
        )
    labels, names = _label([*known, *novel], NO_RELATION_IN_RESPLIT)
    pool = _pool(known, "known", config)
    if novel:
        pool = Source.joined(pool, _pool(novel, "novel", config))
    rows = np.arange(len(labels))
    whole = Corpus(pool, rows, labels, names, pool, rows[:0], num_novel_relations=0)
    loaded = hide_relations(whole, draw_novel(names, resplit))
    return _with(
        loaded,
        num_novel_relations=config.num_novel_relations or resplit.num_novel_relations,
        cuts=(whole.after("files"), loaded.corpus.after("data.resplit")),
    )


def _generate(config: DataConfig) -> tuple[list[Instance], list[Instance], dict[str, str]]:
    from rocore.data.builtin import generate

    known, novel = generate(config.builtin)
    return known, novel, {}


def _read(config: DataConfig, *, with_novel: bool) -> tuple[list[Instance], list[Instance], dict[str, str]]:
    """Read the files of each role; without `with_novel`, those of `data.novel` aren't touched."""
    read: dict[str, list[Instance]] = {"known": [], "novel": []}
    files: dict[str, str] = {}
    by_path: dict[tuple[Path, str], list[Instance]] = {}
    problems = Problems(shown=None)
    roles = {"known": config.known, "novel": config.novel if with_novel else ()}
    roles = {role: names for role, names in roles.items() if names}
    for role, names in roles.items():
        form = config.format_of(role)
        with problems:
            for name, path in resolve(config.root, names, role).items():
                if (path, form) not in by_path:
                    by_path[path, form] = []
                    with problems:
                        by_path[path, form] = READERS[form](path, Limits.of(config), name)
                        files[name] = sha256(path)
                read[role] += by_path[path, form]
    problems.raise_any()
    for role, names in roles.items():
        if config.format_of(role) == "tacred":
            read[role] = ROLES[role](read[role])
        if not read[role]:
            raise DataError(
                f"`data.{role}` must hold instances of {role} relations, but {', '.join(names)} holds none"
            )
    return read["known"], read["novel"], files


def _pool(instances: Sequence[Instance], role: str, config: DataConfig) -> Source:
    if config.format == "builtin":
        name = f"builtin {role}"
    else:
        names = config.known if role == "known" else config.novel
        name = " + ".join(names)
    return Source(
        tuple(instance.sentence for instance in instances),
        name,
        tuple(instance.place for instance in instances),
    )


def _label(known: Sequence[Instance], no_relation: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    ids: dict[str, int] = {}
    labels = np.empty(len(known), dtype=np.int64)
    problems = Problems()
    for row, instance in enumerate(known):
        if instance.relation is None:
            problems.note(DataError(f"{instance.place}: {no_relation}"))
        else:
            labels[row] = ids.setdefault(instance.relation, len(ids))
    problems.raise_any()
    if len(ids) < 2:
        raise DataError(
            f"`data.known` must hold at least 2 relations, but holds {', '.join(ids) or 'none'}; "
            "add labeled instances"
        )
    return labels, tuple(ids)


def _count_relations(relations: Sequence[str | None]) -> int:
    """C_u, counted from gold (the paper takes it as given)."""
    without = sum(relation is None for relation in relations)
    if without:
        raise DataError(
            f"the number of novel relations can't be counted: {without} of {len(relations)} novel instances "
            "carry no relation; set data.num_novel_relations"
        )
    count = len(set(relations))
    if count < 2:
        raise DataError(
            f"`data.novel` must hold at least 2 relations, but holds {count}; set data.num_novel_relations"
        )
    return count
