"""Random functions in the spellings of all drafts: what is kept means what was written."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from random_functions import KEY_PATTERNS, NAMES, PATTERNS, VALIDATORS, Instances, Writer

from trustee_jax.errors import raises_recursion_error
from trustee_jax.toolsets import Tool, check_arguments
from trustee_jax.toolsets.importing import Candidate, ImportReport, Limits, drafts, normalise
from trustee_jax.toolsets.importing.names import NOT_RENAMED, RENAMED
from trustee_jax.toolsets.schema import function_problems, subschemas

# What may let something through, or keep it out, that the original does not.
COVERING = {drafts.PATTERN, drafts.KEYS}


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
        with raises_recursion_error():
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
                counts["compared"] += 1
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
    *(
        "string",
        "^a",
        "(",
        r"^(?!x)\p{L}(?:a|a)*$",
        "date-time",
        None,
        True,
        False,
        0,
        1,
        -1.5,
        10**30,
    ),
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
