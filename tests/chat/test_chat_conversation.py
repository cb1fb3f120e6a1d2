"""Cut turns, cut thoughts and misuse; exactness in general is in test_chat_exactness.py."""

import numpy as np
import pytest

from trustee_jax.chat import ChatFormat, Conversation

USER = {"role": "user", "content": "Hi"}


@pytest.fixture
def qwen3(make_tokenizer):
    return ChatFormat(make_tokenizer("qwen3_like"))


def sample(chat, format, text):
    ids = format.encode(text)
    return chat.add_sampled(ids, np.full(len(ids), -1.0))


def test_append_keeps_thoughts_in_one_sequence(qwen3):
    chat = Conversation(qwen3, [USER], thinking=True, history="append")
    assert chat.sequences() == ()
    sample(chat, qwen3, "<think>\nwhy\n</think>\n\nYes?<|im_end|>")
    chat.add_messages([USER])
    sample(chat, qwen3, "<think>\nhow\n</think>\n\nSo.<|im_end|>")
    (sequence,) = chat.sequences()
    assert qwen3.tokenizer.decode(sequence.tokens) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nwhy\n</think>\n\nYes?<|im_end|>"
        "\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nhow\n</think>\n\nSo.<|im_end|>"
    )
    assert sequence.prompt_length == len(qwen3.prompt([USER], thinking=True))


def test_strip_cuts_thoughts_when_a_user_speaks(qwen3):
    chat = Conversation(qwen3, [USER], thinking=True, history="strip")
    sample(chat, qwen3, "<think>\nwhy\n</think>\n\n<tool_call>\n{}\n</tool_call><|im_end|>")
    chat.add_messages([{"role": "tool", "content": "12"}])
    assert "why" in qwen3.decode(chat.context)
    sample(chat, qwen3, "<think>\nhow\n</think>\n\nSo.<|im_end|>")
    chat.add_messages([USER])
    text = qwen3.tokenizer.decode(chat.context)
    assert text == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{}\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n12\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nSo.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert len(chat.sequences()) == 1  # nothing was sampled from the new context yet
    sample(chat, qwen3, "Bye")
    first, second = chat.sequences()
    assert qwen3.decode(second.tokens[second.sampled]) == "Bye"
    assert "how" in qwen3.decode(first.tokens[first.sampled])


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("<think>\nwhy", ""),
        ("<think>\nwhy<|im_end|>", ""),
        ("<think>", ""),
        ("<think>a</think>\n\n", ""),
        ("<think>a</think>\n\nx <think>b", "x "),
        ("", ""),
        ("So", "So"),
        ("<|endoftext|>", "<|endoftext|>"),
    ],
)
def test_strip_of_unusual_turns(qwen3, written, left):
    chat = Conversation(qwen3, [USER], thinking=True, history="strip")
    sample(chat, qwen3, written)
    chat.add_messages([USER])
    end = "" if left == "<|endoftext|>" else "<|im_end|>"
    assert qwen3.tokenizer.decode(chat.context) == (
        f"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n{left}{end}\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_strip_finds_thoughts_after_an_earlier_cut(qwen3):
    """The template drops the empty thought of the prompt at once, a real one when a user speaks."""
    chat = Conversation(qwen3, [USER], thinking=False, history="strip")
    sample(chat, qwen3, "<think>why</think>\n\nWait.<|im_end|>")
    chat.add_messages([{"role": "tool", "content": "12"}])
    opening = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    text = qwen3.tokenizer.decode(chat.context)
    assert text.startswith(opening + "<think>why</think>\n\nWait.<|im_end|>")
    sample(chat, qwen3, "So.<|im_end|>")
    chat.add_messages([USER])
    assert qwen3.tokenizer.decode(chat.context).startswith(opening + "Wait.<|im_end|>")
    assert len(chat.sequences()) == 2


def test_odd_ids_are_kept_as_sampled(make_tokenizer):
    """Ids that no encoding of their text gives stay as they are in context and sequences."""
    format = ChatFormat(make_tokenizer("no_tools"))
    letters = [int(id) for letter in "weather" for id in format.encode(letter)]
    ids = [*letters, *format.encode("<|im_start|>\n").tolist(), 200]
    assert format.encode(format.tokenizer.decode(ids)).tolist() != ids
    chat = Conversation(format, [USER])
    prompt = chat.context
    chat.add_sampled(ids, np.arange(len(ids)))
    chat.add_messages([USER])
    assert chat.context[len(prompt) :][: len(ids)].tolist() == ids
    (sequence,) = chat.sequences()
    assert sequence.tokens.tolist() == [*prompt, *ids]
    assert sequence.logprobs.tolist() == [0] * len(prompt) + list(range(len(ids)))


def test_misuse(qwen3):
    with pytest.raises(ValueError, match=r'history = .*use "append" or "strip"'):
        Conversation(qwen3, [USER], history="drop")
    chat = Conversation(qwen3, [USER])
    with pytest.raises(ValueError, match="add_sampled before add_messages"):
        chat.add_messages([USER])
    with pytest.raises(ValueError, match="equally long"):
        chat.add_sampled([1, 2], [0.0])
    chat.add_sampled([1], [0.0])
    with pytest.raises(ValueError, match="call add_messages"):
        chat.add_sampled([1], [0.0])


def tool(name):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": name, "description": f"Tool {name}.", "parameters": parameters}
    return {"type": "function", "function": function}


@pytest.mark.parametrize("template", ["qwen2_like", "qwen3_like", "llama3_like", "no_tools"])
@pytest.mark.parametrize("history", ["append", "strip"])
def test_replaced_tools_are_those_of_a_dialogue_rendered_anew(make_tokenizer, template, history):
    format = ChatFormat(make_tokenizer(template))
    chat = Conversation(format, [USER], [tool("find")], history=history)
    assert "book" not in format.decode(chat.context)
    sample(chat, format, "Hello.")
    chat.add_messages([USER])
    sample(chat, format, "Yes?")
    both = [tool("find"), tool("book")]
    chat.replace_tools(both)
    chat.add_messages([{"role": "user", "content": "Book it."}])
    said = [USER, {"role": "assistant", "content": "Hello."}, USER]
    said += [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Book it."}]
    if not format.thinks or history == "strip":
        assert chat.context.tolist() == format.prompt(said, both).tolist()
    assert "book" in format.decode(chat.context)
    sample(chat, format, "Done.")
    # Every turn is marked once, in a sequence that ends before the tools change.
    marked = [format.decode(part.tokens[part.sampled]) for part in chat.sequences()]
    assert "".join(marked) == "Hello.Yes?Done." and marked[-1] == "Done."
    chat.replace_tools([tool("find")])
    assert "book" not in format.decode(chat.context)
