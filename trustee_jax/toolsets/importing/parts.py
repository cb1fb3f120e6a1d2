"""The schemas of a document with their references and `allOf` put in place."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from trustee_jax.toolsets.importing.alternatives import is_null, possible
from trustee_jax.toolsets.importing.conditions import is_presence
from trustee_jax.toolsets.importing.demands import Demands, Group, Part
from trustee_jax.toolsets.importing.dialects import own_demands
from trustee_jax.toolsets.importing.references import at

RECURSIVE = "recursive schema cut off"


class Unusable(ValueError):
    """A schema that cannot be brought here; its text is the reason, `detail` the particulars."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason)
        self.detail = detail


class TooLarge(Exception):
    """A schema has more parts than its size allows."""


class PartReader:
    """Reads what the schemas of a document demand, each once."""

    def __init__(self, document: Any, most: int):
        """Takes the document that references lead into, and how many schemas may be read."""
        self._document = document
        self._left = most
        self._known: dict[Part, Demands] = {}

    def resolve(self, node: Any) -> Any:
        """Follows a reference to what it stands for; other values are returned as they are.

        Raises:
          Unusable: the reference leads out of the document, nowhere, or to itself.
        """
        seen: set[str] = set()
        while isinstance(node, Mapping) and isinstance(node.get("$ref"), str):
            reference = node["$ref"]
            if reference in seen:
                raise Unusable("reference to itself", reference)
            seen.add(reference)
            node = self._lookup(reference)
        return node

    def _lookup(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise Unusable("reference to another document", reference)
        try:
            return at(self._document, reference[1:])
        except LookupError:
            raise Unusable("reference that leads nowhere", reference) from None

    def demands(self, part: Part) -> Demands:
        """Returns what a schema demands; its fields, items and alternatives stay as they are.

        What is no schema demands nothing.

        Raises:
          Unusable: a reference cannot be followed.
          TooLarge: too many schemas are read.
        """
        if part not in self._known:
            self._left -= 1
            if self._left < 0:
                raise TooLarge
            self._known[part] = self._demands(part)
        return self._known[part]

    def _demands(self, part: Part) -> Demands:
        node, above = part.node, part.above
        if not isinstance(node, Mapping):
            return Demands()
        own = total = own_demands(node, above)
        if isinstance(reference := node.get("$ref"), str):
            if reference in above:
                total = own.both(self._stub(reference))
            else:
                target = Part(self._lookup(reference), (*above, reference))
                total = own.both(self.demands(target))
            # What is said beside a reference is said of this place.
            total.descriptions = own.descriptions or total.descriptions
        parts = node.get("allOf")
        for other in parts if isinstance(parts, list) else ():
            other = other if isinstance(other, Part) else Part(other, above)
            total = total.both(self.demands(other))
        for group in total.groups:
            total = self._without_single(total, group)
        total = dataclasses.replace(total, default=own.default or total.default)
        return total.or_null() if _is_nullable(node) else total

    def _stub(self, reference: str) -> Demands:
        """What stands for a schema that is cut off: its type, description and traits."""
        target = self.resolve({"$ref": reference})
        node = target if isinstance(target, Mapping) else {}
        kept = ("type", "description", "readOnly", "deprecated")
        stub = own_demands({word: node[word] for word in kept if word in node}, ())
        stub.note(RECURSIVE)
        return stub.or_null() if _is_nullable(node) else stub

    def _without_single(self, total: Demands, group: Group) -> Demands:
        """Puts an alternative that is the only one, or the only one beside null, in its place."""
        variants = possible(group)
        others = [variant for variant in variants if not is_null(variant.node)]
        if len(others) != 1 or is_presence(others[0].node):
            return total
        rest = dataclasses.replace(total, groups=[g for g in total.groups if g is not group])
        result = rest.both(self.demands(others[0]))
        result.default = rest.default or result.default
        is_nullable = len(variants) > 1 and rest.allows_null()
        return result.or_null() if is_nullable else result


def _is_nullable(node: Mapping[str, Any]) -> bool:
    return True in (node.get("nullable"), node.get("x-nullable"))
