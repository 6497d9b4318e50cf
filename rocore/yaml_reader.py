"""The one reader of YAML that a user wrote: nothing stands twice, and every fault has its line."""

from collections.abc import Hashable, Iterator
from typing import Any

import yaml

from rocore.errors import ConfigError
from rocore.utf8 import Position, lone_surrogate, stands_again, too_many_digits

MERGE = "tag:yaml.org,2002:merge"
SHOWN = 60
MAX_VALUES = 1_000_000
"""Of a document whose aliases are written out: a few lines of aliases of aliases would fill the memory."""


def parse_yaml(text: str, where: str) -> Any:
    """Read one YAML document; numbers like 1e-4 are numbers.

    Args:
        text: The document.
        where: What messages call it.

    Raises:
        ConfigError: If it isn't YAML, a key stands twice in its mapping, an alias stands within what it names, or a
            value can't be read.
    """
    try:
        loader = _Loader(text, where)
        try:
            return _read_number(loader.read())
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{where} line {line} must be text, but holds the character U+{error.character:04X}; remove it"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} must be YAML, but {error}") from error
    except RecursionError as error:
        raise ConfigError(
            f"{where} must be YAML of a few levels, but is nested too deeply to read"
        ) from error


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes nothing in silence."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self.name = self.where = where
        self._open: list[str | None] = []
        """Anchors of the nodes that are being read."""
        self._sizes: dict[str, int] = {}
        self._num_values = 0

    def read(self) -> Any:
        """Return the document.

        Raises:
            ConfigError: As `parse_yaml` does.
        """
        node = self.get_single_node()
        if node is None:
            return None
        if repeats := list(self._repeats(node, "", set())):
            raise ConfigError("\n".join(repeats))
        return self.construct_document(node)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read a node; one that would hold itself, or fill the memory, is refused."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor in self._open:
                raise ConfigError(
                    f"an alias must name what ends before it, but *{anchor} stands within &{anchor}: "
                    f"{self._place(event)}; write the value out"
                )
            self._num_values += self._sizes.get(anchor, 0)
            if self._num_values > MAX_VALUES:
                raise ConfigError(
                    f"{self._place(event)}: aliases must stand for at most {MAX_VALUES} values in all, "
                    f"but *{anchor} exceeds them; write fewer"
                )
            return super().compose_node(parent, index)
        before = self._num_values
        self._num_values += 1
        self._open.append(event.anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        if event.anchor is not None:
            self._sizes[event.anchor] = self._num_values - before
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return a node's value; one that Python can't hold is named with its line."""
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep)
        try:
            value = super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            fault = f"{node.value[:SHOWN]!r} must be a value of YAML's type {kind}, but isn't; correct or quote it"
            raise ConfigError(f"{self._place(node)}: {too_many_digits(node.value) or fault}") from error
        half = lone_surrogate(value) if isinstance(value, str) else None
        if half:
            raise ConfigError(f"{self._place(node)}: text {half}")
        return value

    def _place(self, item: yaml.Node | yaml.Event) -> str:
        return f"{self.where} line {_position(item)[0]}"

    def _repeats(self, node: yaml.Node, path: str, seen: set[int]) -> Iterator[str]:
        """Yield a message for each key that stands twice; what is merged in by `<<` stands in another mapping."""
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                yield from self._repeats(item, f"{path}[{i}]", seen)
        elif isinstance(node, yaml.MappingNode):
            yield from self._repeats_of_keys(node, path)
            for key, value in node.value:
                yield from self._repeats(value, _below(path, key), seen)

    def _repeats_of_keys(self, node: yaml.MappingNode, path: str) -> Iterator[str]:
        keys: dict[Hashable, list[yaml.ScalarNode]] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                plain = key.tag == MERGE or key.value == "="
                keys.setdefault(key.value if plain else self.construct_object(key), []).append(key)
        for same in keys.values():
            if len(same) > 1:
                remedy = "write <<: [*A, *B]" if same[0].tag == MERGE else "keep one"
                again = stands_again([_position(key) for key in same], self.where)
                yield f"key `{_below(path, same[0])}` {again}; {remedy}"


def _below(path: str, key: yaml.Node) -> str:
    name = key.value if isinstance(key, yaml.ScalarNode) else "?"
    return f"{path}.{name}" if path else name


def _position(item: yaml.Node | yaml.Event) -> Position:
    mark = item.start_mark
    assert mark is not None  # only what is written by a program has none
    return mark.line + 1, mark.column + 1


def _read_number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as a string; numbers are meant."""
    if isinstance(value, str):
        try:
            return float(value) if any(c in value for c in "eE") and value[0] in "+-.0123456789" else value
        except ValueError:
            return value
    if isinstance(value, dict):
        return {k: _read_number(v) for k, v in value.items()}
    return [_read_number(v) for v in value] if isinstance(value, list) else value
