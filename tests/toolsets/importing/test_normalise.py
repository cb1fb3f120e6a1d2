"""Names, duplicates, checks and caps, and that all of it is counted."""

from typing import Any

import pytest

from trustee_jax.toolsets import ToolError
from trustee_jax.toolsets.importing import (
    Candidate,
    ImportReport,
    Limits,
    Refusal,
    normalise,
    read,
)
from trustee_jax.toolsets.importing.names import Names, provider_word, short, snake_case
from trustee_jax.toolsets.importing.text import cut, plain

TEXT = {"type": "string"}


def function(name: Any = "look", text: Any = "Looks", **more: Any) -> Candidate:
    fields: dict[str, Any] = {
        "parameters": {"type": "object", "properties": {"a": TEXT}},
        "category": "eyes",
        "provider": "eyes.com",
        "place": f"file {name}",
        **more,
    }
    return Candidate(name, text, **fields)


def schema(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: TEXT for name in names}}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("getPetById", "get_pet_by_id"),
        ("GetHTTPResponse", "get_http_response"),
        ("listVMsInZone", "list_vms_in_zone"),
        ("Get /v1/foo bar", "get_v1_foo_bar"),
        ("compute.instances.list", "compute_instances_list"),
        ("Référence-Données", "reference_donnees"),
        ("日本", "ri_ben"),
        ("списокПисем", "spisok_pisem"),
        ("!?", ""),
    ],
)
def test_snake_case(text: str, name: str) -> None:
    assert snake_case(text) == name


def test_names_are_valid_unique_and_the_same_each_time() -> None:
    wanted = ["list", "list", "list", "list", "a b", "x" * 70, "!?", "keep-This"]
    first, second = Names(["list"]), Names(["list"])
    names = [first.claim(name, "api.stripe.com") for name in wanted]
    assert names == [second.claim(name, "api.stripe.com") for name in wanted]
    assert names == [
        "api_stripe_list",
        "api_stripe_list_2",
        "api_stripe_list_3",
        "api_stripe_list_4",
        "a_b",
        "x" * 64,
        "tool",
        "keep-This",
    ]


def test_a_thousand_long_names_stay_apart() -> None:
    names = Names()
    given = {names.claim("word_" * 20, "p" * 40) for _ in range(1000)}
    assert len(given) == 1000
    assert all(len(name) <= 64 and not name.endswith("_") for name in given)


def test_words_of_providers() -> None:
    assert provider_word("api.stripe.com:443") == "api_stripe"
    assert provider_word("Olato Quotes") == "olato_quotes"
    assert short("one_two_three", 9) == "one_two"


def test_plain_text() -> None:
    assert plain("a <b>b</b><br/>c &amp; d") == "a b c & d"
    assert plain("# Title\n\n* **bold** `x`\n```\ncode\n```\n| t |") == "Title * bold x"
    assert plain("x < y and <petId>\x00") == "x < y and <petId>"
    assert plain(None) == ""
    assert cut("Long first sentence. Second one.", 25) == "Long first sentence."
    assert cut("no sentence in these words", 15) == "no sentence..."


def test_everything_is_counted_with_its_reason() -> None:
    items = [
        function("look"),
        Refusal("file x", "deprecated"),
        function("look", provider="other.org", text="Looks elsewhere"),
        function("look"),
        function("look", "Looks otherwise"),
        function("empty", " "),
        function("", "No name"),
        function("big", parameters=schema(*(f"parameter_{i}" for i in range(31)))),
        function("long", parameters={"type": "object", "properties": {"a" * 7000: TEXT}}),
        function("wrong", parameters={"type": "object", "properties": {"a": {"type": "strin"}}}),
        function("open", parameters={"type": "object", "properties": {"a": {"$ref": "#/no"}}}),
        function("array", parameters={"type": "array"}),
        function("nothing", parameters=None),
        function("nan", parameters={"type": "object", "default": float("nan")}),
        function("half", "\ud800"),
        function("number", 3),
        function("a b", changes=("cut",)),
    ]
    report = ImportReport()
    tools = list(normalise(items, report))

    assert [tool.name for tool in tools] == ["look", "other_look", "a_b"]
    assert report.read == len(items) == report.kept + report.dropped.total()
    assert report.kept == 3
    assert report.dropped == {
        "deprecated": 1,
        "same as an earlier function": 1,
        "same name and parameter names as an earlier function of its provider": 1,
        "no description": 2,
        "no name": 1,
        "more than 30 parameters": 1,
        "parameters larger than 6000 bytes": 1,
        "schema not valid": 4,
        "not JSON": 2,
    }
    assert report.changed == {"name taken by an earlier tool": 1, "name made valid": 1, "cut": 1}
    assert "'a b' -> 'a_b'" in report.text()
    assert "17 functions read, 3 tools kept in 1 categories from 2 providers" in report.text()
    assert report.to_json()["examples"]["deprecated"] == ["file x"]


def test_schemas_whose_references_depend_on_more_than_their_text_are_dropped() -> None:
    named = {"type": "object", "properties": {"a": {"$id": "x", "$ref": "#/properties/a"}}}
    field = {"type": "object", "properties": {"$id": TEXT}}
    report = ImportReport()
    tools = list(normalise([function(parameters=named), function(parameters=field)], report))
    assert len(tools) == 1 and report.dropped["schema not valid"] == 1


def test_valid_names_and_those_taken_elsewhere() -> None:
    report = ImportReport()
    tools = list(normalise([function("getThing"), function("old")], report, taken=["old"]))
    assert [tool.name for tool in tools] == ["getThing", "eyes_old"]


def test_the_cap_takes_the_same_sample_in_any_order() -> None:
    items = [function(f"look_{i}", provider=f"p{i % 3}.com") for i in range(90)]
    report = ImportReport()
    tools = list(normalise(items, report, per_provider=7))
    backwards = list(normalise(reversed(items), ImportReport(), per_provider=7))

    assert len(tools) == report.kept == 21
    assert report.dropped == {"over the cap of 7 per provider": 69}
    assert set(report.providers.values()) == {7}
    assert {t.name for t in tools} == {t.name for t in backwards}
    # A sample of all, not the first ones.
    assert {t.name for t in tools} != {f"look_{i}" for i in range(21)}


def test_descriptions_are_cut_and_categories_filled() -> None:
    items = [function(text="Word " * 300, category="", provider="api.eyes.com")]
    report = ImportReport()
    (tool,) = normalise(items, report, limits=Limits(description=40))
    assert len(tool.description) <= 40 and tool.category == "api_eyes"
    assert report.changed == {"description cut at 40 characters": 1}


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ToolError, match=r"unknown format 'wsdl'; use one of openai, openapi"):
        list(read("wsdl", "x"))
