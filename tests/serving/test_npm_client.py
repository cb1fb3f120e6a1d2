"""What the official JavaScript client sends and expects; see test_openai_client.py."""

import json
import pathlib
import shutil
import subprocess

import pytest
from spoken_engine import SpokenEngine, running, served
from test_openai_client import ASKED, BOTH, CALL, TIME, WEATHER, held

from trustee_jax.serving.app import ServeLimits

pytestmark = [
    pytest.mark.slow,  # it installs the package
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
]

SCRIPT = pathlib.Path(__file__).with_name("npm_client.mjs")
PACKAGE = "openai@6.49.0"  # the last one that runs on node 20
KEY = "secret"
LIMIT = 1200  # tokens of a context
LYON = {"name": "get_weather", "arguments": {"city": "Lyon"}}
NOON = {"name": "get_time", "arguments": {}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NAMED = {"type": "function", "function": {"name": "get_time"}}
STRICT = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": "Be polite."},
    {"role": "user", "content": [{"type": "text", "text": "Lyon"}, {"type": "text", "text": "?"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": "12:00"},
]


SAID = {"rain": "It rains.", "call": CALL, "both": "So. " + BOTH, "begun": CALL[:30]}


def say(name):
    """A message that has the model answer what SAID has under this name."""
    return [{"role": "user", "content": f"«{name}»"}]


def speak(request, prompt):
    """What its grammar wants where it is held, else what the last message wants."""
    if request.schema and "anyOf" in request.schema:
        return held([])(request, prompt)
    if request.schema:
        return json.dumps({"city": "Lyon"})
    _, sign, wanted = prompt.rpartition("«")
    if not sign:
        return "Noon."
    name, _, after = wanted.partition("»")
    return "It rains." if "</tool_call>" in after else SAID.get(name, name)


# Parameters, and what comes: content, calls, finish reason.
CASES = {
    "words": ({"messages": say("rain")}, "It rains.", [], "stop"),
    "dialogue": ({"messages": DIALOGUE, "tools": [TIME]}, "Noon.", [], "stop"),
    "calls": (
        {"messages": say("both"), "tools": [WEATHER, TIME], "tool_choice": "auto"},
        "So.",
        [LYON, NOON],
        "tool_calls",
    ),
    "one call": (
        {"messages": say("both"), "tools": [WEATHER, TIME], "parallel_tool_calls": False},
        "So.",
        [LYON],
        "tool_calls",
    ),
    "no call": (
        {"messages": say("rain"), "tools": [WEATHER], "tool_choice": "none"},
        "It rains.",
        [],
        "stop",
    ),
    "required": (
        {"messages": say("rain"), "tools": [WEATHER, TIME], "tool_choice": "required"},
        "It rains.",
        [LYON],
        "tool_calls",
    ),
    "named": (
        {"messages": ASKED, "tools": [WEATHER, TIME], "tool_choice": NAMED},
        None,
        [{**NOON, "arguments": {"city": "Lyon"}}],  # `held` knows no others
        "tool_calls",
    ),
    "strict": (
        {"messages": say("begun"), "tools": [STRICT]},
        "It rains.",
        [LYON],
        "tool_calls",
    ),
    "json object": (
        {"messages": ASKED, "response_format": {"type": "json_object"}},
        '{"city": "Lyon"}',
        [],
        "stop",
    ),
    "json schema": (
        {
            "messages": ASKED,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
            },
        },
        '{"city": "Lyon"}',
        [],
        "stop",
    ),
    "sampling": (
        {"messages": say("rain"), "temperature": 0.3, "top_p": 0.5, "top_k": 7, "seed": 5}
        | {"user": "me", "store": False, "metadata": {"a": "b"}},
        "It rains.",
        [],
        "stop",
    ),
    "stop": ({"messages": say("rain"), "stop": [" rains"]}, "It", [], "stop"),
    "cut": ({"messages": say("rain"), "max_completion_tokens": 2}, "It", [], "length"),
    "cut, by the older name": ({"messages": say("rain"), "max_tokens": 2}, "It", [], "length"),
    "no thoughts": (
        {"messages": say("rain"), "reasoning_effort": "none"}
        | {"chat_template_kwargs": {"enable_thinking": False}},
        "It rains.",
        [],
        "stop",
    ),
    "several": ({"messages": say("rain"), "n": 2}, "It rains.", [], "stop"),
    "logprobs": (
        {"messages": say("rain"), "logprobs": True, "top_logprobs": 2},
        "It rains.",
        [],
        "stop",
    ),
    "ids": (
        {"messages": say("rain"), "return_token_ids": True},
        "It rains.",
        [],
        "stop",
    ),
}
# Parameters, and what the error says: class, status, code, param.
ERRORS = {
    "model": ({"model": "other"}, "NotFoundError", 404, "model_not_found", "model"),
    "field": ({"temperature": 3}, "BadRequestError", 400, None, "temperature"),
    "unserved": ({"presence_penalty": 1}, "BadRequestError", 400, None, "presence_penalty"),
    "context": (
        {"messages": say("a " * LIMIT)},
        "BadRequestError",
        400,
        "context_length_exceeded",
        "messages",
    ),
    "key": ({}, "AuthenticationError", 401, "invalid_api_key", None),
}


@pytest.fixture(scope="module")
def came(format, tmp_path_factory):
    """What the client printed, and the requests that the engine got."""
    folder = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--silent", "--no-save", "--prefix", folder, PACKAGE]
    subprocess.run(install, check=True)
    script = shutil.copy(SCRIPT, folder)  # which finds packages beside it
    engine = SpokenEngine(format, speak, max_length=LIMIT)
    common = {"model": "mine", "messages": ASKED}
    asked = {
        "key": KEY,
        "cases": {name: common | case[0] for name, case in CASES.items()},
        "errors": {
            name: {"key": "wrong" if name == "key" else KEY, "parameters": common | case[0]}
            for name, case in ERRORS.items()
        },
        "completions": [
            {"model": "mine", "prompt": ["«ab»", "«cd»"], "n": 2, "logprobs": 1, "max_tokens": 9},
            {"model": "mine", "prompt": format.encode("«xy»").tolist(), "echo": True},
        ],
        "agent": common | {"messages": say("call"), "tools": [WEATHER]},
    }
    with running(served(format, engine), limits=ServeLimits(api_key=KEY)) as url:
        result = subprocess.run(
            ["node", script],
            input=json.dumps(asked | {"url": url}),
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert result.returncode == 0
    return json.loads(result.stdout), engine.requests


def calls_of(message):
    return [
        {
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
        for call in message.get("tool_calls") or ()
    ]


def joined(chunks):
    """The words of the first choice, from the chunks as they came."""
    deltas = [
        choice["delta"] for chunk in chunks for choice in chunk["choices"] if not choice["index"]
    ]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("name", CASES)
def test_answers_whole_and_streamed(came, name):
    parameters, content, calls, finish = CASES[name]
    answer = came[0]["answers"][name]
    for form in ("whole", "streamed"):
        choices = answer[form]["choices"]
        assert len(choices) == parameters.get("n", 1)
        for choice in choices:
            assert (choice["message"]["content"] or None) == content
            assert calls_of(choice["message"]) == calls
            assert choice["finish_reason"] == finish
    assert joined(answer["chunks"]) == (content or "")


def test_log_probabilities_and_ids(came, format):
    for form in ("whole", "streamed"):
        (choice,) = came[0]["answers"]["logprobs"][form]["choices"]
        entries = choice["logprobs"]["content"]
        assert "".join(entry["token"] for entry in entries).startswith("It rains.")
        assert [entry["logprob"] for entry in entries] == [-float(i) for i in range(len(entries))]
        assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    (choice,) = came[0]["answers"]["ids"]["whole"]["choices"]
    assert format.decode(choice["token_ids"]) == "It rains."


def test_sampling_reaches_the_engine(came):
    (found,) = {
        (one.sampling.temperature, one.sampling.top_p, one.sampling.top_k)
        for one in came[1]
        if one.sampling.temperature not in (0.0, 1.0)
    }
    assert found == (0.3, 0.5, 7)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_those_of_the_client(came, name):
    _, kind, status, code, param = ERRORS[name]
    for form in ("whole", "streamed"):
        error = came[0]["errors"][name][form]
        assert (error["kind"], error["status"]) == (kind, status)
        assert (error["code"], error["param"]) == (code, param)


def test_completions(came):
    several, one = came[0]["completions"]
    assert [choice["text"] for choice in several["whole"]["choices"]] == ["ab", "ab", "cd", "cd"]
    assert several["whole"]["choices"][0]["logprobs"]["tokens"]
    assert one["whole"]["choices"][0]["text"] == "«xy»xy"
    assert "".join(chunk["choices"][0]["text"] for chunk in one["chunks"]) == "«xy»xy"


def test_the_clients_own_loop_calls_a_function(came):
    assert came[0]["agent"] == {"said": "It rains.", "called": [{"city": "Lyon"}]}


def test_models(came):
    assert came[0]["models"] == ["mine"] and came[0]["model"]["id"] == "mine"
