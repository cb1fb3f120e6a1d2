"""An engine that answers the verifier's questions with probabilities that a function makes up."""

import json
import math
from collections.abc import Callable

import numpy as np

from trustee_jax.chat import ChatFormat
from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.streams import Purpose

MEANINGS = {
    "intent_met": "the user got everything",
    "calls_correct": "the expected tools were called",
    "no_hallucination": "was made up?",
    "no_waste": "no call was redundant",
    "concise": "as few and as short",
}


class ScriptedVerifier:
    """Answers with `opinion(criterion, prompt)`: the probability of met; None: no usable answer.

    Its reasons are `reasons(criterion, prompt)`.
    """

    def __init__(
        self,
        format: ChatFormat,
        opinion: Callable[[str, str], float | None],
        reasons: Callable[[str, str], str] = lambda criterion, prompt: "So it is.",
    ):
        self.format, self.opinion, self.reasons = format, opinion, reasons
        self.asked: list[str] = []
        self.keys: set[tuple[int, ...]] = set()
        self.most_pending = 0
        self.pending: list[tuple[int, Completion]] = []

    @property
    def idle(self) -> bool:
        return not self.pending

    def cancel(self) -> None:
        self.pending.clear()

    def submit(self, request: Request) -> int:
        assert request.key not in self.keys, "two requests share a key"
        Purpose(request.key[0])  # or it could share it with anything
        self.keys.add(request.key)
        prompt = self.format.tokenizer.decode(request.tokens)
        question = prompt[prompt.rindex("Is this true of the conversation:") :]
        (criterion,) = (name for name, text in MEANINGS.items() if text in question)
        probability = self.opinion(criterion, prompt)
        if probability is None:
            raise RequestError("no room")
        self.asked.append(criterion)
        answer = {"line": 1, "met": probability >= 0.5}
        if "reasoning" in request.schema["properties"]:
            answer = {"reasoning": self.reasons(criterion, prompt), **answer}
        ids = self.format.encode(json.dumps(answer, separators=(",", ":")))
        first = [self.format.decode([token])[0] for token in request.report_logits_of]
        row = np.full(len(first), -1e9, np.float32)
        row[first.index("t")] = math.log(probability)
        row[first.index("f")] = math.log(1 - probability)
        logits = np.tile(row, (len(ids), 1))
        completion = Completion(ids, np.zeros(len(ids), np.float32), "stop", logits)
        self.pending.append((len(self.asked), completion))
        self.most_pending = max(self.most_pending, len(self.pending))
        return len(self.asked)

    def step(self) -> list[tuple[int, Completion]]:
        return [self.pending.pop()]
