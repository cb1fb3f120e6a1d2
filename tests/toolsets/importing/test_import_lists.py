"""OpenAI lists, ToolBench's folder and BFCL's documents as functions."""

import json
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import Tool, ToolError, check_arguments, load_repository
from trustee_jax.toolsets.guess import guess_format
from trustee_jax.toolsets.importing import ImportReport, normalise, read

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


def imported(format: str, source: Path, **options: Any) -> tuple[dict[str, Tool], ImportReport]:
    report = ImportReport()
    tools = list(normalise(read(format, str(source), **options), report))
    assert report.read == report.kept + report.dropped.total()
    return {tool.name: tool for tool in tools}, report


def test_an_openai_list_comes_out_as_load_repository_reads_it(tmp_path: Path) -> None:
    starter = Path(__file__).parents[3] / "trustee_jax/toolsets/starter"
    for name in ("banking.json", "weather.json"):
        tools, report = imported("openai", starter / name)
        expected = load_repository(str(starter / name))
        assert tuple(tools.values()) == tuple(expected.tools)
        assert not report.changed and not report.dropped


def test_ten_mistakes_of_an_openai_list_leave_the_right_tools(tmp_path: Path) -> None:
    def entry(name: Any, **more: Any) -> dict[str, Any]:
        function = {"name": name, "description": "Tells it", "parameters": CITY, **more}
        return {"type": "function", "function": function}

    wrong_type = {"type": "object", "properties": {"a": {"type": "text"}}}
    required = {"type": "object", "properties": {"a": {}}, "required": ["b"]}
    entries: list[Any] = [
        entry("right"),
        entry("get weather"),
        entry("no text", description=""),
        entry("bad_type", parameters=wrong_type),
        entry("bad_required", parameters=required),
        entry("right"),
        "a text",
        {"type": "retrieval"},
        entry(None),
        entry("list", parameters=[]),
        entry("remote", parameters={"type": "object", "allOf": [{"$ref": "http://x.y/z"}]}),
    ]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"weather": entries}))
    tools, report = imported("openai", file)

    assert list(tools) == ["right", "get_weather"]
    assert tools["get_weather"].category == "weather"
    assert report.dropped == {
        "no description": 1,
        "schema not valid": 4,
        "same as an earlier function": 1,
        "not a function": 2,
        "no name": 1,
    }
    text = report.text()
    assert "mine.json weather[1]: 'get weather' -> 'get_weather'" in text
    assert "weather[3]: bad_type: parameters.properties.a.type: 'text'" in text
    assert imported("openai", file, category="sky")[0]["right"].category == "sky"


def test_lines_of_an_openai_list_that_are_no_json_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    line = json.dumps({"name": "right", "description": "Tells it"})
    file.write_text(f"{line}\n{{'no': json}}\n")
    tools, report = imported("openai", file)
    assert list(tools) == ["right"]
    assert tools["right"].parameters == {"type": "object", "properties": {}}
    assert report.dropped == {"not valid JSON": 1}
    with pytest.raises(ToolError, match="cannot be read"):
        imported("openai", tmp_path / "absent.json")


def toolset(**fields: Any) -> str:
    endpoint = {"required_parameters": [], "optional_parameters": [], "method": "GET"}
    apis = [{**endpoint, **api} for api in fields.pop("api_list")]
    return json.dumps({"tool_description": "Quotes of great minds.", **fields, "api_list": apis})


def test_toolbench(tmp_path: Path) -> None:
    def parameter(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "type": kind, "description": "", "default": "", **more}

    social, logistics = tmp_path / "Social", tmp_path / "Logistics"
    social.mkdir()
    logistics.mkdir()
    quotes = [
        {
            "name": "Love Quote/daily",
            "description": "It shows <b>random</b> quotes",
            "required_parameters": [parameter("how many", "NUMBER", default="3")],
            "optional_parameters": [
                parameter("since", "DATE (YYYY-MM-DD)"),
                parameter("long", "BOOLEAN", default="false"),
                parameter("tags", "ARRAY"),
                parameter("kind", "ENUM", enum=["old", "new"]),
            ],
        },
        {"name": "Author", "description": " "},
        {"name": "Love Quote/daily", "description": "It shows random quotes again"},
    ]
    (social / "olato.json").write_text(toolset(tool_name="Olato Quotes", api_list=quotes))
    (social / "twin.json").write_text(toolset(tool_name="Twin", api_list=quotes[:1]))
    task = {
        "name": "/tracking/result_task/:task_id",
        "description": "Result for one Task ID.",
        "required_parameters": [parameter("task_id", "STRING", description="Task ID", default="7")],
    }
    (logistics / "carriers.json").write_text(toolset(tool_name="Carriers", api_list=[task]))
    (logistics / "broken.json").write_text("{")
    tools, report = imported("toolbench", tmp_path)

    assert list(tools) == [
        "tracking_result_task_task_id",
        "love_quote_daily",
        "author",
        "olato_quotes_love_quote_daily",
    ]
    assert {t.category for t in tools.values()} == {"Social", "Logistics"}
    assert tools["tracking_result_task_task_id"].parameters == {
        "type": "object",
        "properties": {"task_id": {"type": "string", "description": "Task ID. Example: 7"}},
        "required": ["task_id"],
    }
    quote = tools["love_quote_daily"]
    assert quote.parameters == {
        "type": "object",
        "properties": {
            "how_many": {"type": "number", "description": "how many: Example: 3"},
            "since": {"type": "string", "format": "date"},
            "long": {"type": "boolean", "default": False},
            "tags": {"type": "array"},
            "kind": {"type": "string", "enum": ["old", "new"]},
        },
        "required": ["how_many"],
    }
    assert check_arguments(quote, {"how_many": 2, "since": "31.1."}) == [
        "parameter 'since' must be a date (YYYY-MM-DD), got '31.1.'"
    ]
    assert tools["author"].description == "Author. Quotes of great minds."
    assert report.changed["description taken from its toolset"] == 1
    assert report.dropped == {
        "file that is no toolset": 1,
        "same as an earlier function": 1,
    }
    with pytest.raises(ToolError, match="give ToolBench's tools folder"):
        imported("toolbench", tmp_path / "absent")


def test_bfcl_documents(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    area = {
        "name": "geometry.area",
        "description": "Computes the area of a figure.",
        "parameters": {
            "type": "dict",
            "properties": {
                "points": {"type": "tuple", "items": {"type": "float"}},
                "unit": {"type": "String", "enum": ["m", "cm"], "default": "m"},
                "options": {
                    "type": "HashMap",
                    "properties": {"exact": {"type": "Boolean"}},
                    "required": ["exact"],
                },
                "anything": {"type": "any", "description": "Goes along"},
                "count": {"type": "long"},
            },
            "required": ["points"],
        },
    }
    lines = [
        json.dumps({"id": "a_0", "question": [], "function": [area, {"name": "none"}]}),
        json.dumps({**area, "name": "single"}),
        "{",
        json.dumps({"function": ["text"]}),
    ]
    file.write_text("\n".join(lines))
    tools, report = imported("bfcl", tmp_path)

    assert list(tools) == ["geometry_area", "single"]
    assert tools["geometry_area"].category == "mine"
    assert tools["geometry_area"].parameters == {
        "type": "object",
        "properties": {
            "points": {"type": "array", "items": {"type": "number"}},
            "unit": {"type": "string", "enum": ["m", "cm"], "default": "m"},
            "options": {
                "type": "object",
                "properties": {"exact": {"type": "boolean"}},
                "required": ["exact"],
            },
            "anything": {"description": "Goes along"},
            "count": {"type": "integer"},
        },
        "required": ["points"],
    }
    assert report.dropped == {"no description": 1, "not valid JSON": 1, "not a function": 1}


GRAIN = {
    "name": "grain.convert",
    "description": "Converts an amount of grain between units.",
    "parameters": {
        "type": "dict",
        "properties": {
            "amount": {"type": "float", "description": "How much"},
            "unit": {"type": "string", "description": "Target unit"},
        },
        "required": ["amount"],
    },
}
ASKED = [[{"role": "user", "content": "Convert 3 bushels."}]]
WEIGH = {"name": "grain.weigh", "description": "Weighs grain.", "parameters": {"type": "dict"}}
# Nothing in them but their form tells of BFCL.
PLAIN = {"name": "grain_mill", "description": "Mills grain.", "parameters": {"type": "object"}}
DEEP = {
    "name": "grain_sort",
    "description": "Sorts grain.",
    "parameters": {
        "type": "object",
        "properties": {
            "by": {
                "type": "array",
                "items": {"type": "object", "properties": {"x": {"type": "any"}}},
            },
            "box": {"type": "tuple", "items": {"type": "tuple", "items": {"type": "float"}}},
        },
    },
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([GRAIN], ["grain_convert"]),
        ([GRAIN, WEIGH], ["grain_convert", "grain_weigh"]),
        ([[GRAIN, WEIGH]], ["grain_convert", "grain_weigh"]),
        ([{"id": "own_1", "function": [GRAIN]}], ["grain_convert"]),
        ([{"id": "own_1", "function": [PLAIN]}], ["grain_mill"]),
        ([{"id": "own_1", "question": ASKED, "function": PLAIN}], ["grain_mill"]),
        (
            [
                {"id": f"own_{i}", "question": ASKED, "function": [f]}
                for i, f in enumerate((GRAIN, WEIGH))
            ],
            ["grain_convert", "grain_weigh"],
        ),
        ([[{"question": ASKED, "function": [GRAIN, WEIGH]}]], ["grain_convert", "grain_weigh"]),
        ([[{"question": ASKED, "function": []}, {"function": [WEIGH]}]], ["grain_weigh"]),
        ([DEEP], ["grain_sort"]),
    ],
)
def test_every_form_of_bfcl_is_recognised_and_read_completely(
    tmp_path: Path, values: list[Any], names: list[str], indent: int | None, suffix: str
) -> None:
    file = tmp_path / f"mine{suffix}"
    file.write_text("\n".join(json.dumps(value, indent=indent) for value in values))
    assert guess_format(str(file)) == "bfcl"
    tools, report = imported("bfcl", file)
    assert list(tools) == names
    assert not report.dropped
    if "grain_convert" in tools:
        assert tools["grain_convert"].parameters == {
            "type": "object",
            "properties": {
                "amount": {"type": "number", "description": "How much"},
                "unit": {"type": "string", "description": "Target unit"},
            },
            "required": ["amount"],
        }
    if "grain_sort" in tools:
        assert tools["grain_sort"].parameters["properties"] == {
            "by": {"type": "array", "items": {"type": "object", "properties": {"x": {}}}},
            "box": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        }


def test_a_broken_value_of_bfcl_hides_no_other(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    broken = json.dumps(WEIGH, indent=2).replace(":", "", 1)
    file.write_text("\n".join([json.dumps(GRAIN), broken, json.dumps({**WEIGH, "name": "last"})]))
    tools, report = imported("bfcl", file)
    assert list(tools) == ["grain_convert", "last"]
    assert report.dropped == {"not valid JSON": 1}
    assert report.examples["not valid JSON"][0].startswith("mine.json line 2: Expecting")


WEATHER = {"name": "get_weather", "description": "Tells it", "parameters": CITY}
MCP = {"name": "get_weather", "title": "Tells it", "inputSchema": CITY, "outputSchema": CITY}
ANTHROPIC = {"name": "get_weather", "description": "Tells it", "input_schema": CITY}
GEMINI_CITY = {
    "type": "OBJECT",
    "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER"}},
    "required": ["city"],
}
GEMINI = {"name": "get_weather", "description": "Tells it", "parameters": GEMINI_CITY}


@pytest.mark.parametrize(
    "document",
    [
        WEATHER,
        [WEATHER],
        {"type": "function", "function": WEATHER},
        {"type": "function", "name": "get_weather", "description": "Tells it", "parameters": CITY},
        {"tools": [{"type": "function", "function": WEATHER}]},
        {"model": "m", "messages": [], "tools": [{"type": "function", "function": WEATHER}]},
        {"functions": [WEATHER]},
        {"tools": [MCP], "nextCursor": None},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP]}},
        [ANTHROPIC],
        [{**ANTHROPIC, "type": "custom"}],
        {"functionDeclarations": [GEMINI]},
        {"tools": [{"functionDeclarations": [GEMINI]}]},
        [{"function_declarations": [GEMINI]}],
    ],
)
def test_other_forms_of_a_list(tmp_path: Path, document: Any) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(document))
    assert guess_format(str(file)) == "openai"
    tools, report = imported("openai", file)
    assert tools == {"get_weather": Tool("get_weather", "Tells it", CITY, "user")}
    assert not report.dropped


def test_a_category_may_be_called_tools(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"tools": [WEATHER], "books": [{**WEATHER, "name": "find"}]}))
    tools, _ = imported("openai", file)
    assert {tool.category for tool in tools.values()} == {"tools", "books"}


def test_odd_function_schemas_are_kept(tmp_path: Path) -> None:
    iban = {"type": "object", "properties": {"iban": {"type": "string"}}, "required": ["iban"]}
    card = {"type": "object", "properties": {"card": {"type": "string"}}, "required": ["card"]}
    title = {"type": "string", "pattern": r"^[\p{L}\p{N} ]{1,40}$"}
    pin = {"type": "array", "items": [{"type": "number"}, {"type": "number"}], "minItems": 2}
    odd = {
        "tasks_next": {"$schema": "http://json-schema.org/draft-07/schema#"},
        "tasks_all": {"type": "object", "additionalProperties": {}},
        "note_write": {"type": "object", "properties": {"title": title}, "required": ["title"]},
        "map_pin": {"type": "object", "properties": {"at": pin}, "required": ["at"]},
        "pay": {"anyOf": [iban, card]},
        "ok_tool": CITY,
    }
    file = tmp_path / "odd.json"
    entries = [{"name": n, "description": "Does.", "parameters": odd[n]} for n in odd]
    file.write_text(json.dumps(entries))
    tools, report = imported("openai", file)

    assert not report.dropped
    assert {name: tool.parameters for name, tool in tools.items()} == {
        "tasks_next": {"type": "object"},
        "tasks_all": odd["tasks_all"],
        "note_write": odd["note_write"],
        "map_pin": {
            "type": "object",
            "properties": {"at": {"type": "array", "prefixItems": pin["items"], "minItems": 2}},
            "required": ["at"],
        },
        "pay": {"type": "object", "anyOf": [iban, card]},
        "ok_tool": CITY,
    }
    assert report.changed == {
        'type "object" added': 2,
        "items of an older draft written as prefixItems": 1,
    }
    assert check_arguments(tools["pay"], {"card": "1"}) == []
    assert check_arguments(tools["pay"], {"card": "1", "zip": 2}) == ["unknown parameter 'zip'"]
    assert check_arguments(tools["pay"], {}) != []
    with pytest.raises(ToolError) as caught:  # what an import mends is named to who reads it as is
        load_repository(str(file))
    assert [problem.split("; ")[-1] for problem in caught.value.problems] == [
        'add "type": "object" (`trustee tools import` mends it)',
        "give one schema for all items, or use prefixItems (`trustee tools import` mends it)",
        'add "type": "object" (`trustee tools import` mends it)',
    ]


@pytest.mark.parametrize("form", [lambda m: m, lambda m: [m, m | {"tools": []}]])
def test_the_manifest_of_a_server_is_no_tool(tmp_path: Path, form: Any) -> None:
    tools = [{"name": name, "description": "Tells it.", "inputSchema": CITY} for name in "ab"]
    manifest = {"name": "mine", "description": "A server", "version": "1.0", "tools": tools}
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(form(manifest)))
    found, report = imported("openai", file)
    assert list(found) == ["a", "b"] and report.read == 2

    tools = [{"name": "a", "description": "Tells it.", "parameters": CITY}]
    file.write_text(json.dumps(manifest | {"tools": tools}))
    assert [tool.name for tool in load_repository(str(file)).tools] == ["a"]


def test_a_tool_may_have_a_field_of_that_name(tmp_path: Path) -> None:
    file = tmp_path / "tool.json"
    tool = {"name": "a", "description": "Tells it.", "parameters": CITY, "tools": ["hammer"]}
    file.write_text(json.dumps(tool))
    assert list(imported("openai", file)[0]) == ["a"]


def test_a_key_that_stands_twice_loses_nothing_unseen(tmp_path: Path) -> None:
    good = json.dumps({"name": "good", "description": "Tells it.", "parameters": CITY})
    twice = '{"name": "bad", "description": "Tells it.", "description": "Does it."}'
    file = tmp_path / "mine.json"
    file.write_text(f"{twice}\n{good}\n")
    tools, report = imported("bfcl", file)
    assert list(tools) == ["good"] and report.dropped == {"not valid JSON": 1}
    assert "'description' stands twice" in report.text()

    file.write_text('{"tool_name": "a", "api_list": [{"name": "x"}], "api_list": []}')
    tools, report = imported("toolbench", tmp_path)
    assert not tools and report.dropped == {"file that is no toolset": 1}
    assert "'api_list' stands twice" in report.text()
