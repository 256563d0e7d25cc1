"""JSON and YAML that somebody else may have written.

What is legal in these formats may still eat all memory or hide a mistake: lists nested a hundred
thousand deep, aliases of aliases that stand for a billion items, a key that is given twice. Here
they are refused, in time and memory that the size of the text bounds.
"""

import json
from typing import Any

import yaml

MAX_BYTES = 2**20
"""Largest size of a text."""

MAX_DEPTH = 50
"""Most lists and mappings inside one another."""

MAX_ITEMS = 20_000
"""Most values in a YAML text, those that aliases repeat counted each time."""


def read_json(content: bytes) -> Any:
    """Returns what a JSON text holds.

    Args:
        content: The text, in UTF-8.

    Raises:
        ValueError: If it is not JSON, too large, nested too deeply or gives a key twice.
    """
    _check_size(content)
    try:
        value = json.loads(content, object_pairs_hook=_without_repetition)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if level:
        raise ValueError(_TOO_DEEP)
    return value


def read_yaml(content: bytes) -> Any:
    """Returns what a YAML text holds.

    Args:
        content: The text.

    Raises:
        ValueError: If it is not YAML, too large, nested too deeply, gives a key twice or holds more
            than `MAX_ITEMS` values.
    """
    _check_size(content)
    try:
        return yaml.load(content, Loader=_Loader)
    except Exception as error:  # PyYAML raises whatever a value such as 9999-99-99 makes of it
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


_TOO_DEEP = f"lists and mappings are nested more than {MAX_DEPTH} deep"


def _check_size(content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"key {key!r} is given twice")
        values[key] = value
    return values


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which counts what it makes and refuses a key that is given twice."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = self._items = 0
        self._items_of: dict[yaml.Node | None, int] = {}

    def compose_node(self, parent, index):
        event, before = self.peek_event(), self._items
        mark = event.start_mark
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if node not in self._items_of:
                why = f"alias '*{event.anchor}' stands inside what it stands for"
                raise yaml.composer.ComposerError(None, None, why, mark)
            self._items += self._items_of[node]
        else:
            self._items += 1
            self._items_of[node] = self._items - before
        if self._items > MAX_ITEMS:
            why = f"there are more than {MAX_ITEMS} values, aliases counted each time"
            raise yaml.composer.ComposerError(None, None, why, mark)
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                name = self.construct_object(key)
                if name in seen:
                    why = f"key '{name}' is given twice"
                    raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
                seen.add(name)
        return super().construct_mapping(node, deep)
