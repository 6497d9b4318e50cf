"""From a configuration to what training may see and, apart from it, the novel gold relations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rocore.config import DataConfig
from rocore.data.checks import Limits
from rocore.data.fewrel import read_fewrel
from rocore.data.files import resolve
from rocore.data.instance import Corpus, Instance, LabeledData, LoadedData, NovelGold, Source
from rocore.data.jsonl import read_jsonl
from rocore.data.problems import Problems
from rocore.data.pseudo_novel import hide_known_relations
from rocore.data.tacred import known_tacred, novel_tacred, read_tacred
from rocore.errors import DataError
from rocore.storage import sha256

READERS = {"fewrel": read_fewrel, "tacred": read_tacred, "jsonl": read_jsonl}
ROLES = {"known": known_tacred, "novel": novel_tacred}


def load_data(config: DataConfig) -> LoadedData:
    """Read both pools and label the known one, by order of first appearance.

    With `data.pseudo_novel`, the known pool alone serves as both, and `data.novel` is never opened.

    Raises:
        DataError: If a file or an instance can't be used, a known instance has no relation, or C_u is neither
            given nor can be counted.
    """
    with_novel = config.pseudo_novel is None
    known, novel, files = (
        _generate(config) if config.format == "builtin" else _read(config, with_novel=with_novel)
    )
    problems = Problems(shown=None)
    relations = tuple(instance.relation for instance in novel)
    num_novel_relations = config.num_novel_relations or 0
    with problems:
        labels, names = _label(known)
    if with_novel and not num_novel_relations:
        with problems:
            num_novel_relations = _count_relations(relations)
    problems.raise_any()
    source = _pool(known, "known", config)
    synthetic = config.format == "builtin"
    if config.pseudo_novel is not None:
        return hide_known_relations(
            source, labels, names, config.pseudo_novel, synthetic=synthetic, files=files
        )
    corpus = Corpus(
        known=source,
        known_rows=np.arange(len(known)),
        known_labels=labels,
        known_relations=names,
        novel=_pool(novel, "novel", config),
        novel_rows=np.arange(len(novel)),
        num_novel_relations=num_novel_relations,
        synthetic=synthetic,
        files=files,
    )
    return LoadedData(corpus, NovelGold(relations) if any(r is not None for r in relations) else None)


def load_known(config: DataConfig) -> LabeledData:
    """Read the known pool alone and label it as `load_data` does; `data.novel` is never opened.

    With `data.pseudo_novel`, without the relations that it hides.

    Raises:
        DataError: If a file or an instance can't be used, or a known instance has no relation.
    """
    if config.pseudo_novel is not None:
        corpus = load_data(config).corpus
        return LabeledData(
            corpus.known, corpus.known_rows, corpus.known_labels, corpus.known_relations, corpus.synthetic
        )
    synthetic = config.format == "builtin"
    known, _, _ = _generate(config) if synthetic else _read(config, with_novel=False)
    labels, names = _label(known)
    return LabeledData(_pool(known, "known", config), np.arange(len(known)), labels, names, synthetic)


def _generate(config: DataConfig) -> tuple[list[Instance], list[Instance], dict[str, str]]:
    from rocore.data.builtin import generate

    known, novel = generate(config.builtin)
    return known, novel, {}


def _read(config: DataConfig, *, with_novel: bool) -> tuple[list[Instance], list[Instance], dict[str, str]]:
    """Read the files of each role; without `with_novel`, those of `data.novel` aren't touched."""
    read: dict[str, list[Instance]] = {"known": [], "novel": []}
    files: dict[str, str] = {}
    by_path: dict[Path, list[Instance]] = {}
    problems = Problems(shown=None)
    roles = {"known": config.known, "novel": config.novel} if with_novel else {"known": config.known}
    for role, names in roles.items():
        with problems:
            for name, path in resolve(config.root, names, role).items():
                if path not in by_path:
                    by_path[path] = []
                    with problems:
                        by_path[path] = READERS[config.format](path, Limits.of(config), name)
                        files[name] = sha256(path)
                read[role] += by_path[path]
    problems.raise_any()
    for role, names in roles.items():
        if config.format == "tacred":
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


def _label(known: Sequence[Instance]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    ids: dict[str, int] = {}
    labels = np.empty(len(known), dtype=np.int64)
    problems = Problems()
    for row, instance in enumerate(known):
        if instance.relation is None:
            fault = (
                f"{instance.place}: an instance in `data.known` must carry a relation, but has none; "
                "label it or move it to `data.novel`"
            )
            problems.note(DataError(fault))
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
