"""What clients send: OpenAI's requests, as far as they are served, checked field by field.

Fields that nobody reads here (`user`, `store`, `metadata`) are accepted and ignored; those that
would change the answer and are not served are refused where they are not neutral.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trustee_jax.serving.errors import ApiError, bad_request
from trustee_jax.text import without_surrogates

MOST_CHOICES = 16
MOST_TOOLS = 128
MOST_TOP_LOGPROBS = 20
MOST_STOPS = 4
_SEED = 2**32

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
_R = TypeVar("_R", bound="GenerationRequest")


class _Part(BaseModel):
    """Whatever a client sends: strictly typed, with room for fields of later protocols."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Function(_Part):
    """A function on offer; what else a client says of it (`response`, ...), templates may show."""

    model_config = ConfigDict(extra="allow")

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolOffer(_Part):
    """A tool on offer."""

    type: Literal["function"]
    function: Function

    def openai(self) -> dict[str, Any]:
        """As chat templates take it."""
        parameters = self.function.parameters or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {
                "name": self.function.name,
                "description": self.function.description or "",
                "parameters": parameters,
                **(self.function.model_extra or {}),
            },
        }


class _NamedFunction(_Part):
    name: Name


class NamedTool(_Part):
    """The tool that is to be called."""

    type: Literal["function"]
    function: _NamedFunction


class _MadeFunction(_Part):
    name: str
    arguments: str


class _MadeCall(_Part):
    id: str
    type: Literal["function"] = "function"
    function: _MadeFunction


class _TextPart(_Part):
    type: Literal["text", "input_text", "output_text", "refusal"]
    text: str | None = None
    refusal: str | None = None


class ChatMessage(_Part):
    """A message of a dialogue."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_TextPart] | None = None
    tool_calls: list[_MadeCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a message of the role 'tool' needs a tool_call_id")
        if self.role != "assistant" and self.tool_calls:
            raise ValueError(f"a message of the role {self.role!r} has no tool_calls")
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content is missing")
        return self

    def openai(self) -> dict[str, Any]:
        """As chat templates take it; text alone, which a tokenizer can encode."""
        content = self.content
        if isinstance(content, list):
            content = "".join(part.text or part.refusal or "" for part in content)
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": without_surrogates(content or "")}
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": without_surrogates(call.function.name),
                        "arguments": without_surrogates(call.function.arguments),
                    },
                }
                for call in self.tool_calls
            ]
        if self.role == "tool":
            message["tool_call_id"] = self.tool_call_id
            message["name"] = self.name or ""
        if self.role == "assistant" and self.reasoning_content:
            message["reasoning_content"] = without_surrogates(self.reasoning_content)
        return message


class _NamedSchema(_Part):
    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Part):
    """The form of the answer's text."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _NamedSchema | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """What the answer is held to; None: nothing."""
        if self.type == "text":
            return None
        return {"type": "object"} if self.json_schema is None else self.json_schema.schema_


class _StreamOptions(_Part):
    include_usage: bool = False


class GenerationRequest(_Part):
    """What both kinds of request have."""

    model: str
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, lt=2**31)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    return_token_ids: bool = False

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        listed = [stop] if isinstance(stop, str) else stop or []
        if len(listed) > MOST_STOPS:
            raise ValueError(f"at most {MOST_STOPS} texts")
        return stop

    @field_validator("presence_penalty", "frequency_penalty", "logit_bias")
    @classmethod
    def _check_unserved(cls, value: Any) -> Any:
        if value:
            raise ValueError("it is not served: leave it out")
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        listed = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(filter(None, listed))

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def seed_number(self) -> int | None:
        """The seed, from 0 below 2**32."""
        return None if self.seed is None else self.seed % _SEED


class ChatRequest(GenerationRequest):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[ToolOffer] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise ValueError("tools: two of them have the same name")
        if self.tool_choice not in (None, "none", "auto") and not names:
            raise ValueError("tool_choice: there are no tools to call")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice: no tool is called {self.tool_choice.function.name!r}")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: needs logprobs to be true")
        held = self.response_format is not None and self.response_format.type != "text"
        if held and names and self.tool_choice != "none":
            raise ValueError(
                "response_format: an answer that may call tools is not held to it: set tool_choice "
                'to "none", or leave one of both out'
            )
        return self

    @property
    def most_tokens(self) -> int | None:
        """The limit on the answer, by its newer name or by the older one."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def thinking(self) -> bool | None:
        """Whether the model shall think; None where the request does not say."""
        said = (self.chat_template_kwargs or {}).get("enable_thinking")
        if isinstance(said, bool):
            return said
        return None if self.reasoning_effort is None else self.reasoning_effort != "none"

    @property
    def offered(self) -> list[ToolOffer]:
        """The tools that may be called."""
        return [] if self.tool_choice == "none" else self.tools or []


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    echo: bool = False
    best_of: int | None = None
    suffix: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, neutral in (("best_of", (None, self.n)), ("suffix", (None, ""))):
            if getattr(self, name) not in neutral:
                raise ValueError(f"{name}: it is not served: leave it out")
        if not self.prompt or not all(self.prompts):
            raise ValueError("prompt: it is empty")
        if len(self.prompts) * self.n > MOST_CHOICES:
            raise ValueError(f"prompt: at most {MOST_CHOICES} answers a request")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or several, as text or as ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[int(id) for id in self.prompt if isinstance(id, int)]]
        return [one for one in self.prompt if isinstance(one, str | list)]


def read_request(kind: type[_R], body: bytes) -> _R:
    """Reads a request's body.

    Raises:
      ApiError: It is no JSON, or a field is missing, of another type or out of range.
    """
    try:
        return kind.model_validate_json(body)
    except pydantic.ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: pydantic.ValidationError) -> ApiError:
    """The first thing that is wrong, and where."""
    # Of alternatives, the one that was most probably meant has gone furthest.
    found = max(error.errors(include_url=False), key=lambda one: len(one["loc"]))
    names = (str(part) for part in found["loc"] if not _is_alternative(part))
    param = ".".join(names) or None
    message = str(found["msg"]).removeprefix("Value error, ")
    if param is None and (named := message.partition(":")[0]) and named.isidentifier():
        param = named
    place = f"{param}: " if param and not message.startswith(f"{param}:") else ""
    return bad_request(without_surrogates(f"{place}{message}"), param)


def _is_alternative(part: Any) -> bool:
    """Whether a step of an error's place names a type of a union, not a field."""
    return isinstance(part, str) and (
        part in ("str", "int") or "[" in part or (part[:1].isupper() or part[:1] == "_")
    )


def dumps(value: Mapping[str, Any]) -> str:
    """JSON as it is sent: one line, any character but lone surrogates."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
