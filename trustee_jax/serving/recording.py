"""Conversations as JSON lines, exact to the token: what a trainer of an agent needs."""

from __future__ import annotations

import pathlib
import threading
import time
from typing import Any

from trustee_jax.serving.chat import ChatAnswer, ChatPlan
from trustee_jax.serving.requests import dumps


class Recorder:
    """Adds a line to a file for every finished chat answer."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the file; what it has stays.

        Raises:
          OSError: It cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", errors="replace")
        self._lock = threading.Lock()

    def add(self, plan: ChatPlan, answer: ChatAnswer) -> None:
        """Writes what was asked and answered, with token ids and log-probabilities."""
        sampling = plan.writings[0].sampling
        choices: list[dict[str, Any]] = [
            {
                "message": choice.message(),
                "finish_reason": choice.finish,
                "token_ids": [token.id for token in choice.tokens],
                "logprobs": [token.logprob for token in choice.tokens],
            }
            for choice in answer.choices
        ]
        line = {
            "id": answer.id,
            "time": time.time(),
            "model": plan.model.name,
            "weights": plan.model.fingerprint,
            "messages": [message.openai() for message in plan.request.messages],
            "tools": [tool.openai() for tool in plan.request.offered],
            "temperature": sampling.temperature,
            "prompt_token_ids": plan.prompt.tolist(),
            "choices": choices,
        }
        with self._lock:
            self._file.write(dumps(line) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
