"""The starter repository: as large and as varied as it claims, and without slips."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import trustee_jax.toolsets
from trustee_jax.toolsets import load_repository
from trustee_jax.toolsets.schema import closed_objects

STARTER = Path(trustee_jax.toolsets.__file__).parent / "starter"


@pytest.fixture(scope="module")
def repository():
    return load_repository("starter")


def parameters(tool):
    """Every parameter schema of a tool, nested ones included."""
    return [
        schema
        for _, node in closed_objects(tool.parameters)
        for schema in node["properties"].values()
    ]


def test_size(repository):
    assert len(repository.categories) >= 40
    assert len(repository) >= 440
    assert min(map(len, repository.categories.values())) >= 10
    assert len({tool.name for tool in repository.tools}) == len(repository)
    assert len({tool.description for tool in repository.tools}) == len(repository)


def test_one_file_per_category(repository):
    assert {path.stem for path in STARTER.iterdir()} == set(repository.categories)


def descriptions(node):
    """Every description in a function, its own and those of parameters at any depth."""
    if isinstance(node, dict):
        text = node.get("description")
        found = [text] if isinstance(text, str) else []
        return found + [d for child in node.values() for d in descriptions(child)]
    return [d for child in node for d in descriptions(child)] if isinstance(node, list) else []


def test_no_description_names_a_tool(repository):
    """A task offers a sample of a category, so a tool that is named may not be there."""
    names = {tool.name for tool in repository.tools}
    told = [
        (tool.name, text)
        for tool in repository.tools
        for text in descriptions(tool.openai()["function"])
        if not names.isdisjoint(re.findall(r"[a-zA-Z0-9_-]+", text))
    ]
    assert told == []


def test_names_are_verb_noun(repository):
    pattern = re.compile(r"[a-z]+(_[a-z0-9]+)+")
    assert [t.name for t in repository.tools if not pattern.fullmatch(t.name)] == []


def test_every_tool_is_short_and_every_parameter_told(repository):
    for tool in repository.tools:
        assert len(json.dumps(tool.openai()["function"])) <= 950, tool.name
        assert len(tool.description) >= 40, tool.name
        for name, schema in tool.parameters["properties"].items():
            assert schema.get("description"), (tool.name, name)


def test_defaults_and_bounds_are_consistent(repository):
    for tool in repository.tools:
        for schema in parameters(tool):
            if "default" in schema:
                Draft202012Validator(schema).validate(schema["default"])
            for low, high in (("minimum", "maximum"), ("minItems", "maxItems")):
                if low in schema and high in schema:
                    assert schema[low] <= schema[high], (tool.name, schema)
            if "enum" in schema:
                assert len(set(schema["enum"])) == len(schema["enum"]) > 1, (tool.name, schema)
        required = tool.parameters.get("required", [])
        for name in required:
            assert "default" not in tool.parameters["properties"][name], (tool.name, name)


def test_spread_of_parameter_kinds(repository):
    kinds: Counter[str] = Counter()
    for tool in repository.tools:
        kinds["nested object"] += sum(path != () for path, _ in closed_objects(tool.parameters))
        for schema in parameters(tool):
            kinds[schema["type"]] += 1
            kinds["enum"] += "enum" in schema
            kinds["bounded"] += "minimum" in schema or "maximum" in schema
            kinds["default"] += "default" in schema
            kinds[schema.get("format", "no format")] += 1
    for kind in ("string", "integer", "number", "boolean", "array", "nested object"):
        assert kinds[kind] >= 40, (kind, kinds)
    for kind in ("enum", "bounded", "default", "date"):
        assert kinds[kind] >= 40, (kind, kinds)
    for kind in ("date-time", "email"):
        assert kinds[kind] >= 10, (kind, kinds)


def test_spread_of_parameter_counts(repository):
    counts = Counter(len(tool.parameters["properties"]) for tool in repository.tools)
    assert all(counts[n] >= 5 for n in range(1, 7)), counts
    optional = [t for t in repository.tools if set(t.parameters["properties"]) - required(t)]
    assert len(optional) >= len(repository) / 2


def required(tool):
    return set(tool.parameters.get("required", ()))


def test_every_category_has_structure(repository):
    for category, tools in repository.categories.items():
        types = {schema["type"] for tool in tools for schema in parameters(tool)}
        assert types & {"array", "object"}, category


def test_tools_chain(repository):
    """Nearly everywhere one tool gives out an identifier that another one requires."""
    identifier = re.compile(r"(.*_)?(id|ids|number|code|symbol|key)")
    chained = 0
    for tools in repository.categories.values():
        wanted = [(n, tool) for tool in tools for n in required(tool) if identifier.fullmatch(n)]
        chained += any(
            name.removesuffix("s") in other.description.replace(" id", "_id")
            for name, tool in wanted
            for other in tools
            if other is not tool
        )
    assert chained >= 40
