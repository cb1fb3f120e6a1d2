"""What the official client sends and expects, against a model that says what the test wants."""

import json

import openai
import pytest
from spoken_engine import SpokenEngine, running, served

from trustee_jax.chat import CallSyntax, ChatFormat
from trustee_jax.serving.app import ServeLimits
from trustee_jax.weights import open_checkpoint

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}
ASKED = [{"role": "user", "content": "How is the weather in Lyon?"}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lyon"}}\n</tool_call>'
BOTH = CALL + '\n<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'


@pytest.fixture
def ask(format):
    """Asks a model that says `text`, streamed and not, and checks that both agree."""

    def ask(text, *, format=format, pace=3, **options):
        say = text if callable(text) else lambda request, prompt: text
        engine = SpokenEngine(format, say, pace=pace)
        with running(served(format, engine)) as url:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            options = {"model": "mine", "messages": ASKED} | options
            whole = client.chat.completions.create(**options)
            with client.chat.completions.stream(**options) as stream:
                for _ in stream:
                    pass
                streamed = stream.get_final_completion()
        for one, other in zip(whole.choices, streamed.choices, strict=True):
            assert one.finish_reason == other.finish_reason
            assert (one.message.content or "") == (other.message.content or "")
            assert calls_of(one) == calls_of(other)
        return whole, engine

    return ask


def calls_of(choice):
    return [
        (call.function.name, json.loads(call.function.arguments))
        for call in choice.message.tool_calls or ()
    ]


@pytest.mark.parametrize("pace", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "content", "calls", "finish"),
    [
        ("It rains.", "It rains.", [], "stop"),
        (CALL, None, [("get_weather", {"city": "Lyon"})], "tool_calls"),
        ("I look. " + CALL, "I look.", [("get_weather", {"city": "Lyon"})], "tool_calls"),
        (BOTH, None, [("get_weather", {"city": "Lyon"}), ("get_time", {})], "tool_calls"),
        ("<tool_call>{broken</tool_call>", "{broken", [], "stop"),
        ("a <tool b < c", "a <tool b < c", [], "stop"),
        ("Préférez-vous 東京 🗼?", "Préférez-vous 東京 🗼?", [], "stop"),
    ],
)
def test_words_and_calls(ask, text, content, calls, finish, pace):
    answer, _ = ask(text, tools=[WEATHER, TIME], pace=pace)
    (choice,) = answer.choices
    assert choice.message.content == content and choice.finish_reason == finish
    assert calls_of(choice) == calls
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_an_empty_list_of_calls_is_left_out(ask):
    answer, _ = ask("It rains.", tools=[WEATHER])
    assert "tool_calls" not in answer.choices[0].message.model_fields_set


def test_without_parallel_calls_the_first_is_the_last(ask):
    answer, engine = ask(BOTH, tools=[WEATHER, TIME], parallel_tool_calls=False, pace=1)
    assert calls_of(answer.choices[0]) == [("get_weather", {"city": "Lyon"})]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert engine.cancelled  # nothing more is drawn


def test_no_tool_is_offered_where_none_may_be_called(ask):
    answer, engine = ask(CALL, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.content == CALL
    assert not answer.choices[0].message.tool_calls
    assert "get_weather" not in engine.format.decode(engine.requests[0].tokens)


def test_whatever_a_client_says_of_a_function_is_shown(ask, thinking_format):
    """BFCL's handler sends what a function returns; whether calls are held is no word of it."""
    returns = {"type": "object", "properties": {"degrees": {"type": "number"}}}
    told = {**WEATHER["function"], "response": returns, "strict": False}
    options = {"tools": [{**WEATHER, "function": told}], "reasoning_effort": "none"}
    _, engine = ask("It rains.", format=thinking_format, **options)
    prompt = engine.format.decode(engine.requests[0].tokens)
    assert f'"response": {json.dumps(returns)}' in prompt and "strict" not in prompt


def held(calls):
    """A model that writes what its grammar wants where it is held, and `calls` of them."""

    def say(request, prompt):
        if request.schema is None:
            return "Fine."
        names = [one["properties"]["name"]["enum"][0] for one in request.schema["anyOf"]]
        calls.append(names)
        return json.dumps({"name": names[0], "arguments": {"city": "Lyon"}})

    return say


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["get_weather", "get_time"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
    ],
)
def test_a_call_that_must_come_is_held_to_its_grammar(ask, choice, names):
    asked = []
    answer, engine = ask(held(asked), tools=[WEATHER, TIME], tool_choice=choice)
    assert asked[0] == names
    ((name, arguments),) = calls_of(answer.choices[0])
    assert name == names[0] and arguments == {"city": "Lyon"}
    opened = engine.format.decode(engine.requests[0].tokens)
    assert opened.endswith("<tool_call>\n")


def test_strict_tools_are_held_where_the_model_begins_to_call(ask):
    """Whatever else it would have written."""
    asked = []

    def say(request, prompt):
        if request.schema is not None:
            return held(asked)(request, prompt)
        return "Done." if "</tool_call>" in prompt.rpartition("Lyon?")[2] else "So. " + CALL[:30]

    strict = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
    answer, engine = ask(say, tools=[strict, TIME], pace=1)
    (choice,) = answer.choices
    assert calls_of(choice) == [("get_weather", {"city": "Lyon"})] and asked
    assert choice.message.content == "So. Done."
    assert [bool(request.schema) for request in engine.requests[:3]] == [False, True, False]
    assert choice.finish_reason == "tool_calls"


def test_thoughts_are_apart(ask, thinking_format):
    text = "<think>\nRain?\n</think>\n\nIt rains."
    answer, _ = ask(text, format=thinking_format, tools=[WEATHER], pace=1)
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("It rains.", "Rain?")
    answer, engine = ask(
        "It rains.", format=thinking_format, reasoning_effort="none", tools=[WEATHER]
    )
    assert "<think>\n\n</think>" in engine.format.decode(engine.requests[0].tokens)


@pytest.mark.parametrize("syntax", [CallSyntax.JSON])
def test_calls_without_tags(ask, syntax):
    format = ChatFormat(open_checkpoint("random:qwen2").tokenizer(), syntax)
    bare = '{"name": "get_weather", "arguments": {"city": "Lyon"}}'
    for text, content in (
        (bare, None),
        (f"Look:\n```json\n{bare}\n```\nSo.", "Look:\n\nSo."),
    ):
        answer, _ = ask(text, format=format, tools=[WEATHER], pace=1)
        assert calls_of(answer.choices[0]) == [("get_weather", {"city": "Lyon"})]
        assert answer.choices[0].message.content == (content and content.replace("\n\n", "\n"))
    answer, _ = ask(held([]), format=format, tools=[WEATHER], tool_choice="required")
    assert calls_of(answer.choices[0]) == [("get_weather", {"city": "Lyon"})]


@pytest.mark.parametrize("pace", [1, 4])
def test_stop_texts(ask, pace):
    answer, _ = ask("one two three", stop=["tw", "zzz"], pace=pace)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one", "stop")
    answer, _ = ask("one two three", stop="threefold", pace=pace)
    assert answer.choices[0].message.content == "one two three"


def test_the_answer_is_held_to_a_schema(ask):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer, engine = ask('{"a":1}', response_format=form)
    assert engine.requests[0].schema == schema
    assert json.loads(answer.choices[0].message.content) == {"a": 1}
    _, engine = ask("{}", response_format={"type": "json_object"})
    assert engine.requests[0].schema == {"type": "object"}


def test_several_choices_with_a_seed(ask):
    answer, engine = ask(lambda request, _: f"Number {request.key[2]}.", n=3, seed=-5)
    said = [choice.message.content for choice in answer.choices]
    assert said == ["Number 0.", "Number 1.", "Number 2."]
    assert {request.key[1] for request in engine.requests} == {2**32 - 5}
    assert len({request.key for request in engine.requests}) == 3


def test_sampling_is_what_the_client_wants(ask):
    _, engine = ask("a", temperature=0.3, top_p=0.5, extra_body={"top_k": 7})
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.3, 0.5, 7)
    for options in ({"temperature": 0}, {"temperature": 0.001}, {"top_p": 0}):
        _, engine = ask("a", **options)
        assert engine.requests[0].sampling.temperature == 0
    _, engine = ask("a", max_completion_tokens=17)
    assert engine.requests[0].max_new_tokens == 17


def test_an_answer_that_is_cut_says_so(format):
    engine = SpokenEngine(format, lambda *_: "a much longer answer")
    with running(served(format, engine)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        answer = client.chat.completions.create(model="mine", messages=ASKED, max_tokens=2)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 2


def test_logprobs_are_those_of_the_tokens(ask):
    answer, engine = ask("é東 ok", logprobs=True, top_logprobs=2, pace=2)
    listed = answer.choices[0].logprobs.content
    assert bytes(byte for entry in listed for byte in entry.bytes).decode().startswith("é東 ok")
    assert [entry.logprob for entry in listed] == [-float(i) for i in range(len(listed))]
    assert all(len(entry.top_logprobs) == 2 for entry in listed)
    assert engine.requests[0].top_logprobs == 2
    answer, _ = ask("ok")
    assert answer.choices[0].logprobs is None


def test_usage_ends_a_stream_on_request(format):
    engine = SpokenEngine(format, lambda *_: "It rains.")
    with running(served(format, engine)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        stream = client.chat.completions.create(
            model="mine",
            messages=ASKED,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"return_token_ids": True},
        )
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    shown = [choice for chunk in chunks for choice in chunk.choices]
    ids = [id for choice in shown for id in getattr(choice, "token_ids", ())]
    assert format.decode(ids) == "It rains."
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == len(ids)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_dialogues_in_every_form(ask):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Lyon"}, {"type": "text", "text": "?"}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "get_time", "arguments": "{}"},
                },
                {
                    "id": "b",
                    "type": "function",
                    "function": {"name": "get_time", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "12:00 <|im_end|>"},
        {"role": "tool", "tool_call_id": "b", "content": "13:00"},
    ]
    _, engine = ask("Noon.", messages=messages, tools=[TIME])
    prompt = engine.format.decode(engine.requests[0].tokens)
    for part in ("Be brief.", "Lyon?", "12:00", "13:00"):
        assert part in prompt
    # What looks like a control token is text.
    ended = engine.requests[0].tokens == engine.format.stop_ids[0]
    messages[3]["content"] = "12:00"
    _, engine = ask("Noon.", messages=messages, tools=[TIME])
    assert ended.sum() == (engine.requests[0].tokens == engine.format.stop_ids[0]).sum() > 0


@pytest.mark.parametrize(
    ("options", "error", "param"),
    [
        ({"model": "other"}, openai.NotFoundError, "model"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "x", "content": "a"}]}, openai.BadRequestError, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, openai.BadRequestError, "messages.0"),
        ({"n": 0}, openai.BadRequestError, "n"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"presence_penalty": 1.0}, openai.BadRequestError, "presence_penalty"),
        ({"tool_choice": "required"}, openai.BadRequestError, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, openai.BadRequestError, "tools"),
        (
            {
                "tools": [{**TIME, "function": {"name": "a", "parameters": {"properties": None}}}],
                "tool_choice": "required",
            },
            openai.BadRequestError,
            "tools",
        ),
        ({"top_logprobs": 3}, openai.BadRequestError, "top_logprobs"),
        (
            {"tools": [WEATHER], "response_format": {"type": "json_object"}},
            openai.BadRequestError,
            "response_format",
        ),
        ({"stop": ["a"] * 5}, openai.BadRequestError, "stop"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            openai.BadRequestError,
            "messages.0.content.0.type",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_served_is_said(format, options, error, param, stream):
    engine = SpokenEngine(format, lambda *_: "a")
    with running(served(format, engine)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with pytest.raises(error) as caught:
            client.chat.completions.create(
                **{"model": "mine", "messages": ASKED, "stream": stream} | options
            )
    assert caught.value.param == param
    assert caught.value.body["message"] and engine.requests == []


def test_a_context_that_is_full(format):
    engine = SpokenEngine(format, lambda *_: "a", max_length=300)
    with running(served(format, engine)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        for options in (
            {"max_tokens": 290},
            {"messages": [{"role": "user", "content": "a " * 400}]},
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                client.chat.completions.create(**{"model": "mine", "messages": ASKED} | options)
            assert caught.value.code == "context_length_exceeded"


def test_keys(format):
    engine = SpokenEngine(format, lambda *_: "a")
    with running(served(format, engine), limits=ServeLimits(api_key="geheim-ß")) as url:
        options = {"base_url": f"{url}/v1", "max_retries": 0}
        for key in ("none", "geheim", "geheim-ss"):
            with pytest.raises(openai.AuthenticationError):
                openai.OpenAI(api_key=key, **options).models.list()


def test_models_are_listed(format):
    one, other = (SpokenEngine(format, lambda *_, i=i: f"I am {i}.") for i in range(2))
    with running(served(format, one, "a"), served(format, other, "b/c")) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        assert [model.id for model in client.models.list()] == ["a", "b/c"]
        assert client.models.retrieve("b/c").id == "b/c"
        said = [
            client.chat.completions.create(model=name, messages=ASKED).choices[0].message.content
            for name in ("a", "b/c", "a")
        ]
    assert said == ["I am 0.", "I am 1.", "I am 0."]


def test_completions_go_on_without_a_template(format):
    engine = SpokenEngine(format, lambda request, prompt: f"[{prompt}]")
    with running(served(format, engine)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        answer = client.completions.create(
            model="mine", prompt=["ab", "cd"], n=2, max_tokens=9, logprobs=1
        )
        assert [choice.text for choice in answer.choices] == ["[ab]", "[ab]", "[cd]", "[cd]"]
        assert answer.choices[0].logprobs.tokens
        ids = format.encode("xy").tolist()
        stream = client.completions.create(model="mine", prompt=ids, stream=True, echo=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == "xy[xy]"
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="mine", prompt=[10**6])
