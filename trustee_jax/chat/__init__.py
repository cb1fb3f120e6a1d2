"""Messages to tokens and back: chat templates, tool-call parsing, exact conversation tokens."""

from trustee_jax.chat.conversation import Conversation, TokenSequence
from trustee_jax.chat.format import ChatFormat, ChatFormatError
from trustee_jax.chat.lenient import lenient_calls
from trustee_jax.chat.messages import attempts
from trustee_jax.chat.parsing import AssistantTurn, CallSyntax, MalformedCall, ToolCall
from trustee_jax.chat.unmarked import unmarked_calls

__all__ = [
    "AssistantTurn",
    "CallSyntax",
    "ChatFormat",
    "ChatFormatError",
    "Conversation",
    "MalformedCall",
    "TokenSequence",
    "ToolCall",
    "attempts",
    "lenient_calls",
    "unmarked_calls",
]
