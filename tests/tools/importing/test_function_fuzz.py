"""Random functions in the spellings of all drafts: what is kept means what was written."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft7Validator, Draft201909Validator, Draft202012Validator

from trustee_jax.tools import Tool, check_arguments
from trustee_jax.tools.importing import Candidate, ImportReport, Limits, drafts, normalise
from trustee_jax.tools.importing.fields import NOT_RENAMED, RENAMED
from trustee_jax.tools.schema import function_problems, subschemas

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
    "^(a|aa)+$": r"^a+\Z",
    "(?y)b": "^b",
}
KEY_PATTERNS = {"^b": "^b", r"^(?<w>a)$": "^(?P<w>a)$", r"^\p{Lu}": "^[A-Z\u0416]"}
NAMES = ("a", "b", "c", "ids[]", "ids", "\u0438\u043c\u044f")
TEXTS = ("a", "aa", "ab", "b", "abcabc", "A", "\u0416", "/x", "a\n", "")
# What may let something through, or keep it out, that the original does not.
COVERING = {drafts.PATTERN, drafts.KEYS}


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
            return {"type": "string", "pattern": self.rng.choice(tuple(PATTERNS))}
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


def in_python(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy whose patterns the reference can read, and whose types are spelled right."""
    copy: dict[str, Any] = json.loads(json.dumps(schema))
    for _, node in subschemas(copy):
        if "pattern" in node:
            node["pattern"] = PATTERNS[node["pattern"]]
        if isinstance(node.get("type"), str):
            node["type"] = node["type"].lower()
        if "patternProperties" in node:
            keys = node["patternProperties"]
            node["patternProperties"] = {KEY_PATTERNS.get(k, k): v for k, v in keys.items()}
    return copy


def renamed(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {known.get(name, name): renamed(child, known) for name, child in value.items()}
    return [renamed(child, known) for child in value] if isinstance(value, list) else value


def names_of(value: Any) -> set[str]:
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    own = set(value) if isinstance(value, dict) else set()
    return own.union(*map(names_of, children))


def new_names(tool: Tool) -> dict[str, str]:
    """The original of each name, as the descriptions tell it."""
    known = {}
    for _, node in subschemas(tool.parameters):
        for key, child in node.get("properties", {}).items():
            text = child.get("description", "") if isinstance(child, dict) else ""
            original = text.partition(": ")[0]
            if original in NAMES:
                known[original] = key
    return known


def is_valid(validator: Any, value: Any) -> bool | None:
    try:
        return bool(validator.is_valid(value))
    except RecursionError:  # a reference to itself, without anything between
        return None


def compare(functions: Iterable[int], values: int, seed: int) -> Counter[str]:
    """Holds kept tools against what was written, and calls of them against both."""
    counts: Counter[str] = Counter()
    for number in functions:
        rng = random.Random(f"{seed} {number}")
        draft = rng.choice(tuple(VALIDATORS))
        written = Writer(rng, draft, declared=rng.random() < 0.6).function()
        item = Candidate("f", "Does.", written, "c", "p", "place")
        report = ImportReport()
        counts["functions"] += 1
        tools = list(normalise([item], report, limits=Limits(bytes=50_000)))
        counts.update(f"changed: {reason}" for reason in report.changed)
        counts.update(f"dropped: {report.examples[r][0]}" for r in report.dropped)
        if not tools:
            continue
        (tool,) = tools
        counts["kept"] += 1
        assert not function_problems(tool.openai()["function"])
        known = new_names(tool)
        assert (RENAMED in report.changed) == bool(known) or NOT_RENAMED in report.changed
        reference = VALIDATORS[draft](in_python(written))
        kept = Draft202012Validator(in_python(tool.parameters))
        instances = Instances(rng, written)
        for _ in range(values):
            value = instances.some()
            if not names_of(value).isdisjoint(known.values()):  # it would be another field here
                continue
            here = renamed(value, known)
            before, after = is_valid(reference, value), is_valid(kept, here)
            if before is None or after is None:
                counts["endless"] += 1
                continue
            counts["allowed" if before else "forbidden"] += 1
            if COVERING.isdisjoint(report.changed):
                assert before == after, (draft, written, tool.parameters, value, report.changed)
            elif before != after:
                counts["told"] += 1
            problems = check_arguments(tool, here)
            if after:
                assert all(p.startswith("unknown parameter") for p in problems), problems
            elif "^(a|aa)+$" not in json.dumps(tool.parameters):
                assert problems, (tool.parameters, here)
    return counts


def test_kept_functions_mean_what_was_written() -> None:
    counts = compare(range(90), 20, seed=1)
    assert counts["kept"] > 80, counts
    assert min(counts["allowed"], counts["forbidden"]) > 400, counts
    for reason in (
        drafts.TUPLE,
        drafts.DEPENDENCIES,
        drafts.EXCLUSIVE,
        drafts.TYPE,
        drafts.NAMED,
        RENAMED,
    ):
        assert counts[f"changed: {reason}"] > 2, counts


WORDS = (
    *("$ref", "$id", "$anchor", "$dynamicRef", "$schema", "$defs", "definitions", "type", "a", "b"),
    *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
    *("unevaluatedProperties", "dependencies", "dependentRequired", "dependentSchemas", "items"),
    *("prefixItems", "additionalItems", "unevaluatedItems", "contains", "minContains", "not", "if"),
    *("then", "else", "allOf", "anyOf", "oneOf", "enum", "const", "minimum", "exclusiveMinimum"),
    *("multipleOf", "pattern", "format", "uniqueItems", "minProperties", "description", "a b"),
)
SCALARS = (
    *("#", "#/$defs/a", "#/properties/a", "#a", "x.json", "http://[", "#/%zz", "object", "ARRAY"),
    *("string", "^a", "(", r"^\p{L}(?:a|a)*$", "date-time", None, True, False, 0, 1, -1.5, 10**30),
)


def junk(rng: random.Random, depth: int) -> Any:
    chance = rng.random()
    if depth and chance < 0.65:
        return {rng.choice(WORDS): junk(rng, depth - 1) for _ in range(rng.randrange(5))}
    if depth and chance < 0.8:
        return [junk(rng, depth - 1) for _ in range(rng.randrange(3))]
    return rng.choice(SCALARS)


def broken(rng: random.Random, node: Any) -> Any:
    """A copy with some of its parts exchanged."""
    if rng.random() < 0.006:
        return junk(rng, 3)
    if isinstance(node, dict):
        items = node.items()
        return {k if rng.random() > 0.006 else rng.choice(WORDS): broken(rng, v) for k, v in items}
    return [broken(rng, value) for value in node] if isinstance(node, list) else node


def malformed(functions: int, seed: int) -> Counter[str]:
    """Makes tools of what is no schema, nearly none, or one that no draft allows."""
    counts: Counter[str] = Counter()
    for number in range(functions):
        rng = random.Random(f"{seed} {number}")
        written = Writer(rng, rng.choice(tuple(VALIDATORS)), rng.random() < 0.5).function()
        written = broken(rng, written) if rng.random() < 0.8 else junk(rng, 5)
        report = ImportReport()
        tools = list(normalise([Candidate("f", "Does.", written, "c", "p", "")], report))
        counts["kept" if tools else "dropped"] += 1
        function = {"name": "f", "description": "Does.", "parameters": written}
        if not function_problems(function):  # as one who reads it as it is
            tools.append(Tool("f", "Does.", written))
        for tool in tools:
            instances = Instances(rng, tool.parameters)
            for _ in range(5):
                check_arguments(tool, {name: instances.any(4) for name in ("a", "b", "z")})
    return counts


def test_malformed_functions_break_nothing() -> None:
    counts = malformed(150, seed=3)
    assert min(counts.values()) > 40, counts


@pytest.mark.slow
def test_five_thousand_malformed_functions() -> None:
    malformed(5000, seed=4)


@pytest.mark.slow
def test_two_thousand_functions() -> None:
    counts = compare(range(2000), 60, seed=2)
    print(*counts.most_common(), sep="\n")
    assert counts["kept"] > 800, counts
