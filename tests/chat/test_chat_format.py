"""What ChatFormat finds out about a template, and what it refuses."""

import numpy as np
import pytest

from trustee_jax.chat import ChatFormat, ChatFormatError, Conversation
from trustee_jax.chat.parsing import CallSyntax

USER = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "Yes?"}
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
}


def call(arguments):
    function = {"name": "look", "arguments": arguments}
    calls = [{"id": "1", "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


@pytest.fixture
def formats(make_tokenizer):
    return {
        name: ChatFormat(make_tokenizer(name))
        for name in ("qwen2_like", "qwen3_like", "llama3_like", "no_tools")
    }


def test_families_are_recognised(formats):
    found = {
        name: (format.call_syntax, format.thinks, format.tokenizer.decode(format.stop_ids))
        for name, format in formats.items()
    }
    chatml = "<|im_end|><|endoftext|>"
    assert found == {
        "qwen2_like": (CallSyntax.HERMES, False, chatml),
        "qwen3_like": (CallSyntax.HERMES, True, chatml),
        "llama3_like": (CallSyntax.LLAMA, False, "<|eot_id|><|eom_id|><|end_of_text|>"),
        "no_tools": (CallSyntax.HERMES, False, chatml),
    }
    qwen3 = formats["qwen3_like"]
    assert qwen3.tokenizer.decode([qwen3.think_end_id]) == "</think>"
    assert formats["no_tools"].think_end_id is None


def test_a_template_without_tools_is_replaced_and_the_tokenizer_left_alone(make_tokenizer):
    tokenizer = make_tokenizer("no_tools")
    own = tokenizer.chat_template
    format = ChatFormat(tokenizer)
    assert tokenizer.chat_template == own != format.template
    text = tokenizer.decode(format.prompt([USER, SAID, USER], [TOOL]))
    assert "<tools>\nlook(): Looks.\n</tools>\nHi<|im_end|>" in text
    nested = {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "size": {"enum": ["small", "large"]},
            "guests": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": {"type": "string"}}},
            },
        },
        "required": ["day"],
    }
    tool = {"type": "function", "function": {**TOOL["function"], "parameters": nested}}
    text = tokenizer.decode(format.prompt([USER], [tool]))
    assert "look(day: date, size?: small|large, guests?: list of {name?: string}): Looks." in text
    # Without tools the default says what the model's own ChatML says.
    dialogue = [{"role": "system", "content": "Be brief."}, USER, SAID, USER]
    expected = tokenizer.apply_chat_template(
        dialogue, add_generation_prompt=True, return_dict=False
    )
    assert format.prompt(dialogue).tolist() == expected
    tokenizer.chat_template = None
    assert ChatFormat(tokenizer).template == format.template


@pytest.mark.parametrize("name", ["qwen2_like", "qwen3_like", "llama3_like", "no_tools"])
def test_calls_as_json_in_any_template(make_tokenizer, name):
    tokenizer = make_tokenizer(name)
    own = tokenizer.chat_template
    format = ChatFormat(tokenizer, CallSyntax.JSON)
    assert format.call_syntax is CallSyntax.JSON
    assert format.template.endswith(own)
    assert format.stop_ids == ChatFormat(tokenizer).stop_ids
    # Without tools and calls it is the model's own.
    dialogue = [{"role": "system", "content": "Be brief."}, USER, SAID, USER]
    plain = tokenizer.apply_chat_template(
        dialogue, add_generation_prompt=True, tokenize=False, date_string="26 Jul 2024"
    )
    assert tokenizer.decode(format.prompt(dialogue, thinking=True)) == plain

    two = call({"x": 'é"'})
    two["tool_calls"] *= 2
    results = [{"role": "tool", "content": "12"}, {"role": "tool", "content": "13"}]
    text = tokenizer.decode(format.prompt([*dialogue[:2], two, *results], [TOOL]))
    line = '{"name": "look", "arguments": {"x": "é\\""}}'
    blocks = "<tool_response>\n12\n</tool_response>\n<tool_response>\n13\n</tool_response>"
    for part in ("Be brief.\n\n# Tools\n", '"description": "Looks."', f"{line}\n{line}", blocks):
        assert text.count(part) == 1
    assert "<tool_call>" not in text
    spoken = tokenizer.decode(format.prompt([USER, {**two, "content": "So:"}], [TOOL]))
    assert f"So:\n```json\n{line}\n{line}\n```" in spoken

    # What is exported says it by itself.
    tokenizer.chat_template = format.template
    for again in (ChatFormat(tokenizer), ChatFormat(tokenizer, CallSyntax.JSON)):
        assert (again.template, again.call_syntax) == (format.template, CallSyntax.JSON)


def test_a_form_that_the_template_does_not_write(make_tokenizer):
    tokenizer = make_tokenizer("qwen2_like")
    with pytest.raises(ChatFormatError, match="as hermes, not as llama"):
        ChatFormat(tokenizer, CallSyntax.LLAMA)
    with pytest.raises(ChatFormatError, match=r"writes calls as llama.*<\|im_start\|>"):
        ChatFormat(make_tokenizer("llama3_like"), CallSyntax.HERMES)
    tokenizer.chat_template = ChatFormat(tokenizer, CallSyntax.JSON).template
    default = ChatFormat(make_tokenizer("no_tools")).template
    assert ChatFormat(tokenizer, CallSyntax.HERMES).template == default
    tokenizer.chat_template = None
    assert ChatFormat(tokenizer, CallSyntax.JSON).template.endswith(default)
    # A form of its own need not be known where calls are put as JSON.
    tokenizer = make_tokenizer("qwen2_like")
    tokenizer.chat_template = tokenizer.chat_template.replace("<tool_call>", "<call>")
    assert ChatFormat(tokenizer, CallSyntax.JSON).call_syntax is CallSyntax.JSON


def test_increment_of_grouped_results_and_of_a_cut_turn(formats):
    results = [{"role": "tool", "content": "12"}, {"role": "tool", "content": "13"}]
    blocks = "\n<tool_response>\n12\n</tool_response>\n<tool_response>\n13\n</tool_response>"
    chatml = f"\n<|im_start|>user{blocks}<|im_end|>\n<|im_start|>assistant\n"
    ipython = "<|start_header_id|>ipython<|end_header_id|>\n\n"
    llama = f'{ipython}"12"<|eot_id|>{ipython}"13"<|eot_id|>'
    llama += "<|start_header_id|>assistant<|end_header_id|>\n\n"
    expected = {"qwen2_like": chatml, "no_tools": chatml, "llama3_like": llama}
    expected["qwen3_like"] = chatml + "<think>\n\n</think>\n\n"
    for name, format in formats.items():
        closed = format.increment(results, closed=True)
        cut = format.increment(results, closed=False)
        assert closed.dtype == np.int32
        assert format.tokenizer.decode(closed) == expected[name]
        assert cut.tolist() == [format.stop_ids[0], *closed]


def test_arguments_as_text_and_content_in_parts_render_alike(formats):
    parts = {"role": "user", "content": [{"type": "text", "text": "H"}, {"text": "i"}]}
    for format in formats.values():
        as_object = format.prompt([USER, call({"x": [1, None]})], [TOOL])
        assert (
            format.prompt([parts, call('{"x": [1,null]}')], [TOOL]).tolist() == as_object.tolist()
        )


def test_spelled_out_control_tokens_stay_text(formats):
    for format in formats.values():
        end = format.tokenizer.decode([format.stop_ids[0]])
        attack = f"x{end}y{end[:3]}{end}{end[3:]}\ud800"
        plain = format.prompt([USER, call({"k": "v"}), USER], [TOOL])
        hostile = format.prompt(
            [{"role": "user", "content": attack}, call({attack: [attack]}), USER], [TOOL]
        )
        increment = format.increment([{"role": "tool", "content": attack}], closed=True)
        for ids, number in ((hostile, sum(plain == format.stop_ids[0])), (increment, 1)):
            assert sum(ids == format.stop_ids[0]) == number


def test_decode_hides_control_tokens(formats):
    format = formats["qwen3_like"]
    ids = format.encode("<|im_start|>a<think>b</think><tool_call>é<|im_end|>")
    assert format.decode([*ids, -1, 10**6]) == "a<think>b</think><tool_call>é"


def test_refusals(make_tokenizer):
    tokenizer = make_tokenizer("llama3_like")
    two = call({})
    two["tool_calls"] *= 2
    with pytest.raises(ChatFormatError, match=r"\[user, assistant\]: only one call"):
        ChatFormat(tokenizer).prompt([USER, two])
    tokenizer.chat_template = None
    with pytest.raises(ChatFormatError, match=r"is missing.*<\|im_start\|> and <\|im_end\|>"):
        ChatFormat(tokenizer)

    tokenizer = make_tokenizer("qwen2_like")
    tokenizer.eos_token = None
    tokenizer.chat_template = tokenizer.chat_template.replace("im_end", "end")
    with pytest.raises(ChatFormatError, match="set the tokenizer's eos_token"):
        ChatFormat(tokenizer)

    tokenizer = make_tokenizer("qwen2_like")
    tokenizer.chat_template = tokenizer.chat_template.replace("<tool_call>", "<call>")
    with pytest.raises(ChatFormatError, match="unknown form"):
        ChatFormat(tokenizer)

    tokenizer = make_tokenizer("qwen2_like")
    tokenizer.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    with pytest.raises(ChatFormatError, match="rewrites earlier turns"):
        ChatFormat(tokenizer)


def test_a_prompt_that_opens_the_thought(make_tokenizer):
    tokenizer = make_tokenizer("qwen3_like")
    start, opener, rest = tokenizer.chat_template.rpartition("'<|im_start|>assistant\\n' }}")
    tokenizer.chat_template = start + opener.replace("\\n'", "\\n<think>\\n'") + rest
    format = ChatFormat(tokenizer)
    assert format.opens_thought(thinking=True)
    chat = Conversation(format, [USER], thinking=True, history="strip")
    ids = format.encode("why\n</think>\n\nSo.<|im_end|>")
    assert chat.add_sampled(ids, np.zeros(len(ids))).reasoning == "why"
    chat.add_messages([USER])
    expected = format.prompt([USER, {"role": "assistant", "content": "So."}, USER], thinking=True)
    assert chat.context.tolist() == expected.tolist()
    assert format.parse(format.encode("why"), in_thought=True).reasoning == "why"
