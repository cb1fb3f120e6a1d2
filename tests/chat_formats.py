"""Chat formats of tiny models, for all rooms."""

import pathlib

from trustee_jax.chat import ChatFormat
from trustee_jax.weights import open_checkpoint


def plain() -> ChatFormat:
    """Of a model that does not think."""
    return ChatFormat(open_checkpoint("random:qwen2").tokenizer())


def thinking() -> ChatFormat:
    """Of a model that thinks, with Qwen3's way of dropping old thoughts."""
    tokenizer = open_checkpoint("random:qwen3").tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])
    template = pathlib.Path(__file__).parent / "chat" / "templates" / "qwen3_like.jinja"
    tokenizer.chat_template = template.read_text()
    return ChatFormat(tokenizer)
