"""OpenAI messages, made ready for a chat template."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


class MessageCleaner:
    """Brings messages into the form that templates expect and defuses control tokens in them.

    A special token that is spelled out in a message would be tokenised as that token: whoever
    writes the message (a policy whose words are shown to its judge, a tool) could end its turn and
    speak as another role. A space after the first character makes plain text of it.
    """

    def __init__(self, special_tokens: Iterable[str]) -> None:
        """Takes the texts of the tokenizer's special tokens."""
        longest_first = sorted(filter(None, special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Cleans copies of the messages.

        `content` becomes a string (null: "", a list of parts: their text), `arguments` an object
        where its JSON text is one.
        """
        return [self._message(message) for message in messages]

    def _message(self, message: Message) -> dict[str, Any]:
        cleaned = {key: self._text(value) for key, value in message.items() if key != "tool_calls"}
        content = message.get("content")
        if not isinstance(content, str):
            parts = content if isinstance(content, Sequence) else ()
            texts = (part.get("text", "") if isinstance(part, Mapping) else part for part in parts)
            cleaned["content"] = self._text("".join(map(str, texts)))
        if calls := message.get("tool_calls"):
            cleaned["tool_calls"] = [
                {**call, "function": self._function(call["function"])} for call in calls
            ]
        return cleaned

    def _function(self, function: Mapping[str, Any]) -> dict[str, Any]:
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                parsed = json.loads(arguments or "{}")
            except (ValueError, RecursionError):
                parsed = None
            if isinstance(parsed, dict):
                arguments = parsed
        return {**self._text(function), "arguments": self._text(arguments)}

    def _text(self, value: Any) -> Any:
        if isinstance(value, str):
            text = value.encode("utf-8", "replace").decode()  # JSON can spell lone surrogates
            return self._special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        if isinstance(value, Mapping):
            return {self._text(key): self._text(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._text(item) for item in value]
        return value
