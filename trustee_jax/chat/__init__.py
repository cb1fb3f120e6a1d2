"""Messages to tokens and back: chat templates, tool-call parsing, exact conversation tokens."""

from trustee_jax.chat.conversation import Conversation, Sequence
from trustee_jax.chat.format import ChatFormat, ChatFormatError
from trustee_jax.chat.parsing import AssistantTurn, MalformedCall, ToolCall

__all__ = [
    "AssistantTurn",
    "ChatFormat",
    "ChatFormatError",
    "Conversation",
    "MalformedCall",
    "Sequence",
    "ToolCall",
]
