"""OpenAPI and Swagger documents as functions."""

import json
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import Tool, ToolError, check_arguments
from trustee_jax.toolsets.importing import ImportReport, Limits, normalise, read

# Excerpts of the Swagger Petstore (Apache-2.0), as Swagger 2 and OpenAPI 3 write it.
PETSTORE_2 = {
    "swagger": "2.0",
    "info": {"title": "Swagger Petstore", "version": "1.0.6"},
    "host": "petstore.swagger.io",
    "paths": {
        "/pet": {
            "post": {
                "summary": "Add a new pet to the store",
                "operationId": "addPet",
                "parameters": [
                    {
                        "in": "body",
                        "name": "body",
                        "description": "Pet object that needs to be added to the store",
                        "required": True,
                        "schema": {"$ref": "#/definitions/Pet"},
                    }
                ],
            }
        },
        "/pet/{petId}": {
            "post": {
                "summary": "Updates a pet in the store with form data",
                "operationId": "updatePetWithForm",
                "parameters": [
                    {
                        "name": "petId",
                        "in": "path",
                        "description": "ID of pet that needs to be updated",
                        "required": True,
                        "type": "integer",
                        "format": "int64",
                    },
                    {"name": "name", "in": "formData", "type": "string"},
                    {"name": "status", "in": "formData", "type": "string"},
                ],
            },
            "delete": {
                "summary": "Deletes a pet",
                "operationId": "deletePet",
                "parameters": [
                    {"name": "api_key", "in": "header", "type": "string"},
                    {"name": "petId", "in": "path", "required": True, "type": "integer"},
                ],
            },
        },
        "/pet/findByTags": {
            "get": {"summary": "Finds Pets by tags", "operationId": "findTags", "deprecated": True}
        },
        "/user/createWithArray": {
            "post": {
                "summary": "Creates list of users with given input array",
                "operationId": "createUsersWithArrayInput",
                "parameters": [
                    {
                        "in": "body",
                        "name": "body",
                        "required": True,
                        "schema": {"type": "array", "items": {"$ref": "#/definitions/Category"}},
                    }
                ],
            }
        },
    },
    "securityDefinitions": {"api_key": {"type": "apiKey", "name": "api_key", "in": "header"}},
    "definitions": {
        "Category": {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "format": "int64"},
                "name": {"type": "string"},
            },
        },
        "Pet": {
            "type": "object",
            "required": ["name", "photoUrls"],
            "properties": {
                "id": {"type": "integer", "format": "int64"},
                "category": {"$ref": "#/definitions/Category"},
                "name": {"type": "string", "example": "doggie"},
                "photoUrls": {
                    "type": "array",
                    "xml": {"wrapped": True},
                    "items": {"type": "string", "xml": {"name": "photoUrl"}},
                },
                "status": {
                    "type": "string",
                    "description": "pet status in the store",
                    "enum": ["available", "pending", "sold"],
                },
            },
        },
    },
}
PETSTORE_3_YAML = """
openapi: 3.0.2
info: {title: Swagger Petstore, version: 1.0.6}
servers: [{url: "https://petstore3.swagger.io/api/v3"}]
paths:
  /pet:
    post:
      summary: Add a new pet to the store
      operationId: addPet
      requestBody:
        required: true
        content:
          application/xml: {schema: {type: object, properties: {wrong: {type: string}}}}
          application/json: {schema: {$ref: "#/components/schemas/Pet"}}
  /pet/{petId}:
    parameters:
      - $ref: "#/components/parameters/PetId"
    delete:
      summary: Deletes a pet
      operationId: deletePet
      parameters:
        - {name: api_key, in: header, schema: {type: string}}
        - {name: session, in: cookie, schema: {type: string}}
components:
  parameters:
    PetId: {name: petId, in: path, required: true, schema: {type: integer}}
  securitySchemes:
    api_key: {type: apiKey, name: api_key, in: header}
  schemas:
    Category: {type: object, properties: {id: {type: integer, format: int64}, name: {type: string}}}
    Pet:
      type: object
      required: [name, photoUrls]
      properties:
        id: {type: integer, format: int64}
        category: {$ref: "#/components/schemas/Category"}
        name: {type: string, example: doggie}
        photoUrls: {type: array, items: {type: string}}
        status: {type: string, description: pet status in the store,
                 enum: [available, pending, sold]}
"""
PET = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "format": "int64"},
        "category": {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "format": "int64"},
                "name": {"type": "string"},
            },
        },
        "name": {"type": "string"},
        "photoUrls": {"type": "array", "items": {"type": "string"}},
        "status": {
            "type": "string",
            "description": "pet status in the store",
            "enum": ["available", "pending", "sold"],
        },
    },
    "required": ["name", "photoUrls"],
}


def imported(
    source: Path, format: str = "openapi", **options: Any
) -> tuple[dict[str, Tool], ImportReport]:
    report = ImportReport()
    tools = list(normalise(read(format, str(source), **options), report))
    assert report.read == report.kept + report.dropped.total()
    assert report.kept == len(tools) == report.categories.total()
    return {tool.name: tool for tool in tools}, report


def one(tmp_path: Path, operation: dict[str, Any], **parts: Any) -> Tool:
    """The only tool of a document with one operation, POST /things/{id}."""
    tools, report = imported(document(tmp_path, operation, **parts))
    assert len(tools) == 1, report.text()
    return next(iter(tools.values()))


def document(tmp_path: Path, operation: dict[str, Any], **parts: Any) -> Path:
    path = tmp_path / "api.json"
    operation = {"operationId": "make", "summary": "Makes a thing", **operation}
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Things"},
        "paths": {"/things": {"post": operation}},
        **parts,
    }
    path.write_text(json.dumps(whole))
    return path


def body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


def query(name: str, schema: dict[str, Any], place: str = "query", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema, **more}


def test_petstore_as_swagger_2(tmp_path: Path) -> None:
    path = tmp_path / "petstore.json"
    path.write_text(json.dumps(PETSTORE_2))
    tools, report = imported(path)

    assert list(tools) == [
        "add_pet",
        "update_pet_with_form",
        "delete_pet",
        "create_users_with_array_input",
    ]
    assert tools["add_pet"].parameters == PET
    assert tools["add_pet"].description == "Add a new pet to the store"
    assert tools["add_pet"].category == "swagger_petstore"
    assert tools["update_pet_with_form"].parameters == {
        "type": "object",
        "properties": {
            "petId": {
                "type": "integer",
                "description": "ID of pet that needs to be updated",
                "format": "int64",
            },
            "name": {"type": "string"},
            "status": {"type": "string"},
        },
        "required": ["petId"],
    }
    assert set(tools["delete_pet"].parameters["properties"]) == {"petId"}
    users = tools["create_users_with_array_input"].parameters
    assert users["required"] == ["body"]
    assert users["properties"]["body"]["items"] == PET["properties"]["category"]
    assert report.dropped == {"deprecated": 1}
    assert report.changed["credentials left out"] == 1
    assert report.providers == {"petstore.swagger.io": 4}


def test_petstore_as_openapi_3_in_yaml_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "petstore.yaml"
    path.write_text(PETSTORE_3_YAML)
    tools, report = imported(path, category="pets")

    assert tools["add_pet"].parameters == PET
    assert tools["delete_pet"].parameters == {
        "type": "object",
        "properties": {"petId": {"type": "integer"}},
        "required": ["petId"],
    }
    assert report.categories == {"pets": 2}


def test_parameters_of_the_operation_replace_those_of_the_path(tmp_path: Path) -> None:
    path = tmp_path / "api.json"
    item = {
        "parameters": [query("limit", {"type": "string"}), query("page", {"type": "integer"})],
        "get": {
            "operationId": "ListThings",
            "description": "Lists things",
            "parameters": [query("limit", {"type": "integer", "maximum": 100})],
        },
    }
    path.write_text(json.dumps({"openapi": "3.0.0", "paths": {"/things": item}}))
    tools, _ = imported(path)
    assert tools["list_things"].parameters["properties"] == {
        "limit": {"type": "integer", "maximum": 100},
        "page": {"type": "integer"},
    }


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ([{"name": 1, "in": "query"}], ["_1"]),
        ([{"name": "a", "in": "Query"}, {"name": "b", "in": " PATH "}], ["a", "b"]),
        ([{"name": "a", "in": "FORMDATA", "type": "string"}], ["a"]),
        ([{"name": "x", "in": "Body", "schema": {"properties": {"a": {}}}}], ["a"]),
    ],
)
def test_places_and_names_are_read_however_they_are_written(
    tmp_path: Path, parameters: list[Any], names: list[str]
) -> None:
    tools, report = imported(document(tmp_path, {"parameters": parameters}))
    assert list(tools["make"].parameters["properties"]) == names
    assert "parameter that cannot be placed left out" not in report.changed


@pytest.mark.parametrize(
    "parameters",
    [
        [{"name": "b"}],
        [{"in": "query"}],
        [{"name": "b", "in": None}],
        [{"name": True, "in": "query"}],
        [{"name": ["b"], "in": "query"}],
        [{"name": "b", "in": "querystring", "content": {"application/json": {}}}],
        ["b"],
        [None],
        {"b": {"in": "query"}},
        "b",
    ],
)
def test_parameters_that_cannot_be_placed_are_reported(tmp_path: Path, parameters: Any) -> None:
    own = {"parameters": [query("a", {"type": "string"})]}
    source = document(tmp_path, own)
    written = json.loads(source.read_text())
    written["paths"]["/things"]["parameters"] = parameters
    source.write_text(json.dumps(written))
    tools, report = imported(source)
    assert list(tools["make"].parameters["properties"]) == ["a"]
    assert report.changed == {"parameter that cannot be placed left out": 1}


def test_a_parameter_that_is_listed_twice_is_reported_where_the_two_differ(tmp_path: Path) -> None:
    first, other = query("a", {"enum": [1, 2]}), query("a", {"enum": [True, 2]})
    tools, report = imported(document(tmp_path, {"parameters": [first, first, other]}))
    assert tools["make"].parameters["properties"] == {"a": {"enum": [1, 2]}}
    assert report.changed == {"parameter of the same name and place left out": 1}
    _, report = imported(document(tmp_path, {"parameters": [first, first]}))
    assert not report.changed


def test_only_headers_that_a_caller_chooses_remain(tmp_path: Path) -> None:
    names = ("Authorization", "Accept-Language", "X-Request-Id", "If-Match", "X-Auth-Token", "Team")
    parameters = [query(name, {"type": "string"}, "header") for name in names]
    parameters += [query("access_token", {"type": "string"}), query("author", {"type": "string"})]
    parameters += [query("api-version", {"type": "string"}), query("Action", {"enum": ["Make"]})]
    tool = one(tmp_path, {"parameters": parameters})
    assert list(tool.parameters["properties"]) == ["Team", "author"]


def test_declared_api_keys_are_left_out_by_their_name(tmp_path: Path) -> None:
    scheme = {"key": {"type": "apiKey", "in": "Query", "name": "Ticket"}}
    parameters = [query("ticket", {"type": "string"}), query("q", {"type": "string"})]
    tool = one(tmp_path, {"parameters": parameters}, components={"securitySchemes": scheme})
    assert list(tool.parameters["properties"]) == ["q"]


OPEN = "content that has no schema left open"
EXAMPLES = "examples left out"


@pytest.mark.parametrize(
    ("content", "schema", "reasons"),
    [
        ({"application/json": {}}, {}, {OPEN}),
        ({"application/json": None}, {}, {OPEN}),
        ({"application/json": {"example": {"a": 1}}}, {}, {OPEN, EXAMPLES}),
        ({"application/json": {"schema": None}}, {}, {OPEN}),
        ({"application/vnd.api+json; charset=utf-8": {}}, {}, {OPEN}),
        ({"application/octet-stream": {}}, {}, {OPEN}),
        ({"multipart/form-data": {}}, {}, {OPEN}),
        ({"text/plain": {}}, {"type": "string"}, set()),
        ({"text/csv; charset=utf-8": None}, {"type": "string"}, set()),
        ({"application/xml": {"examples": {}}}, {"type": "string"}, {EXAMPLES}),
        ({"text/json": {}}, {}, {OPEN}),
        ({"text/plain": {}, "application/json": {}}, {}, {OPEN}),
    ],
)
def test_content_without_a_schema_is_a_text_only_where_its_type_says_so(
    tmp_path: Path, content: Any, schema: Any, reasons: set[str]
) -> None:
    make = {"requestBody": {"content": content, "required": True}}
    tools, report = imported(document(tmp_path, make))
    assert tools["make"].parameters["properties"] == {"body": schema}
    assert tools["make"].parameters["required"] == ["body"]
    assert set(report.changed) == reasons
    tools, report = imported(document(tmp_path, {"requestBody": {"content": content}}))
    assert tools["make"].parameters["properties"] == {"body": schema}
    parameter = {"name": "a", "in": "query", "content": content}
    tools, report = imported(document(tmp_path, {"parameters": [parameter]}))
    assert tools["make"].parameters["properties"] == {"a": schema}
    assert set(report.changed) == reasons


@pytest.mark.parametrize("body", [5, None, {}, {"content": {}}, {"content": {"text/plain": 5}}])
def test_a_body_of_nothing_is_reported(tmp_path: Path, body: Any) -> None:
    tools, report = imported(document(tmp_path, {"requestBody": body}))
    assert tools["make"].parameters["properties"] == {}
    assert report.changed == {"body without content left out": 1}


def test_examples_beside_a_schema_are_reported(tmp_path: Path) -> None:
    parameter = query("a", {"type": "string"}, example="b")
    tools, report = imported(document(tmp_path, {"parameters": [parameter]}))
    assert tools["make"].parameters["properties"] == {"a": {"type": "string"}}
    assert report.changed == {EXAMPLES: 1}


def test_recursive_schemas_are_cut_off(tmp_path: Path) -> None:
    node = {
        "type": "object",
        "description": "A node",
        "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
        },
    }
    tools, report = imported(
        document(
            tmp_path,
            body({"$ref": "#/components/schemas/Node"}),
            components={"schemas": {"Node": node}},
        )
    )
    assert tools["make"].parameters["properties"] == {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"type": "object", "description": "A node"}},
    }
    assert report.changed["recursive schema cut off"] == 1


@pytest.mark.parametrize("reference", ["#/components/schemas/No", "other.yaml#/X", "#/x/loop"])
def test_references_that_cannot_be_followed_drop_the_operation(
    tmp_path: Path, reference: str
) -> None:
    path = document(tmp_path, body({"$ref": reference}), x={"loop": {"$ref": "#/x/loop"}})
    tools, report = imported(path)
    if "loop" in reference:  # it stands in itself: cut off as recursive, or refused
        assert report.kept + report.dropped.total() == 1
    else:
        assert not tools
        assert reference in str(report.examples)


def test_all_of_is_merged(tmp_path: Path) -> None:
    base = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Base"},
            {"properties": {"size": {"type": "integer"}}, "required": ["size"]},
        ],
        "properties": {"note": {"type": "string"}},
    }
    tool = one(tmp_path, body(schema), components={"schemas": {"Base": base}})
    assert set(tool.parameters["properties"]) == {"id", "size", "note"}
    assert set(tool.parameters["required"]) == {"id", "size"}


def test_alternatives_of_the_body_become_one_object(tmp_path: Path) -> None:
    card = {
        "properties": {"kind": {"const": "card"}, "amount": {"type": "number"}, "number": {}},
        "required": ["kind", "amount", "number"],
    }
    cash = {
        "properties": {"kind": {"const": "cash"}, "amount": {"type": "string"}},
        "required": ["kind", "amount"],
    }
    tool = one(tmp_path, body({"oneOf": [card, cash]}))
    properties = tool.parameters["properties"]
    assert properties["kind"]["enum"] == ["card", "cash"]
    assert [v["type"] for v in properties["amount"]["anyOf"]] == ["number", "string"]
    assert sorted(tool.parameters["required"]) == ["amount", "kind"]
    assert check_arguments(tool, {"kind": "cash", "amount": "3"}) == []


def test_alternatives_of_a_parameter_and_null(tmp_path: Path) -> None:
    parameters = [
        query("id", {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]}),
        query("note", {"type": "string", "nullable": True, "enum": ["a", "b"]}),
        query("when", {"type": ["string", "null"], "format": "date"}),
        query("only", {"anyOf": [{"type": "boolean"}]}),
    ]
    tool = one(tmp_path, {"parameters": parameters})
    properties = tool.parameters["properties"]
    assert properties["id"] == {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]}
    assert properties["note"] == {"type": ["string", "null"], "enum": ["a", "b", None]}
    assert properties["when"] == {"type": ["string", "null"], "format": "date"}
    assert properties["only"] == {"type": "boolean"}
    assert check_arguments(tool, {"id": 12, "note": None, "when": "2026-01-31"}) == []
    assert check_arguments(tool, {"id": "long", "note": "c", "when": "31.1."})


def test_values_take_the_type_of_their_parameter(tmp_path: Path) -> None:
    parameters = [
        query("size", {"type": "string", "enum": [1, 2], "default": 1}),
        query("page", {"type": "integer", "default": "10", "minimum": 1, "maximum": 0}),
        query("all", {"type": "boolean", "default": "TRUE"}),
        query("sort", {"type": "string", "enum": ["up"], "default": "down"}, required=True),
        query("share", {"type": "float", "exclusiveMinimum": True, "minimum": 0}),
        query("code", {"type": "string", "pattern": "(?<x)", "minLength": "3"}),
        query("slow", {"type": "string", "pattern": "^(?!x)(a+)+$"}),
    ]
    properties = one(tmp_path, {"parameters": parameters}).parameters["properties"]
    assert properties == {
        "size": {"type": "string", "enum": ["1", "2"], "default": "1"},
        "page": {"type": "integer", "default": 10},
        "all": {"type": "boolean", "default": True},
        "share": {"type": "number", "exclusiveMinimum": 0},
        "code": {"type": "string", "minLength": 3},
        "slow": {"type": "string"},
    }


def test_names_of_parameters_become_valid(tmp_path: Path) -> None:
    parameters = [query(name, {"type": "string"}) for name in ("filter[name]", "$top", "a.b", "日")]
    tools, report = imported(document(tmp_path, {"parameters": parameters}))
    assert list(tools["make"].parameters["properties"]) == ["filter_name", "top", "a.b", "Ri"]
    assert report.changed["parameter renamed"] == 1


def test_read_only_and_deprecated_fields_are_left_out(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "readOnly": True},
            "old": {"type": "string", "deprecated": True},
            "name": {"type": "string"},
        },
        "required": ["id", "name"],
    }
    parameters = one(tmp_path, body(schema)).parameters
    assert list(parameters["properties"]) == ["name"]
    assert parameters["required"] == ["name"]


def test_an_optional_body_requires_nothing(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    operation = body(schema)
    assert one(tmp_path, operation).parameters["required"] == ["a"]
    operation["requestBody"]["required"] = False
    assert "required" not in one(tmp_path, operation).parameters


def test_large_schemas_are_cut_where_they_fit(tmp_path: Path) -> None:
    def nested(depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = {f"field_{i}": {"type": "string"} for i in range(6)}
        if depth:
            fields |= {f"part_{i}": nested(depth - 1) for i in range(3)}
        return {"type": "object", "properties": fields}

    path = document(tmp_path, body(nested(7)))
    tools, report = imported(path)
    assert len(json.dumps(tools["make"].parameters)) <= Limits().bytes
    assert report.changed["deeply nested schema cut off"] == 1
    part = tools["make"].parameters["properties"]["part_0"]
    assert part["properties"]["part_0"]["type"] == "object"

    tools, report = imported(path, limits=Limits(bytes=100))
    assert not tools and report.dropped.total() == 1


def test_too_many_parameters_drop_the_operation(tmp_path: Path) -> None:
    path = document(tmp_path, {"parameters": [query(f"p{i}", {}) for i in range(31)]})
    tools, report = imported(path)
    assert not tools
    assert report.dropped == {"more than 30 parameters": 1}


def test_descriptions_are_plain_text(tmp_path: Path) -> None:
    text = "<p>Makes a <b>thing</b>.</p>\n\n## Notes\nSee [here](https://x.y) for `id` of <id>."
    tool = one(tmp_path, {"summary": "Makes a thing.", "description": text})
    assert tool.description == "Makes a thing. Notes See here for id of <id>."
    long = one(tmp_path, {"summary": "One sentence here. " * 100})
    assert len(long.description) <= Limits().description
    assert long.description.endswith("here.")


def test_names_without_an_operation_id_come_from_method_and_path(tmp_path: Path) -> None:
    path = tmp_path / "api.json"
    get = {"summary": "Reads"}
    paths = {"/users/{userId}/pets": {"get": get}, "/x": {"post": {**get, "operationId": "POST_X"}}}
    path.write_text(json.dumps({"openapi": "3.0.0", "paths": paths}))
    assert list(imported(path)[0]) == ["get_users_user_id_pets", "x"]


def test_yaml_words_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "api.yml"
    path.write_text(
        "swagger: '2.0'\npaths:\n  /x:\n    get:\n      summary: Reads\n      parameters:\n"
        "        - {name: country, in: query, type: string, enum: [no, de, on]}\n"
        "        - {name: day, in: query, type: string, default: 2026-01-31}\n"
    )
    properties = imported(path)[0]["get_x"].parameters["properties"]
    assert properties["country"]["enum"] == ["no", "de", "on"]
    assert properties["day"]["default"] == "2026-01-31"


def test_a_folder_is_read_whole_and_its_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "petstore.json").write_text(json.dumps(PETSTORE_2))
    (tmp_path / "package.json").write_text("{}")
    tools, report = imported(tmp_path)
    assert len(tools) == 4
    assert report.dropped["file that is no OpenAPI document"] == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("api.json", "{", "not valid JSON"),
        ("api.yaml", "a: [", "not valid YAML"),
        ("api.json", '{"openapi": "1.0"}', "not an OpenAPI 3 or Swagger 2 document"),
        ("api.json", "[" * 100_000, "not valid JSON"),
        ("api.yaml", "[" * 5_000, "not valid YAML"),
        ("absent.json", None, "cannot be read"),
    ],
)
def test_what_is_no_document_is_one_clear_error(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ToolError, match=message):
        imported(path)
