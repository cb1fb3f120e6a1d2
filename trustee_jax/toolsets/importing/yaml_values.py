"""YAML as JSON values: scalars as the core schema of YAML 1.2 reads them, and merge keys.

YAML 1.1 takes `no` for false, 010 for eight, 1_000 for a thousand, 10:15:30 for seconds and
2026-01-31 for a date; here these are texts, but for 010, which is ten. A number knows how it was
written, so that a text may be made of it again: `str` of 1.10 is "1.10".
"""

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", "<<", "<"),
)
_BASES = {"0o": 8, "0x": 16}
# Aliases of aliases make gigabytes out of a page: values that they may add to those written.
_MOST_REPEATED = 1_000_000


class _Spelled:
    """A number that is not written as Python would."""

    spelling: str

    def __str__(self) -> str:
        return self.spelling


class _Int(_Spelled, int): ...


class _Float(_Spelled, float): ...


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _kind, _pattern, _first in _SCALARS:
    # PyYAML looks up the empty scalar under "".
    _starts = ["" if character == "\0" else character for character in _first]
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"(?:{_pattern})$"), _starts)


def load_yaml(text: str | bytes) -> Any:
    """Returns the only document of a text; all keys are texts.

    Raises:
      yaml.YAMLError: It is no YAML, or has more than one document.
      ValueError: A key stands twice in a mapping, `<<` has no mapping, a key is no text, or aliases
        lead to themselves or repeat more than a million values.
      RecursionError: It is nested too deeply.
    """
    node = yaml.compose(text, Loader=_Loader)
    return None if node is None else _Values().of(node)


class _Values:
    """The values of the nodes of one document."""

    def __init__(self) -> None:
        # What an alias names is one node, read once: (value, values in it, aliases followed).
        self._read: dict[yaml.Node, tuple[Any, int]] = {}
        self._open: set[yaml.Node] = set()
        self._written = 0

    def of(self, node: yaml.Node) -> Any:
        """Returns the value of the document's root."""
        value, size = self._value(node)
        if size - self._written > _MOST_REPEATED:
            raise ValueError(f"aliases repeat more than {_MOST_REPEATED} values")
        return value

    def _value(self, node: yaml.Node) -> tuple[Any, int]:
        if isinstance(node, yaml.ScalarNode):
            self._written += 1
            return _scalar(node), 1
        found = self._read.get(node)
        if found is not None:
            return found
        if node in self._open:
            raise ValueError(f"an alias leads to itself{_line(node)}")
        self._open.add(node)
        self._written += 1
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            items = [self._value(item) for item in node.value]
            found = [value for value, _ in items], 1 + sum(size for _, size in items)
        elif isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            found = self._mapping(node)
        else:
            raise ValueError(f"the tag {node.tag!r} is not known{_line(node)}")
        self._open.remove(node)
        self._read[node] = found
        return found

    def _mapping(self, node: yaml.MappingNode) -> tuple[dict[str, Any], int]:
        own: dict[str, Any] = {}
        nodes: dict[str, yaml.Node] = {}
        merged: dict[str, Any] = {}
        total = 1
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for mapping, size in self._merged(value_node):
                    total += size
                    merged = {**mapping, **merged}  # the first one wins
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise ValueError(f"a key that is no text{_line(key_node)}")
            key = key_node.value
            if key in own:
                raise ValueError(f"the key {key!r} stands twice in a mapping{_line(key_node)}")
            nodes[key] = value_node
            own[key], size = self._value(value_node)
            total += size
        result = {**merged, **own}
        if "string" in _list(result.get("type")):
            for word in {"enum", "default", "const"} & nodes.keys():
                own[word] = result[word] = _with_words(nodes[word], own[word])
        return result, total

    def _merged(self, node: yaml.Node) -> Iterator[tuple[dict[str, Any], int]]:
        is_list = isinstance(node, yaml.SequenceNode)
        for item in node.value if is_list else [node]:
            mapping, size = self._value(item)
            if not isinstance(mapping, dict):
                raise ValueError(f"'<<' needs a mapping, or a list of them{_line(node)}")
            yield mapping, size


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.removeprefix(_TAG), node.value
    if kind in ("str", "timestamp", "binary", "value", "merge"):
        return text
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    number: Any
    if kind == "int":
        base = _BASES.get(text[:2], 10)
        number = int(text[2:] if base != 10 else text, base)
        return number if str(number) == text else _spelled(_Int(number), text)
    if kind == "float":
        number = float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
        return number if str(number) == text else _spelled(_Float(number), text)
    raise ValueError(f"the tag {node.tag!r} is not known{_line(node)}")


def _spelled(number: Any, text: str) -> Any:
    number.spelling = text
    return number


def _with_words(node: yaml.Node, value: Any) -> Any:
    """What a text may be, where the author wrote a word for true or false as its value."""
    if isinstance(node, yaml.SequenceNode):
        return [_with_words(n, v) for n, v in zip(node.value, value, strict=True)]
    return node.value if node.tag == f"{_TAG}bool" else value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _line(node: yaml.Node) -> str:
    return f", line {node.start_mark.line + 1}"
