"""One schema as OpenAPI 3.0 and 3.1, Swagger 2, BFCL or an old draft has it, as `Demands`."""

from collections.abc import Iterator, Mapping
from typing import Any

from trustee_jax.toolsets.importing.conditions import is_presence
from trustee_jax.toolsets.importing.demands import CONTRADICTION, Demands, Group, Part
from trustee_jax.toolsets.importing.text import plain
from trustee_jax.toolsets.importing.values import (
    as_number,
    is_among,
    is_whole,
    json_types,
    usable_pattern,
)

UNKNOWN_TYPE = "unknown type left open"
LIMITS = "limits that are no usable numbers left out"
FRACTION = "multipleOf of a fraction left out"
DEPENDENCIES = "dependencies left out"

_LARGEST = 2**53  # bounds beyond it only restate the width of a number
_COUNTS = tuple(
    f"{end}{what}" for what in ("Length", "Items", "Properties") for end in ("min", "max")
)
# What demands or tells something and has no place in a tool; each is reported by its name.
_LEFT_OUT = (
    *("if", "dependentSchemas", "contains", "propertyNames", "unevaluatedItems", "$dynamicRef"),
    *("$recursiveRef", "discriminator", "contentEncoding", "contentMediaType", "contentSchema"),
)


def own_demands(node: Mapping[str, Any], above: tuple[str, ...]) -> Demands:
    """Returns what a schema says itself, without its `$ref`, `allOf` and `nullable`.

    Left out are limits of the wrong type, patterns that cannot be compiled or could take
    too long, and fractional `multipleOf` (19.99 is no multiple of 0.01 in binary floating point).

    Args:
      node: As the document has it.
      above: The references that it stands in.
    """
    found = Demands()
    types, understood = json_types(node.get("type"))
    found.types = types or None
    if not understood:
        found.note(UNKNOWN_TYPE)
    found.values = _values(node, found)
    found.limits = _limits(node, found)
    if "pattern" in node:
        pattern, reason = usable_pattern(node["pattern"])
        found.patterns = [pattern] if pattern else []
        if reason:
            found.note(reason)
    if isinstance(node.get("format"), str) and node["format"].strip():
        found.formats = [node["format"].strip()]
    description = plain(node.get("description"))
    found.descriptions = [description] if description else []
    found.default = [node["default"]] if "default" in node else []
    found.traits = {t for t in ("readOnly", "deprecated", "required") if node.get(t) is True}
    _add_object(node, above, found)
    _add_list(node, above, found)
    for word in ("anyOf", "oneOf"):
        listed = node.get(word)
        if isinstance(listed, list) and listed:
            found.groups.append(Group(word, tuple(_parts(listed, above))))
    if "not" in node:
        _add_condition({"not": node["not"]}, left_out("not"), found)
    for word in _LEFT_OUT:
        if word in node:
            found.note(left_out(word))
    if "example" in node or "examples" in node:
        found.note(left_out("examples"))
    return found


def left_out(word: str) -> str:
    """The reason by which a keyword that has no place in a tool is reported."""
    return f"{word} left out"


def _values(node: Mapping[str, Any], found: Demands) -> list[Any] | None:
    listed = node.get("enum")
    values = listed if isinstance(listed, list) and listed else None
    if "const" in node:
        constant = node["const"]
        if values is not None and not is_among(constant, values):
            found.note(CONTRADICTION)
        return [constant]
    if listed == []:
        found.note(CONTRADICTION)
    return values


def _limits(node: Mapping[str, Any], found: Demands) -> dict[str, Any]:
    result: dict[str, Any] = {}

    def number(word: str, value: Any) -> None:
        limit = as_number(value)
        if limit is None or abs(limit) >= _LARGEST:
            found.note(LIMITS)
        else:
            result[word] = limit

    for word, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        flag = node.get(exclusive)
        if node.get(word) is not None:
            number(exclusive if flag is True else word, node[word])  # as Draft 4 has it
        if flag is not None and not isinstance(flag, bool):
            number(exclusive, flag)
    for word in _COUNTS:
        if node.get(word) is not None:
            count = as_number(node[word])
            if count is not None and is_whole(count) and 0 <= count <= _LARGEST:
                result[word] = int(count)
            else:
                found.note(LIMITS)
    step = node.get("multipleOf")
    if step is not None:
        if is_whole(step) and step > 0:
            result["multipleOf"] = int(step)
        else:
            found.note(FRACTION)
    if node.get("uniqueItems") is True:
        result["uniqueItems"] = True
    return result


def _add_object(node: Mapping[str, Any], above: tuple[str, ...], found: Demands) -> None:
    for word, parts in (("properties", found.properties), ("patternProperties", found.by_pattern)):
        listed = node.get(word)
        if isinstance(listed, Mapping):
            parts |= {str(name): _part(child, above) for name, child in listed.items()}
    if isinstance(node.get("required"), list):
        found.required = list(dict.fromkeys(r for r in node["required"] if isinstance(r, str)))
    extra = node.get("additionalProperties")
    if isinstance(extra, bool) or extra == {}:
        found.extra = extra is not False
    elif isinstance(extra, Mapping):
        found.extra = _part(extra, above)
    if node.get("unevaluatedProperties") is False:
        found.extra = found.extra or False
    elif "unevaluatedProperties" in node:
        found.note(left_out("unevaluatedProperties"))
    dependent = node.get("dependentRequired", node.get("dependencies"))
    if dependent is not None:
        _add_condition({"dependentRequired": dependent}, DEPENDENCIES, found)


def _add_condition(condition: dict[str, Any], reason: str, found: Demands) -> None:
    if is_presence(condition):
        found.conditions.append(condition)
    else:
        found.note(reason)


def _add_list(node: Mapping[str, Any], above: tuple[str, ...], found: Demands) -> None:
    prefix, items = node.get("prefixItems"), node.get("items")
    if isinstance(items, list):  # a schema a position, as the older drafts have it
        prefix, items = items, node.get("additionalItems")
    if isinstance(prefix, list):
        found.prefix = list(_parts(prefix, above))
    if items is False:
        most = found.limits.get("maxItems", len(found.prefix))
        found.limits["maxItems"] = min(most, len(found.prefix))
    elif isinstance(items, Mapping | Part):
        found.items = _part(items, above)


def _parts(nodes: list[Any], above: tuple[str, ...]) -> Iterator[Part]:
    return (_part(node, above) for node in nodes)


def _part(node: Any, above: tuple[str, ...]) -> Part:
    return node if isinstance(node, Part) else Part(node, above)
