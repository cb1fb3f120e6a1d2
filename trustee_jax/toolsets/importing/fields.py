"""Names of parameters that function calling does not allow, exchanged within a JSON schema."""

from collections.abc import Iterator, Sequence
from typing import Any

from trustee_jax.toolsets.importing.names import MAX_LENGTH, Keys
from trustee_jax.toolsets.importing.text import cut
from trustee_jax.toolsets.patterns import matches

RENAMED = "parameter renamed"
NOT_RENAMED = "parameter not renamed, as patterns speak of its name"
CUT = "description of a parameter cut"
_NAMED = ("properties", "dependentRequired", "dependentSchemas")
# What stands in them are values, whose fields are those of the schemas.
_VALUES = ("default", "const", "enum", "examples")


def rename_fields(nodes: Sequence[dict[str, Any]], longest: int | None = None) -> list[str]:
    """Gives all fields valid and distinct names, in place; returns the reasons of changes.

    One name becomes the same other one throughout, also in the values of `enum`, `const` and
    `default`, so that what several schemas say of a field goes on to hold. A name stays where a
    pattern tells it from the new one. The original stands first in its description.

    Args:
      nodes: a schema and all within it, in Draft 2020-12.
      longest: characters that a description may have then; None: any number.
    """
    names = list(dict.fromkeys(name for node in nodes for name in _names(node)))
    keys = Keys(names)
    known = {name: keys.claim(name) for name in names}
    if all(name == key for name, key in known.items()):
        return []
    if any("propertyNames" in node for node in nodes):
        return [NOT_RENAMED]
    patterns = [pattern for node in nodes for pattern in _object(node, "patternProperties")]
    reasons: dict[str, None] = {}
    for name, key in known.items():
        if any(matches(pattern, name) != matches(pattern, key) for pattern in patterns):
            known[name] = name
            reasons[NOT_RENAMED] = None
        elif name != key:
            reasons[RENAMED] = None
    for node in nodes:
        reasons |= dict.fromkeys(_rename(node, known, longest))
    return list(reasons)


def named(name: str, text: str, longest: int | None = None) -> str:
    """Returns a description behind the original name of what it describes.

    Args:
      name: as the source has it.
      text: the description; "" leaves the name alone.
      longest: characters of the result, for which the text, and a name that is longer than names
        may be, are cut; None: any number.
    """
    first = f"{name if longest is None else ' '.join(name.split())[:MAX_LENGTH]}: "
    if not text:
        return first.rstrip(": ")
    return f"{first}{text if longest is None else cut(text, longest - len(first))}"


def _names(node: dict[str, Any]) -> Iterator[str]:
    for word in _NAMED:
        yield from _object(node, word)
    for listed in (node.get("required"), *_object(node, "dependentRequired").values()):
        if isinstance(listed, list):
            yield from (name for name in listed if isinstance(name, str))


def _rename(node: dict[str, Any], known: dict[str, str], longest: int | None) -> list[str]:
    is_cut = False
    for name, child in (properties := _object(node, "properties")).items():
        schema = {} if child is True else child
        if known[name] != name and isinstance(schema, dict):
            text = schema.get("description", "")
            schema["description"] = named(name, text, longest)
            is_cut |= not schema["description"].endswith(str(text))
            properties[name] = schema
    for word in _NAMED:
        if owned := _object(node, word):
            node[word] = {known[name]: child for name, child in owned.items()}
    needed = _object(node, "dependentRequired")
    for owner, word in ((node, "required"), *((needed, name) for name in needed)):
        if isinstance(listed := owner.get(word), list):
            owner[word] = [known.get(n, n) if isinstance(n, str) else n for n in listed]
    for word in _VALUES:
        if word in node:
            node[word] = _renamed(node[word], known)
    return [CUT] if is_cut else []


def _object(node: dict[str, Any], word: str) -> dict[str, Any]:
    return node[word] if isinstance(node.get(word), dict) else {}


def _renamed(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {known.get(name, name): _renamed(child, known) for name, child in value.items()}
    return [_renamed(child, known) for child in value] if isinstance(value, list) else value
