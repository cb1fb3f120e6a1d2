"""Reading tool files: every accepted form, every kind of broken file, sampling."""

import json

import numpy as np
import pytest

from trustee_jax.toolsets import Tool, ToolError, ToolRepository, load_repository


def function(name="get_rate", **changes):
    return {
        "name": name,
        "description": "Returns a rate.",
        "parameters": {
            "type": "object",
            "properties": {"base": {"type": "string"}, "day": {"type": "string"}},
            "required": ["base"],
        },
    } | changes


def wrapped(name="get_rate", **beside):
    return {"type": "function", "function": function(name)} | beside


@pytest.fixture
def write(tmp_path):
    def write(document, name="tools.json"):
        path = tmp_path / name
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize(
    ("document", "categories"),
    [
        ([wrapped("a"), function("b")], {"user": ["a", "b"]}),
        (
            [wrapped("a", category="x"), function("b", category="y"), function("c")],
            {"x": ["a"], "y": ["b"], "user": ["c"]},
        ),
        ({"x": [wrapped("a")], "y": [function("b")]}, {"x": ["a"], "y": ["b"]}),
        ({"category": "x", "tools": [function("a")]}, {"x": ["a"]}),
        ([{"type": "function"} | function("a")], {"user": ["a"]}),
        (function("a"), {"user": ["a"]}),
        (wrapped("a", category="x"), {"x": ["a"]}),
        ({"tools": [wrapped("a"), function("b")]}, {"user": ["a", "b"]}),
        ({"functions": [function("a")]}, {"user": ["a"]}),
        ({"model": "m", "messages": [], "tools": [wrapped("a")]}, {"user": ["a"]}),
        ({"tools": [function("a")], "x": [function("b")]}, {"tools": ["a"], "x": ["b"]}),
    ],
)
def test_accepted_forms(write, document, categories):
    repository = load_repository(write(document))
    names = {c: [tool.name for tool in group] for c, group in repository.categories.items()}
    assert names == categories
    assert len(repository) == sum(map(len, categories.values()))


def test_json_lines(write):
    lines = [json.dumps(wrapped("a")), "", json.dumps(function("b", category="x"))]
    repository = load_repository(write("\n".join(lines), "tools.jsonl"))
    assert [(t.name, t.category) for t in repository.tools] == [("a", "user"), ("b", "x")]


def test_openai_form_round_trips_and_is_a_copy(write):
    tool = load_repository(write([wrapped()])).tools[0]
    assert tool.openai() == wrapped()
    tool.openai()["function"]["parameters"]["properties"].clear()
    assert tool.openai() == wrapped()


def test_a_tool_without_parameters_takes_none(write):
    bare = function()
    del bare["parameters"]
    tool = load_repository(write([bare])).tools[0]
    assert tool.parameters == {"type": "object", "properties": {}}


def schema(**properties):
    return {"type": "object", "properties": properties}


LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]}


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"name": "Get rate/now"}, "name:", "'Get_rate_now'"),
        ({"name": "x" * 65}, "name:", "1-64"),
        ({"name": ""}, "name:", "missing"),
        ({"description": "  "}, "description:", "empty"),
        ({"description": None}, "description:", "missing"),
        ({"inputSchema": {}}, "inputSchema:", "unknown field"),
        ({"category": ""}, "category:", "non-empty"),
        ({"parameters": {"type": "array"}}, "parameters:", '"object"'),
        ({"parameters": None}, "parameters:", '"object"'),
        ({"parameters": schema(a={"type": "str"})}, "parameters.properties.a.type:", "'str'"),
        ({"parameters": schema(a={"enum": 3})}, "parameters.properties.a.enum:", "3"),
        ({"parameters": schema(a={"enum": []})}, "parameters.properties.a.enum:", "no values"),
        ({"parameters": schema(a={"pattern": "["})}, "parameters.properties.a.pattern:", "["),
        ({"parameters": schema(a={"minimum": "1"})}, "parameters.properties.a.minimum:", '"1"'),
        ({"parameters": LOOSE}, "parameters.required:", "'b'"),
        ({"parameters": schema(a=LOOSE)}, "parameters.properties.a.required:", "'b'"),
        (
            {"parameters": schema(a={"type": "array", "items": LOOSE})},
            "parameters.properties.a.items.required:",
            "'b'",
        ),
        (
            {"parameters": schema(a={"$ref": "#/$defs/gone"})},
            "parameters.properties.a.$ref:",
            "$defs",
        ),
        (
            {"parameters": schema(a={"$ref": "#/properties/a"})},
            "parameters.properties.a.$ref:",
            "$defs",
        ),
        (
            {"parameters": schema(a={"$ref": "https://example.org/schema.json"})},
            "parameters.properties.a.$ref:",
            "$defs",
        ),
    ],
)
def test_broken_tools_are_named(write, change, field, hint):
    path = write([function("fine"), function() | change])
    with pytest.raises(ToolError) as caught:
        load_repository(path)
    assert len(caught.value.problems) == 1
    message = str(caught.value)
    name = change.get("name") or ("" if "name" in change else "get_rate")
    for part in (path, "[1]", repr(name), field, hint):
        assert part in message, message


def test_all_problems_of_a_file_at_once(write):
    path = write([function(f"tool {i}") for i in range(25)] + [{"description": "x"}])
    with pytest.raises(ToolError) as caught:
        load_repository(path)
    assert len(caught.value.problems) == 26
    assert "tool 19" in str(caught.value) and "tool 20" not in str(caught.value)
    assert "and 6 more" in str(caught.value)


def test_repeated_name(write):
    with pytest.raises(ToolError, match=r"y\[0\] 'a': name: already used by tools.json x\[0\]"):
        load_repository(write({"x": [function("a")], "y": [function("a")]}))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('[{"name": "a", "name": "b"}]', "'name' stands twice"),
        ('[{"name": NaN}]', "NaN is no JSON value"),
        ("3", "list of tools"),
        ('{"x": {"name": "a"}}', "list of tools"),
        ('{"category": "x"}', '"tools"'),
        ('["get_rate"]', "not a tool"),
        ('[{"type": "function", "function": "f"}]', "not a tool"),
        ("[]", "no tools"),
    ],
)
def test_unreadable_documents(write, text, hint):
    path = write(text)
    with pytest.raises(ToolError) as caught:
        load_repository(path)
    assert hint in str(caught.value) and path in str(caught.value)


def test_other_tool_types_are_refused(write):
    with pytest.raises(ToolError, match="type: 'retrieval' is not supported"):
        load_repository(write([wrapped() | {"type": "retrieval"}]))


def test_unreadable_files(tmp_path):
    binary = tmp_path / "tools.json"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.json", tmp_path, binary):
        with pytest.raises(ToolError, match="cannot be read"):
            load_repository(str(path))


def repository(**sizes):
    return ToolRepository(
        Tool(f"{category}_{i}", "Does it.", schema(), category)
        for category, size in sizes.items()
        for i in range(size)
    )


def test_sample_stays_in_one_category_without_repeats():
    tools = repository(a=4, b=5, c=6)
    rng = np.random.default_rng(0)
    for count in range(1, 7):
        for _ in range(20):
            drawn = tools.sample(rng, count)
            assert len(drawn) == count == len({tool.name for tool in drawn})
            assert len({tool.category for tool in drawn}) == 1


def test_sample_weights_categories_equally_and_shuffles():
    tools = repository(a=1, b=9)
    rng = np.random.default_rng(0)
    share = np.mean([tools.sample(rng, 1)[0].category == "a" for _ in range(2000)])
    assert abs(share - 0.5) < 0.04  # 3.6 standard errors
    orders = {tuple(tool.name for tool in tools.sample(rng, 9)) for _ in range(20)}
    assert len(orders) == 20


def test_sample_beyond_every_category_takes_a_whole_one_of_any():
    tools = repository(a=2, b=3)
    rng = np.random.default_rng(0)
    assert {len(tools.sample(rng, 5)) for _ in range(40)} == {2, 3}


def test_sample_is_decided_by_the_generator():
    tools = repository(a=8, b=8)
    first, second = (
        [tools.sample(np.random.default_rng(seed), 3) for seed in range(8)] for _ in range(2)
    )
    assert first == second
    assert len(set(first)) > 1


def test_sample_of_nothing():
    with pytest.raises(ValueError, match="ask for 1 or more"):
        repository(a=1).sample(np.random.default_rng(0), 0)
