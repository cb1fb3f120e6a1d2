"""Names that function calling does not take, or that two parameters share: none is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import Tool, check_arguments
from trustee_jax.toolsets.importing import ImportReport, normalise, read
from trustee_jax.toolsets.importing.names import Keys


def imported(tmp_path: Path, paths: Any, **parts: Any) -> tuple[list[Tool], ImportReport]:
    file = tmp_path / "api.json"
    file.write_text(json.dumps({"openapi": "3.0.1", "paths": paths, **parts}))
    report = ImportReport()
    return list(normalise(read("openapi", str(file)), report)), report


def operation(*parameters: Any, **more: Any) -> dict[str, Any]:
    return {"operationId": "make", "summary": "Makes it", "parameters": list(parameters), **more}


def query(name: str, place: str = "query", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": {"type": "string"}, **more}


def body(schema: Any, **more: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}, **more}


def test_names_that_become_one_stay_apart(tmp_path: Path) -> None:
    names = ("Departure<", "Departure", "Departure>", "page[]", "page", "filter[town]")
    parameters = [query(n, description=f"Sailings, {n}", required=n == "page[]") for n in names]
    (tool,), report = imported(tmp_path, {"/sailings": {"get": operation(*parameters)}})
    texts = {k: v["description"] for k, v in tool.parameters["properties"].items()}
    assert texts == {
        "Departure_2": "Departure<: Sailings, Departure<",
        "Departure": "Sailings, Departure",
        "Departure_3": "Departure>: Sailings, Departure>",
        "page_2": "page[]: Sailings, page[]",
        "page": "Sailings, page",
        "filter_town": "filter[town]: Sailings, filter[town]",
    }
    assert tool.parameters["required"] == ["page_2"]
    assert report.changed["parameter renamed"] == 1


def test_names_of_every_script_are_transliterated(tmp_path: Path) -> None:
    parameters = [query("城市", required=True, description="The town"), query("час"), query("!")]
    fields = {"город": {"type": "string"}, "町": {"type": "string"}, "Straße": {}}
    item = operation(*parameters, requestBody=body({"properties": {"a": {"properties": fields}}}))
    (tool,), _ = imported(tmp_path, {"/air": {"post": item}})
    properties = tool.parameters["properties"]
    assert list(properties) == ["ChengShi", "chas", "parameter", "a"]
    assert list(properties["a"]["properties"]) == ["gorod", "Ting", "Strasse"]
    assert properties["ChengShi"]["description"] == "城市: The town"
    assert properties["chas"]["description"] == "час"
    assert tool.parameters["required"] == ["ChengShi"]


def test_a_field_of_the_body_keeps_its_place_beside_a_parameter_of_its_name(
    tmp_path: Path,
) -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"type": "integer", "description": "New one"}, "name": {}},
        "required": ["id"],
        "anyOf": [{"required": ["id"]}, {"required": ["name"]}],
    }
    parameters = [query("id", "path", required=True), query("id", "header")]
    item = operation(*parameters, requestBody=body(schema, required=True))
    (tool,), _ = imported(tmp_path, {"/things/{id}": {"put": item}})
    properties = tool.parameters["properties"]
    assert {name: p.get("type") for name, p in properties.items()} == {
        "id": "string",
        "id_header": "string",
        "id_body": "integer",
        "name": None,
    }
    assert properties["id_body"]["description"] == "id: New one"
    assert tool.parameters["required"] == ["id", "id_body"]
    assert tool.parameters["anyOf"] == [{"required": ["id_body"]}, {"required": ["name"]}]
    assert check_arguments(tool, {"id": "a", "id_body": 1}) == []


def test_the_original_name_outlives_a_long_description(tmp_path: Path) -> None:
    parameter = query("日" * 80, description="Word " * 100)
    (tool,), report = imported(tmp_path, {"/a": {"get": operation(parameter)}})
    ((name, schema),) = tool.parameters["properties"].items()
    assert len(name) <= 64
    assert schema["description"].startswith("日" * 64 + ": Word")
    assert len(schema["description"]) <= 200
    assert report.changed["description of a parameter cut"] == 1


def test_values_follow_the_names_of_their_fields(tmp_path: Path) -> None:
    value = {"r s": [{"t u": 1}], "v": "r s"}
    inner = {"type": "array", "items": {"type": "object", "properties": {"t u": {}}}}
    whole = {"type": "object", "properties": {"r s": inner, "v": {"enum": ["r s"]}}}
    fields = {
        "p q": {**whole, "enum": [value], "default": value},
        "list": {"type": "array", "items": whole, "default": [value]},
        "either": {"oneOf": [{"type": "string"}, {**whole, "const": value}]},
    }
    item = operation(requestBody=body({"type": "object", "properties": fields}, required=True))
    (tool,), report = imported(tmp_path, {"/a": {"post": item}})
    properties = tool.parameters["properties"]
    renamed = {"r_s": [{"t_u": 1}], "v": "r s"}
    assert properties["p_q"]["enum"] == [properties["p_q"]["default"]] == [renamed]
    assert properties["list"]["default"] == [renamed]
    assert properties["either"]["anyOf"][1]["enum"] == [renamed]
    assert check_arguments(tool, {"p_q": renamed, "list": [renamed], "either": renamed}) == []
    assert check_arguments(tool, {"p_q": value})
    assert report.changed["parameter renamed"] == 1


def test_a_name_that_a_pattern_tells_from_the_new_one_stays(tmp_path: Path) -> None:
    fields = {"x y": {}, "z y": {}}
    schema = {"type": "object", "properties": fields, "patternProperties": {"^z ": {"minimum": 1}}}
    item = operation(requestBody=body(schema, required=True))
    (tool,), report = imported(tmp_path, {"/a": {"post": item}})
    assert list(tool.parameters["properties"]) == ["x_y", "z y"]
    assert check_arguments(tool, {"z y": 0})
    assert report.changed["parameter renamed"] == 1
    assert report.changed["parameter not renamed, as patterns speak of its name"] == 1


def test_different_paths_are_different_tools(tmp_path: Path) -> None:
    get: dict[str, Any] = {"summary": "Reads it"}
    same = {**get, "operationId": "index"}
    paths = {
        "/письма": {"get": {**get, "operationId": "списокПисем"}},
        "/посылки": {"get": {**get, "operationId": "списокПосылок"}},
        "/книги": {"get": get},
        "/a-b": {"get": get},
        "/a_b": {"get": get},
        "/x": {"get": same},
        "/y": {"get": same},
    }
    tools, report = imported(tmp_path, paths)
    assert [tool.name for tool in tools] == [
        "spisok_pisem",
        "spisok_posylok",
        "get_knigi",
        "get_a_b",
        "get_a_b_2",
        "index",
        "get_y",
    ]
    assert not report.dropped
    assert report.changed == {"named by method and path": 4, "name put in snake_case": 2}


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("a b", "a_b", "a-b"), ("a_b_2", "a_b", "a-b")),
        (("a b", "a_b_2", "a_b"), ("a_b_3", "a_b_2", "a_b")),
        (("1st", "_1st"), ("_1st_2", "_1st")),
        (("x" * 70, "x" * 71), ("x" * 64, "x" * 62 + "_2")),
        (("$", "%", "\ud800"), ("parameter", "parameter_2", "parameter_3")),
    ],
)
def test_keys_are_valid_and_distinct(names: tuple[str, ...], keys: tuple[str, ...]) -> None:
    given = Keys(names)
    assert tuple(given.claim(name) for name in names) == keys
