"""YAML documents: merge keys and aliases, and scalars as YAML 1.2 and JSON Schema read them."""

import json
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import ToolError
from trustee_jax.toolsets.importing import ImportReport, normalise, read
from trustee_jax.toolsets.importing.documents import parse
from trustee_jax.toolsets.importing.yaml_values import load_yaml


def imported(tmp_path: Path, text: str) -> dict[str, Any]:
    """The parameters of the only tool of a document."""
    file = tmp_path / "api.yaml"
    file.write_text(text, encoding="utf-8")
    (tool,) = normalise(read("openapi", str(file)), ImportReport())
    return tool.parameters


def test_merge_keys_in_schemas(tmp_path: Path) -> None:
    text = """
openapi: 3.0.3
info: {title: Depot, version: "1"}
x-paging: &paging
  limit: {type: integer, maximum: 50}
  cursor: {type: string, description: Where to go on}
paths:
  /crates/search:
    post:
      operationId: searchCrates
      summary: Find crates.
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [label]
              properties:
                <<: *paging
                label: {type: string, description: Text on the crate}
"""
    parameters = imported(tmp_path, text)
    assert parameters["properties"] == {
        "limit": {"type": "integer", "maximum": 50},
        "cursor": {"type": "string", "description": "Where to go on"},
        "label": {"type": "string", "description": "Text on the crate"},
    }
    assert parameters["required"] == ["label"]


def test_merge_keys_in_parameters(tmp_path: Path) -> None:
    text = """
openapi: 3.0.3
x-base: &base
  in: query
  required: true
  schema: {type: string, enum: [north, south]}
paths:
  /bays:
    get:
      operationId: listBays
      summary: List the bays of one wing.
      parameters:
        - <<: *base
          name: wing
          description: Which wing
"""
    assert imported(tmp_path, text) == {
        "type": "object",
        "properties": {
            "wing": {"type": "string", "enum": ["north", "south"], "description": "Which wing"}
        },
        "required": ["wing"],
    }


def test_what_is_merged_gives_way_to_what_stands_beside_it() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {'<<': 4}"
    assert load_yaml(text)["c"] == {"x": 1, "y": 1, "z": 3}
    assert load_yaml(text)["d"] == {"<<": 4}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b101", "0b101"),
        ("1_000", "1_000"),
        ("10:15:30", "10:15:30"),
        ("2026-01-31", "2026-01-31"),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("null", None),
        ("1e3", 1000.0),
        ("1.10", 1.1),
        ("+1", 1),
        (".5", 0.5),
        ("1.2.3", "1.2.3"),
        ("'010'", "010"),
        ("!!str 010", "010"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(written: str, value: Any) -> None:
    found = load_yaml(f"a: {written}")["a"]
    assert found == value and isinstance(found, type(value))
    assert json.loads(json.dumps(found)) == value


def test_a_text_keeps_its_spelling(tmp_path: Path) -> None:
    text = """
swagger: "2.0"
x-version: &version {type: string}
definitions: {Version: {type: string}}
paths:
  /codes:
    get:
      summary: List codes.
      parameters:
        - {name: code, in: query, type: string, enum: [0b101, 1_000, 010, 1.10, 1e3, 0x1F]}
        - {name: at, in: query, type: string, default: 10:15:30}
        - {name: word, in: query, type: string, enum: [yes, no, on, off, True, FALSE, ~x]}
        - {name: day, in: query, type: string, default: 2026-01-31}
        - {name: count, in: query, type: integer, enum: [010, 0x1F, 1e3], default: 010}
        - {<<: *version, name: merged, in: query, default: 1.10}
        - {name: body, in: body, schema: {properties: {
            v: {$ref: "#/definitions/Version", default: 1.10}}}}
"""
    properties = imported(tmp_path, text)["properties"]
    assert properties["code"]["enum"] == ["0b101", "1_000", "010", "1.10", "1e3", "0x1F"]
    assert properties["at"]["default"] == "10:15:30"
    assert properties["word"]["enum"] == ["yes", "no", "on", "off", "True", "FALSE", "~x"]
    assert properties["day"]["default"] == "2026-01-31"
    assert properties["count"] == {"type": "integer", "enum": [10, 31, 1000], "default": 10}
    assert properties["merged"]["default"] == "1.10"
    assert properties["v"] == {"type": "string", "default": "1.10"}


def test_keys_are_texts_as_they_are_written() -> None:
    found = load_yaml("{200: a, 1.10: b, yes: c, 0x1F: d, null: e, true: f}")
    assert found == {"200": "a", "1.10": "b", "yes": "c", "0x1F": "d", "null": "e", "true": "f"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' stands twice in a mapping, line 3"),
        ("a: &a [*a]", "an alias leads to itself, line 1"),
        ("a: &a {<<: *a}", "an alias leads to itself"),
        ("a: {<<: 1}", "'<<' needs a mapping, or a list of them"),
        ("? [a]\n: 1", "a key that is no text, line 1"),
        ("a: !Ref b", "the tag '!Ref' is not known, line 1"),
        ("a: *b", "found undefined alias"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
)
def test_what_is_no_document_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ToolError, match="not valid YAML") as error:
        parse(text, "api.yaml", is_yaml=True)
    assert problem in str(error.value)


@pytest.mark.parametrize("opening", ["[{}]", "{{a: {}, b: {}}}", "{{<<: [{}]}}"])
def test_aliases_of_aliases_do_not_fill_the_memory(opening: str) -> None:
    form = opening.replace("{{", "{").replace("}}", "}")
    lines = ["s0: &s0 {x: y}"]
    for level in range(1, 40):
        alias = f"*s{level - 1}"
        inner = form.replace("{}", alias if "a:" in form else f"{alias}, {alias}")
        lines.append(f"s{level}: &s{level} {inner}")
    with pytest.raises(ToolError, match="aliases repeat more than"):
        parse("\n".join(lines), "api.yaml", is_yaml=True)


def test_a_key_that_stands_twice_is_an_error_in_json_too() -> None:
    with pytest.raises(ToolError, match="the key 'get' stands twice in one object"):
        parse('{"openapi": "3.0.0", "paths": {"/a": {"get": {}, "get": {}}}}', "api.json")
