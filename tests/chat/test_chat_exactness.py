"""Prompt ids + sampled ids + increments against the rendering of the finished dialogue."""

import itertools
import json
import random
from typing import Any

import numpy as np
import pytest

from trustee_jax.chat import CallSyntax, ChatFormat, Conversation

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": 'Says "so": naïvely.',
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("get_weather", "book")
]
WORDS = [
    "Rain",
    "the city",
    "naïve",
    "東京",
    "🌧️",
    "{x}",
    '"q"',
    "<b>",
    "3.5",
    "a\nb",
    "a\n\n\nb",
    "l'eau",
]
WORDS += ["tool", "assistant", "\\n", "<|", "  two", "\ttab"]


def text(rng: random.Random, *, ragged: bool = False) -> str:
    words = " ".join(rng.choices(WORDS, k=rng.randint(1, 6))).strip()
    return rng.choice(["", " ", "\n"]) + words + rng.choice(["", " ", "\n\n"]) if ragged else words


def arguments(rng: random.Random) -> dict[str, Any]:
    values = [text(rng), 3, -0.5, None, True, [1, text(rng)], {"in": text(rng)}, {}]
    return {f"k{i}": rng.choice(values) for i in range(rng.randint(0, 3))}


def random_dialogue(
    rng: random.Random, *, thinking: bool, one_call: bool, one_query: bool
) -> list[list[dict[str, Any]]]:
    """Opening messages, then in turn one assistant message and the messages that follow it."""
    opening = [{"role": "system", "content": text(rng)}] * rng.randint(0, 1)
    parts = [[*opening, {"role": "user", "content": text(rng, ragged=True)}]]
    ids = (f"call{i:05}" for i in itertools.count())
    rounds = rng.randint(1, 5)
    for round in range(rounds):
        limit = 1 if one_call else 3
        calls = [
            {
                "id": next(ids),
                "type": "function",
                "function": {
                    "name": rng.choice(["book", "get_weather"]),
                    "arguments": arguments(rng),
                },
            }
            for _ in range(rng.randint(1 if one_query and round < rounds - 1 else 0, limit))
        ]
        speaks = not calls or (rng.random() < 0.5 and not one_call)
        said: dict[str, Any] = {"role": "assistant", "content": text(rng) if speaks else ""}
        if calls:
            said["tool_calls"] = calls
        if thinking and (one_query or rng.random() < 0.8):
            said["reasoning_content"] = text(rng)
        parts.append([said])
        if calls:
            results = [text(rng, ragged=True) for _ in calls]
            parts.append(
                [
                    {"role": "tool", "tool_call_id": call["id"], "content": result}
                    for call, result in zip(calls, results, strict=True)
                ]
            )
        else:
            users = 2 if rng.random() < 0.1 else 1
            parts.append(
                [{"role": "user", "content": text(rng, ragged=True)} for _ in range(users)]
            )
    return parts[:-1]


def reference(
    tokenizer: Any, template: str, messages: list[Any], tools: Any, thinking: bool, **options: Any
) -> Any:
    return tokenizer.apply_chat_template(
        messages,
        tools=tools,
        chat_template=template,
        enable_thinking=thinking,
        date_string="26 Jul 2024",
        return_dict=False,
        **options,
    )


CASES = [
    ("qwen2_like", False, "append"),
    ("qwen2_like", False, "strip"),
    ("qwen3_like", True, "append"),
    ("qwen3_like", True, "strip"),
    ("qwen3_like", False, "strip"),
    ("llama3_like", False, "append"),
    ("no_tools", False, "append"),
]


@pytest.mark.parametrize("syntax", [None, CallSyntax.JSON])
@pytest.mark.parametrize(("name", "thinking", "history"), CASES)
def test_tokens_equal_the_finished_rendering(make_tokenizer, name, thinking, history, syntax):
    tokenizer = make_tokenizer(name)
    format = ChatFormat(tokenizer, syntax)
    check_exactness(tokenizer, format, thinking, history, seeds=range(60))


@pytest.mark.slow
def test_tokens_equal_the_finished_rendering_smollm2(smollm2_tokenizer):
    format = ChatFormat(smollm2_tokenizer)
    check_exactness(smollm2_tokenizer, format, False, "append", seeds=range(60))


def check_exactness(tokenizer, format, thinking, history, seeds):
    template = format.template
    lengths = set()
    for seed in seeds:
        rng = random.Random(seed)
        parts = random_dialogue(
            rng,
            thinking=thinking,
            one_call="<|eot_id|>" in tokenizer.get_vocab(),
            one_query=thinking and history == "append",
        )
        tools = rng.choice([None, TOOLS])
        chat = Conversation(format, parts[0], tools, thinking, history)
        messages = list(parts[0])
        assert chat.context.tolist() == reference(
            tokenizer, template, messages, tools, thinking, add_generation_prompt=True
        )
        turns = []
        for index, part in enumerate(parts[1:]):
            if index % 2:
                chat.add_messages(part)
            else:
                ids = canonical_ids(tokenizer, format, messages, part[0], tools, thinking)
                if rng.random() < 0.3:
                    ids = ids[:-1]  # cut by a length limit just before the stop token
                logprobs = [-rng.random() for _ in ids]
                turns.append((chat.context, ids, np.array(logprobs, np.float32)))
                check_parsed(chat.add_sampled(ids, logprobs), part[0])
            messages += part
        whole = reference(tokenizer, template, messages, tools, thinking)
        rest = whole[len(chat.context) :]
        assert chat.context.tolist() == whole[: len(chat.context)]
        assert tokenizer.decode(rest).removeprefix(format._end).strip() == ""
        check_sequences(chat.sequences(), turns)
        lengths.add(len(chat.sequences()))
    strips = history == "strip" and format.thinks
    assert lengths == {1} if not strips else max(lengths) > 2


def canonical_ids(tokenizer, format, messages, said, tools, thinking) -> list[int]:
    def render(messages, generate):
        return reference(
            tokenizer,
            format.template,
            messages,
            tools,
            thinking,
            add_generation_prompt=generate,
            tokenize=False,
        )

    before, after = render(messages, True), render([*messages, said], False)
    assert after.startswith(before)
    written, end, _ = after[len(before) :].rpartition(format._end)
    return tokenizer.encode(written + end, add_special_tokens=False)


def check_parsed(turn, said):
    assert not turn.malformed
    assert turn.content == said["content"]
    assert turn.reasoning == said.get("reasoning_content", "")
    written = [call["function"] for call in said.get("tool_calls", [])]
    assert [{"name": call.name, "arguments": call.arguments} for call in turn.calls] == written
    again = turn.message([str(i) for i in range(len(turn.calls))])
    assert [json.loads(c["function"]["arguments"]) for c in again.get("tool_calls", [])] == [
        call["arguments"] for call in written
    ]


def check_sequences(sequences, turns):
    """Every sampled token is trained once, behind exactly the context that it was sampled from."""
    for part in sequences:
        assert part.tokens.dtype == np.int32
        assert part.sampled.dtype == bool
        assert part.logprobs.dtype == np.float32
        assert part.sampled[-1] and part.sampled[part.prompt_length]
        assert not part.sampled[: part.prompt_length].any()
        assert (part.logprobs[~part.sampled] == 0).all()
    sampled = np.concatenate([part.tokens[part.sampled] for part in sequences])
    assert sampled.tolist() == [id for _, ids, _ in turns for id in ids]
    for context, ids, logprobs in turns:
        start, end = len(context), len(context) + len(ids)
        assert any(
            part.tokens[:end].tolist() == [*context, *ids]
            and part.sampled[start:end].all()
            and (part.logprobs[start:end] == logprobs).all()
            for part in sequences
        )
