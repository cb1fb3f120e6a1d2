"""POST /v1/chat/completions: from a request to what the model writes, and back to OpenAI's form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from trustee_jax import streams
from trustee_jax.chat import CallSyntax, ChatFormatError
from trustee_jax.chat.parsing import ToolCall
from trustee_jax.engine import Sampling
from trustee_jax.environment.help import call_schema
from trustee_jax.serving.answers import Answer
from trustee_jax.serving.errors import bad_request
from trustee_jax.serving.generation import HeldCalls, Piece, Token, Writing, write
from trustee_jax.serving.models import ServedModel
from trustee_jax.serving.reading import TurnDelta, TurnStream
from trustee_jax.serving.requests import ChatRequest, GenerationRequest, NamedTool, ToolOffer
from trustee_jax.serving.token_texts import TokenTexts
from trustee_jax.serving.worker import EngineWorker
from trustee_jax.toolsets import Tool
from trustee_jax.toolsets.schema import function_problems

Finish = Literal["stop", "length", "tool_calls"]
_LEAST_TEMPERATURE = 0.01


@dataclass(frozen=True)
class ChatDelta:
    """What a choice has gained.

    Attributes:
      choice: Which.
      turn: Reasoning, words and calls.
      tokens: The tokens that came with it.
      finish: How the choice ended; None while it has not.
    """

    choice: int
    turn: TurnDelta
    tokens: tuple[Token, ...]
    finish: Finish | None


@dataclass(frozen=True, eq=False)
class ChatPlan:
    """A request that can be served.

    Attributes:
      request: What the client sent.
      model: Which model answers.
      writings: What is written, for each choice.
      syntax: The form in which calls are read; None where there are none to be made.
    """

    request: ChatRequest
    model: ServedModel
    writings: tuple[Writing, ...]
    syntax: CallSyntax | None

    @property
    def prompt(self) -> np.ndarray:
        """int32[n], what all choices go on from."""
        return self.writings[0].prompt


def plan_chat(request: ChatRequest, model: ServedModel) -> ChatPlan:
    """Turns a request into what is to be written.

    Raises:
      ApiError: The dialogue, its tools or its limits cannot be served.
    """
    format = model.format
    thinking = model.thinking if request.thinking is None else request.thinking
    thinking = thinking and format.thinks
    offered = request.offered
    messages = [message.openai() for message in request.messages]
    tools = [tool.openai() for tool in offered] or None
    try:
        prompt = format.prompt(messages, tools, thinking=thinking)
    except ChatFormatError as error:
        raise bad_request(str(error), "messages") from None
    calls = _held_calls(request, offered, format.call_syntax)
    schema = None if request.response_format is None else request.response_format.schema_of_answer
    first, *others = keys_of(request, request.n)
    writing = Writing(
        prompt=prompt,
        max_tokens=answer_room(prompt, request.most_tokens, model),
        sampling=sampling_of(request, model),
        key=first,
        stops=request.stops,
        top_logprobs=request.top_logprobs or 0,
        schema=schema,
        calls=calls,
        in_thought=format.opens_thought(thinking=thinking),
    )
    writings = (writing, *(dataclasses.replace(writing, key=key) for key in others))
    return ChatPlan(request, model, writings, format.call_syntax if offered else None)


def answer_room(prompt: np.ndarray, wanted: int | None, model: ServedModel) -> int:
    """Most tokens of an answer.

    Raises:
      ApiError: They do not fit behind the prompt.
    """
    room = model.max_length - len(prompt)
    if room < (wanted or 1):
        asked = f" and {wanted} of the answer" if wanted else ""
        raise bad_request(
            f"this model's context holds {model.max_length} tokens, and the request has "
            f"{len(prompt)} of the prompt{asked}: shorten one of them",
            "messages",
            "context_length_exceeded",
        )
    return wanted or room


def sampling_of(request: GenerationRequest, model: ServedModel) -> Sampling:
    """How tokens are drawn: as the request says, else as the model's default is."""
    default = model.sampling
    temperature = default.temperature if request.temperature is None else request.temperature
    top_p = default.top_p if request.top_p is None else request.top_p
    # As good as the likeliest token, which is what is then taken.
    if temperature < _LEAST_TEMPERATURE or not top_p:
        return Sampling(temperature=0.0)
    return Sampling(temperature, top_p, default.top_k if request.top_k is None else request.top_k)


def keys_of(request: GenerationRequest, count: int) -> list[tuple[int, int]]:
    """What the draws of each answer follow from: the client's seed, or chance."""
    seed = request.seed_number
    return [(streams.chance_seed() if seed is None else seed, place) for place in range(count)]


def _held_calls(
    request: ChatRequest, offered: Sequence[ToolOffer], syntax: CallSyntax
) -> HeldCalls | None:
    """How calls are held to grammars: none unless one must come, or a tool is strict.

    Raises:
      ApiError: The parameters of a tool are no schema.
    """
    choice = request.tool_choice
    first = choice == "required" or isinstance(choice, NamedTool)
    if not offered or not (first or any(tool.function.strict for tool in offered)):
        return None
    if isinstance(choice, NamedTool):
        offered = [tool for tool in offered if tool.function.name == choice.function.name]
    tools = []
    for tool in offered:
        made = tool.openai()["function"]
        # A grammar is made of them; others only a template reads.
        sketch = {"name": "tool", "description": "tool", "parameters": made["parameters"]}
        if problems := function_problems(sketch):
            raise bad_request(f"tools: {made['name']}: {problems[0]}", "tools")
        tools.append(Tool(made["name"], made["description"], made["parameters"], "user"))
    # A named tool is called once, as OpenAI does it. Without tags, words behind a call would make
    # words of it, too.
    once = request.parallel_tool_calls is False or isinstance(choice, NamedTool) or not syntax.tags
    return HeldCalls(call_schema(tools, syntax), first, several=not once)


async def write_choice(
    worker: EngineWorker, plan: ChatPlan, choice: int
) -> AsyncGenerator[ChatDelta]:
    """Yields what one choice gains, up to its end.

    Raises:
      ApiError: See `write`.
    """
    writing, request = plan.writings[choice], plan.request
    turn = TurnStream(plan.syntax, writing.in_thought)
    several = request.parallel_tool_calls is not False
    made = 0
    pieces = write(worker, plan.model, writing)
    try:
        async for piece in pieces:
            delta = turn.add(piece.text)
            if piece.finish:
                delta += turn.end()
            # Without parallel calls the first one is the last.
            over = bool(delta.calls) and not several
            if over:
                delta = dataclasses.replace(delta, calls=delta.calls[:1])
            made += len(delta.calls)
            finish = _finish(piece, made, over=over)
            if delta or piece.tokens or finish:
                yield ChatDelta(choice, delta, piece.tokens, finish)
            if finish:
                return
    finally:
        await pieces.aclose()


def _finish(piece: Piece, made: int, *, over: bool) -> Finish | None:
    if not (piece.finish or over):
        return None
    if made and (over or piece.finish == "stop"):
        return "tool_calls"
    return piece.finish


@dataclass
class ChatChoice:
    """A choice as far as it has come.

    Attributes:
      reasoning: Its thoughts.
      content: Its words.
      calls: Its calls, each with its id.
      tokens: Its tokens.
      finish: How it ended; None while it has not.
    """

    reasoning: str = ""
    content: str = ""
    calls: list[tuple[str, ToolCall]] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    finish: Finish | None = None

    def add(self, delta: ChatDelta) -> list[tuple[str, ToolCall]]:
        """Takes a delta; returns its calls with their ids."""
        self.reasoning += delta.turn.reasoning
        self.content += delta.turn.content
        new = [(f"call_{streams.chance_id()}", call) for call in delta.turn.calls]
        self.calls += new
        self.tokens += delta.tokens
        self.finish = delta.finish
        return new

    def message(self) -> dict[str, Any]:
        """As an OpenAI message."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self.content or (None if self.calls else ""),
            "refusal": None,
        }
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [_call(id, call) for id, call in self.calls]
        return message


def _call(id: str, call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


class ChatAnswer(Answer[ChatDelta]):
    """The choices of a chat request; see `Answer`.

    Attributes:
      choices: As far as they have come.
    """

    def __init__(self, plan: ChatPlan, texts: TokenTexts) -> None:
        """Names the answer.

        Args:
          plan: What is answered.
          texts: Of the model's tokens.
        """
        self._plan = plan
        self.choices = [ChatChoice() for _ in plan.writings]
        super().__init__(plan, texts, self.choices, "chatcmpl", "chat.completion.chunk")

    def write(self, worker: EngineWorker, choice: int) -> AsyncGenerator[ChatDelta]:
        """See `Answer.write`."""
        return write_choice(worker, self._plan, choice)

    def add(self, delta: ChatDelta) -> list[tuple[str, ToolCall]]:
        """Takes a delta; returns its calls with their ids."""
        return self.choices[delta.choice].add(delta)

    def response(self) -> dict[str, Any]:
        """The whole answer."""
        request = self._plan.request
        choices = []
        for index, choice in enumerate(self.choices):
            shown: dict[str, Any] = {
                "index": index,
                "message": choice.message(),
                "logprobs": self._logprobs(choice.tokens),
                "finish_reason": choice.finish,
            }
            if request.return_token_ids:
                shown["token_ids"] = [token.id for token in choice.tokens]
            choices.append(shown)
        response = self._head("chat.completion") | {"choices": choices, "usage": self.usage()}
        if request.return_token_ids:
            response["prompt_token_ids"] = self._plan.prompt.tolist()
        return response

    def opening(self, choice: int) -> list[dict[str, Any]]:
        """The first chunk of a choice."""
        chunk = self._chunk(choice, {"role": "assistant", "content": ""})
        if self._plan.request.return_token_ids and not choice:
            chunk["prompt_token_ids"] = self._plan.prompt.tolist()
        return [chunk]

    def chunks(self, delta: ChatDelta) -> list[dict[str, Any]]:
        """Takes a delta; returns the chunks that tell of it."""
        first = len(self.choices[delta.choice].calls)
        new = self.add(delta)
        told: list[dict[str, Any]] = []
        if delta.turn.reasoning:
            told.append({"reasoning_content": delta.turn.reasoning})
        if delta.turn.content:
            told.append({"content": delta.turn.content})
        for place, (id, call) in enumerate(new, first):
            whole = _call(id, call)
            arguments = whole["function"].pop("arguments")
            opened = {**whole, "function": {**whole["function"], "arguments": ""}}
            told.append({"tool_calls": [{"index": place, **opened}]})
            told.append({"tool_calls": [{"index": place, "function": {"arguments": arguments}}]})
        request = self._plan.request
        if not told and delta.tokens and (request.logprobs or request.return_token_ids):
            told.append({})
        chunks = [self._chunk(delta.choice, one) for one in told]
        if chunks and delta.tokens:
            (shown,) = chunks[0]["choices"]
            shown["logprobs"] = self._logprobs(delta.tokens)
            if request.return_token_ids:
                shown["token_ids"] = [token.id for token in delta.tokens]
        if delta.finish:
            chunks.append(self._chunk(delta.choice, {}, delta.finish))
        return chunks

    def _chunk(
        self, choice: int, delta: dict[str, Any], finish: Finish | None = None
    ) -> dict[str, Any]:
        return self._chunk_of(
            {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}
        )

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self._plan.request.logprobs:
            return None
        content = []
        for token in tokens:
            top = [self._texts.entry(id, logprob) for id, logprob in token.top]
            content.append(self._texts.entry(token.id, token.logprob) | {"top_logprobs": top})
        return {"content": content, "refusal": None}
