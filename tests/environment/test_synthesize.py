"""Tools that a simulator writes: held to a schema, checked, converted, counted."""

import json
import re

import llguidance.hf
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scripted_engine import ScriptedEngine, walk

from trustee_jax.simulator import Simulator, SimulatorConfig
from trustee_jax.simulator.schemas import matches
from trustee_jax.synthesis.synthesize import category_of, synthesize, tools_schema
from trustee_jax.toolsets import Tool
from trustee_jax.toolsets.importing import Candidate, ImportReport, Refusal, normalise

WORDS = ("lends", "returns", "counts", "orders", "repairs", "weighs", "paints", "sells", "rents")


def written(name, description=None, parameters=()):
    description = description or f"This will {' '.join(name.split('_'))} and say what was done."
    return {"name": name, "description": description, "parameters": list(parameters)}


def parameter(name="text", type="string", required=True, **more):
    return {"name": name, "type": type, **more, "description": "What it is.", "required": required}


def run(chat_format, script, domains=("library",), per_domain=3, length=30_000):
    engine = ScriptedEngine(chat_format, script, max_length=length)
    items = synthesize(
        Simulator(chat_format, SimulatorConfig(), length, ("task",)), engine, domains, per_domain
    )
    return items, engine


def fresh(numbers):
    """Tools that have nothing to do with each other."""
    return [
        written(
            f"{WORDS[n % 9]}_{chr(97 + n) * 2}", f"{chr(65 + n) * 9} {WORDS[n % 9]} {str(n) * 20}."
        )
        for n in numbers
    ]


def count_of(prompt):
    return int(re.search(r"Write (\d+) new tool", prompt)[1])


def test_every_kind_of_parameter_becomes_its_schema(chat_format):
    kinds = [
        ("string", {"type": "string"}),
        ("integer", {"type": "integer"}),
        ("number", {"type": "number"}),
        ("boolean", {"type": "boolean"}),
        ("date", {"type": "string", "format": "date"}),
    ]
    more = [
        parameter("a", "choice", values=["x", "y", "x"]),
        parameter("b", "list", required=False),
        parameter("c", "date-time"),
    ]
    tools = [
        written("find_books", parameters=[parameter(f"p_{kind}", kind) for kind, _ in kinds]),
        written("reserve_shelf", "Keeps a shelf free for a member until the day it names.", more),
    ]
    items, _ = run(chat_format, lambda *_: json.dumps({"tools": tools}), per_domain=2)
    described = {"description": "What it is."}
    assert [item.name for item in items] == ["find_books", "reserve_shelf"]
    assert items[0].parameters == {
        "type": "object",
        "properties": {f"p_{kind}": schema | described for kind, schema in kinds},
        "required": [f"p_{kind}" for kind, _ in kinds],
    }
    assert items[1].parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "enum": ["x", "y"]} | described,
            "b": {"type": "array", "items": {"type": "string"}} | described,
            "c": {"type": "string", "format": "date-time"} | described,
        },
        "required": ["a", "c"],
    }
    report = ImportReport()
    tools = list(normalise(items, report))
    assert [tool.category for tool in tools] == ["library", "library"]
    assert not report.dropped and all(isinstance(tool, Tool) for tool in tools)


def test_refused_tools_are_counted_and_written_anew(chat_format):
    bad = {
        "repeats a name": written("lends_aa", "Something that is quite another thing than that."),
        "near copy of another tool": fresh([0])[0] | {"name": "lends_again"},
        "repeats a parameter": written("count_pages", parameters=[parameter(), parameter()]),
        "a choice without alternatives": written(
            "pick_one", parameters=[parameter("a", "choice", values=["x", "x"])]
        ),
    }
    numbers = iter(range(100))

    def script(role, request, prompt):
        if "lends_aa:" not in prompt:
            tools = [fresh([next(numbers)])[0], *list(bad.values())[:3]]
        elif "returns_bb:" not in prompt:
            tools = [bad["a choice without alternatives"], *fresh([next(numbers) for _ in "123"])]
        else:
            tools = fresh([next(numbers) for _ in range(count_of(prompt))])
        return json.dumps({"tools": tools[: count_of(prompt)]})

    items, engine = run(chat_format, script, per_domain=5)
    kept = [item.name for item in items if isinstance(item, Candidate)]
    assert kept == [tool["name"] for tool in fresh(range(5))]
    assert sorted(item.reason for item in items if isinstance(item, Refusal)) == sorted(bad)
    # Each time as many as are missing, and told of those that there are.
    assert [count_of(engine.text(request)) for request in engine.requests] == [4, 4, 1]
    report = ImportReport()
    assert len(list(normalise(items, report))) == 5
    assert report.read == 9 and report.dropped.total() == 4


def test_a_model_that_never_answers_ends(chat_format):
    items, engine = run(chat_format, lambda *_: "{", per_domain=8)
    assert [item.reason for item in items] == ["no answer: malformed"] * 4
    assert len(engine.requests) == 8  # two tries each


def test_a_model_that_repeats_itself_ends(chat_format):
    answer = json.dumps({"tools": fresh([0])})
    items, _ = run(chat_format, lambda *_: answer, per_domain=1)
    assert len(items) == 1

    def script(role, request, prompt):
        return json.dumps({"tools": fresh([0]) * count_of(prompt)})

    items, _ = run(chat_format, script, per_domain=3)
    assert [isinstance(item, Candidate) for item in items] == [True] + [False] * 4


def test_domains_go_on_side_by_side_and_come_out_in_order(chat_format):
    numbers = {"Garden & Home": iter(range(4)), "library": iter(range(4, 8))}

    def script(role, request, prompt):
        domain = re.search(r"Domain: (.*)", prompt)[1]
        return json.dumps(
            {"tools": fresh([next(numbers[domain]) for _ in range(count_of(prompt))])}
        )

    items, engine = run(chat_format, script, ("Garden & Home", "library"), 4, length=2400)
    assert [item.category for item in items] == ["garden_home"] * 4 + ["library"] * 4
    # A short context takes a few at a time.
    assert {count_of(engine.text(request)) for request in engine.requests} == {2}


def test_the_prompt_stays_within_the_context(chat_format):
    numbers = iter(range(10_000))

    def script(role, request, prompt):
        names = [
            "".join(chr(97 + int(d)) for d in f"{next(numbers):04}")
            for _ in range(count_of(prompt))
        ]
        rng = np.random.default_rng([ord(c) for c in names[0]])
        texts = ["".join(map(chr, rng.integers(97, 123, 60))) for _ in names]
        return json.dumps(
            {
                "tools": [
                    written(f"do_{name}", f"T{text}")
                    for name, text in zip(names, texts, strict=True)
                ]
            }
        )

    items, engine = run(chat_format, script, per_domain=120)
    assert sum(isinstance(item, Candidate) for item in items) == 120
    assert max(engine.text(request).count("- do_") for request in engine.requests) == 24


@pytest.mark.parametrize("seed", range(8))
def test_blind_answers_within_the_schema_become_valid_tools(chat_format, seed):
    """Whatever the schema lets through is refused by name or passes the checks of tools."""
    tokenizer = llguidance.hf.from_tokenizer(chat_format.tokenizer)
    rng = np.random.default_rng(seed)
    answer = walk(tokenizer, tools_schema(2), rng, 20_000).decode()
    assert matches(json.loads(answer), tools_schema(2))
    items, _ = run(chat_format, lambda *_: answer, per_domain=2)
    assert items
    for item in items:
        if isinstance(item, Candidate):
            Draft202012Validator.check_schema(item.parameters)
        else:
            assert not item.reason.startswith("not valid")


def test_categories():
    assert category_of(" Garden & Home ") == "garden_home" and category_of("&") == ""
