"""Random functions in the spellings of four drafts, and values for their parameters."""

import random
from typing import Any

from jsonschema import Draft4Validator, Draft7Validator, Draft201909Validator, Draft202012Validator

VALIDATORS: dict[int, Any] = {
    4: Draft4Validator,
    7: Draft7Validator,
    2019: Draft201909Validator,
    2020: Draft202012Validator,
}
DECLARED = {
    4: "http://json-schema.org/draft-04/schema#",
    7: "http://json-schema.org/draft-07/schema#",
    2019: "https://json-schema.org/draft/2019-09/schema",
    2020: "https://json-schema.org/draft/2020-12/schema",
}
# As a schema may have it, and as Python's `re` has it: by hand, for the reference.
PATTERNS = {
    "^[a-c]+$": r"^[a-c]+\Z",
    r"^\p{Lu}": "^[A-Z\u0416]",
    r"^(?<w>a)\k<w>$": r"^aa\Z",
    r"^\/[^]*$": r"^/[\s\S]*\Z",
    r"^\u{61}\cJ?$": "^a\n?\\Z",
    # The last two cannot be checked.
    "^(a|aa)+$": r"^a+\Z",
    "(?y)b": "^b",
}
KEY_PATTERNS = {"^b": "^b", r"^(?<w>a)$": "^(?P<w>a)$", r"^\p{Lu}": "^[A-Z\u0416]"}
NAMES = ("a", "b", "c", "ids[]", "ids", "\u0438\u043c\u044f")
TEXTS = ("a", "aa", "ab", "b", "abcabc", "A", "\u0416", "/x", "a\n", "")


class Writer:
    """Writes schemas that mean something in one draft."""

    def __init__(self, rng: random.Random, draft: int, declared: bool):
        self.rng = rng
        self.draft = draft
        self.declared = declared
        self.definitions = "$defs" if draft >= 2019 else "definitions"
        self.has_key_patterns = rng.random() < 0.15
        # Names that are no valid ones stay, where patterns speak of names.
        self.names = NAMES[:3] if self.has_key_patterns and rng.random() < 0.8 else NAMES

    def function(self) -> dict[str, Any]:
        chance = self.rng.random()
        if chance < 0.05:
            written: dict[str, Any] = {}
        elif chance < 0.2:
            written = {"anyOf": [self.object(2) for _ in range(self.rng.randrange(1, 4))]}
        elif chance < 0.25:
            written = {"$ref": f"#/{self.definitions}/A"}
        else:
            written = self.object(3)
            if self.rng.random() < 0.3:
                del written["type"]
        written[self.definitions] = {"A": self.object(2), "B": self.schema(2)}
        if self.declared:
            written["$schema"] = DECLARED[self.draft]
            self.name(written)
        return written

    def name(self, written: dict[str, Any]) -> None:
        """Gives the definitions names, as the draft has them."""
        word = "id" if self.draft == 4 else "$id"
        if self.rng.random() < 0.3:
            written[word] = "https://a.b/tool.json"
        if self.rng.random() < 0.3:
            target = written[self.definitions]["A"]
            target |= {word: "#node"} if self.draft <= 7 else {"$anchor": "node"}
            written.setdefault("properties", {})["a"] = {"$ref": "#node"}
        if self.draft == 2019 and self.rng.random() < 0.3:
            written.setdefault("properties", {})["b"] = {"$recursiveRef": "#"}

    def schema(self, depth: int) -> Any:
        chance = self.rng.random()
        if depth == 0 or chance < 0.3:
            return self.scalar()
        if chance < 0.55:
            return self.object(depth - 1)
        if chance < 0.72:
            return self.array(depth - 1)
        if chance < 0.8:
            return self.reference()
        if chance < 0.84 and self.draft >= 7:
            return {word: self.schema(depth - 1) for word in ("if", "then", "else")}
        word = self.rng.choice(("anyOf", "oneOf", "allOf", "not"))
        if word == "not":
            return {"not": self.schema(depth - 1)}
        return {word: [self.schema(depth - 1) for _ in range(self.rng.randrange(1, 4))]}

    def reference(self) -> dict[str, Any]:
        paths = [f"#/{self.definitions}/A", f"#/{self.definitions}/B", "#"]
        node: dict[str, Any] = {"$ref": self.rng.choice(paths)}
        if self.rng.random() < 0.4:
            node["description"] = "Another one."
        if self.rng.random() < 0.3 and (self.declared or self.draft >= 2019):
            node["required"] = ["a"]
        return node

    def scalar(self) -> Any:
        kind = self.rng.randrange(6)
        if kind == 0:
            return {"type": self.rng.choice((["integer", "null"], "boolean", "STRING"))}
        if kind == 1:
            known = tuple(PATTERNS)[: -2 if self.rng.random() < 0.95 else None]
            return {"type": "string", "pattern": self.rng.choice(known)}
        if kind == 2:
            return {"type": "string", "maxLength": self.rng.randrange(1, 4)}
        if kind == 3:
            return {"enum": self.rng.sample(("a", 1, None, {"ids[]": 1}, ["b"]), 2)}
        if kind == 4 and self.draft >= 7:
            return self.rng.choice(({"const": self.rng.choice(TEXTS)}, True))
        limits = {"minimum": 1, "maximum": 3}
        for word in ("Minimum", "Maximum"):
            if self.rng.random() < 0.4 and self.draft == 4:
                limits[f"exclusive{word}"] = self.rng.random() < 0.7
            elif self.rng.random() < 0.4 and self.draft > 4:
                limits[f"exclusive{word}"] = self.rng.randrange(1, 4)
        return {"type": "integer", **limits}

    def array(self, depth: int) -> dict[str, Any]:
        node: dict[str, Any] = {"type": "array"}
        chance = self.rng.random()
        if chance < 0.5:
            node["items"] = self.schema(depth)
        else:
            first = [self.schema(depth) for _ in range(self.rng.randrange(1, 3))]
            rest, word = (
                ("items", "prefixItems") if self.draft == 2020 else ("additionalItems", "items")
            )
            node[word] = first
            if self.rng.random() < 0.6:
                is_closed = self.rng.random() < 0.5
                node[rest] = False if is_closed else self.schema(depth)
        if self.rng.random() < 0.2:
            node["minItems"] = 1
        if self.rng.random() < 0.1 and self.draft >= 7:
            node["contains"] = self.schema(depth)
        return node

    def object(self, depth: int) -> dict[str, Any]:
        names = self.rng.sample(self.names, self.rng.randrange(1, 4))
        node: dict[str, Any] = {
            "type": "object",
            "properties": {name: self.schema(depth) for name in names},
        }
        if self.rng.random() < 0.5:
            node["required"] = self.rng.sample(names, self.rng.randrange(1, len(names) + 1))
        chance = self.rng.random()
        if chance < 0.4:
            extra = (True, False, {}, self.scalar())
            node["additionalProperties"] = self.rng.choice(extra)
        if self.rng.random() < 0.25:
            self.depend(node, names, depth)
        if self.has_key_patterns and self.rng.random() < 0.5:
            node["patternProperties"] = {self.rng.choice(tuple(KEY_PATTERNS)): self.scalar()}
        return node

    def depend(self, node: dict[str, Any], names: list[str], depth: int) -> None:
        one, other = self.rng.choice(names), self.rng.choice(names)
        schema = {"required": [other]} if self.rng.random() < 0.5 else self.object(depth)
        if self.draft <= 7:
            node["dependencies"] = {one: self.rng.choice(([other], schema))}
        else:
            word = self.rng.choice(("dependentRequired", "dependentSchemas"))
            node[word] = {one: [other] if word == "dependentRequired" else schema}


class Instances:
    """Values for a schema: some that fit, most that nearly do."""

    def __init__(self, rng: random.Random, root: dict[str, Any]):
        self.rng = rng
        self.root = root
        self.steps = 0

    def some(self) -> dict[str, Any]:
        self.steps = 60
        value = self.value(self.root, 5)
        value = value if isinstance(value, dict) else self.any(3)
        if self.rng.random() < 0.6:
            value = self.changed(value)
        return value if isinstance(value, dict) else {}

    def value(self, schema: Any, depth: int) -> Any:
        self.steps -= 1
        if not isinstance(schema, dict) or depth == 0 or self.steps < 0:
            return self.any(1)
        for word in ("$ref", "$recursiveRef"):
            if word in schema:
                return self.value(self.target(schema[word]), depth - 1)
        if "const" in schema or "enum" in schema:
            return self.rng.choice(schema.get("enum", [schema.get("const")]))
        found: Any = None
        for word in ("anyOf", "oneOf", "allOf"):
            for part in schema.get(word, ()):
                value = self.value(part, depth - 1)
                found = (
                    found | value if isinstance(found, dict) and isinstance(value, dict) else value
                )
                if word != "allOf" and self.rng.random() < 0.5:
                    break
        if "then" in schema:
            found = self.value(schema[self.rng.choice(("then", "else", "if"))], depth - 1)
        types = schema.get("type", "object" if "properties" in schema else None)
        kind = (self.rng.choice(types) if isinstance(types, list) else types or "").lower()
        if kind == "object":
            inner = found if isinstance(found, dict) else {}
            for name, child in schema.get("properties", {}).items():
                if name in schema.get("required", ()) or self.rng.random() < 0.6:
                    inner[name] = self.value(child, depth - 1)
            return inner
        if kind == "array":
            first = schema.get("prefixItems", schema.get("items", ()))
            first = first if isinstance(first, list) else [first] * self.rng.randrange(3)
            rest = [self.any(1)] * (self.rng.random() < 0.3)
            return [self.value(child, depth - 1) for child in first] + rest
        scalars: dict[str, tuple[Any, ...]] = {
            "string": TEXTS,
            "integer": (0, 1, 2, 3, 4),
            "boolean": (True, False),
            "null": (None,),
        }
        return self.rng.choice(scalars[kind]) if kind in scalars else found

    def target(self, reference: str) -> Any:
        node: Any = self.root
        for part in reference.partition("#")[2].split("/")[1:]:
            node = node[part]
        if reference.endswith("#node"):
            return next(iter(self.root.get("$defs", self.root.get("definitions")).values()))
        return node

    def any(self, depth: int) -> Any:
        chance = self.rng.random()
        if depth and chance < 0.5:
            names = self.rng.sample((*NAMES, "z"), self.rng.randrange(4))
            return {name: self.any(depth - 1) for name in names}
        if depth and chance < 0.7:
            return [self.any(depth - 1) for _ in range(self.rng.randrange(4))]
        return self.rng.choice((*TEXTS, 0, 1, 2, 3, None, True))

    def changed(self, value: Any) -> Any:
        """A copy with one part of it exchanged, dropped or added."""
        if isinstance(value, dict):
            copy = dict(value)
            name = self.rng.choice((*value, self.rng.choice((*NAMES, "z"))))
            if name in copy and self.rng.random() < 0.6:
                copy[name] = self.changed(copy[name])
            elif name in copy and self.rng.random() < 0.5:
                del copy[name]
            else:
                copy[name] = self.any(1)
            return copy
        if isinstance(value, list) and value and self.rng.random() < 0.7:
            index = self.rng.randrange(len(value))
            return [*value[:index], self.changed(value[index]), *value[index + 1 :]]
        return self.any(1)
