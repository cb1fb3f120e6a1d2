"""The HTTP application: routes, limits, errors."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from trustee_jax.errors import ConfigError
from trustee_jax.serving.answers import Answer, Delta, Plan
from trustee_jax.serving.chat import ChatAnswer, plan_chat
from trustee_jax.serving.completions import CompletionAnswer, plan_completion
from trustee_jax.serving.errors import ApiError
from trustee_jax.serving.generation import Token
from trustee_jax.serving.metrics import Metrics
from trustee_jax.serving.models import ServedModel, ServedModels
from trustee_jax.serving.recording import Recorder
from trustee_jax.serving.requests import ChatRequest, CompletionRequest, dumps, read_request
from trustee_jax.serving.token_texts import TokenTexts
from trustee_jax.serving.worker import EngineWorker

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_LAST_STEP = 30.0  # seconds that the engines' thread gets to end its step
_CLOSED = 499  # a client that went away, as nginx counts it


@dataclasses.dataclass(frozen=True)
class ServeLimits:
    """What a server takes on.

    Attributes:
      api_key: What clients must present as a bearer token; None: nothing.
      queue: Requests under way and waiting; further ones are told to try again.
      deadline: Seconds that an answer may take.
      body: Bytes of a request.
    """

    api_key: str | None = None
    queue: int = 256
    deadline: float = 600.0
    body: int = 4 * 2**20

    def __post_init__(self) -> None:
        """Checks every number."""
        for name in ("queue", "deadline", "body"):
            if getattr(self, name) <= 0:
                raise ConfigError(name, getattr(self, name), "it must be above 0")
        if self.api_key == "":
            raise ConfigError("api_key", self.api_key, "leave it out to ask for none")


class Server:
    """Answers requests; the routes of `app` are its methods.

    Attributes:
      app: The ASGI application.
    """

    def __init__(
        self,
        models: ServedModels,
        limits: ServeLimits | None = None,
        *,
        recorder: Recorder | None = None,
    ) -> None:
        """Starts the engines' thread.

        Args:
          models: What is served. Nobody else may use their engines.
          limits: What is taken on.
          recorder: Gets finished conversations.
        """
        self._models = models
        self._limits = limits or ServeLimits()
        self._recorder = recorder
        self._worker = EngineWorker(models.engines, self._limits.queue)
        self._metrics = Metrics(self._worker, models.engines)
        self._texts = {name: TokenTexts(model.format) for name, model in models.items()}
        self._started = int(time.time())
        routes = [
            Route("/v1/chat/completions", self._guard(self._chat), methods=["POST"]),
            Route("/v1/completions", self._guard(self._complete), methods=["POST"]),
            Route("/v1/models", self._guard(self._list), methods=["GET"]),
            Route("/v1/models/{name:path}", self._guard(self._show), methods=["GET"]),
            Route("/metrics", self._guard(self._measure), methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
        ]
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})

    def stop(self) -> None:
        """Ends the answers that are under way with an error."""
        message = "the server is stopping, and waits no longer for the answer: ask again"
        self._worker.stop(ApiError(503, message, code="stopping"))

    def close(self) -> None:
        """Ends the engines' thread; what is under way is lost."""
        self._worker.close(_LAST_STEP)

    # Endpoints.

    async def _chat(self, request: Request) -> Response:
        asked = read_request(ChatRequest, await self._body(request))
        model = self._models[asked.model]
        plan = await asyncio.to_thread(plan_chat, asked, model)
        answer = ChatAnswer(plan, self._texts[model.name])

        def record() -> None:
            if self._recorder is not None:
                self._recorder.add(plan, answer)

        return await self._answer(request, plan, answer, record)

    async def _complete(self, request: Request) -> Response:
        asked = read_request(CompletionRequest, await self._body(request))
        model = self._models[asked.model]
        plan = await asyncio.to_thread(plan_completion, asked, model)
        return await self._answer(request, plan, CompletionAnswer(plan, self._texts[model.name]))

    async def _answer(
        self,
        request: Request,
        plan: Plan,
        answer: Answer[Any],
        on_end: Callable[[], None] = lambda: None,
    ) -> Response:
        """Has all choices written, and says them as the client wants it."""
        count, watch = len(plan.writings), _Watch(self._metrics, answer.prompt_tokens)
        choices = [answer.write(self._worker, choice) for choice in range(count)]
        deltas = _merged(choices, self._limits.deadline)

        async def events(first: Delta | None) -> AsyncGenerator[dict[str, Any]]:
            for choice in range(count):
                for chunk in answer.opening(choice):
                    yield chunk
            async for delta in _chained(first, deltas):
                watch.saw(delta.tokens)
                for chunk in answer.chunks(delta):
                    yield chunk
            if plan.request.include_usage:
                yield answer.usage_chunk()
            watch.end()
            on_end()

        async def collect() -> Response:
            async for delta in deltas:
                watch.saw(delta.tokens)
                answer.add(delta)
            watch.end()
            on_end()
            return JSONResponse(answer.response())

        if plan.request.stream:
            # What cannot be served shows by the first delta: an error, not the end of a stream.
            first = await _while_connected(request, anext(deltas, None), deltas)
            return _EventStream(events(first))
        return await _while_connected(request, collect(), deltas)

    async def _list(self, request: Request) -> Response:
        listed = [self._described(model) for model in self._models.values()]
        return JSONResponse({"object": "list", "data": listed})

    async def _show(self, request: Request) -> Response:
        return JSONResponse(self._described(self._models[request.path_params["name"]]))

    def _described(self, model: ServedModel) -> dict[str, Any]:
        return {
            "id": model.name,
            "object": "model",
            "created": self._started,
            "owned_by": "trustee-jax",
            "max_model_len": model.max_length,
        }

    async def _measure(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=self._metrics.content_type)

    async def _health(self, request: Request) -> Response:
        if self._worker.alive:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "the engine's thread has ended"}, status_code=503)

    # Around them.

    def _guard(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that asks for the key, and whose errors are said in OpenAI's form."""

        async def guarded(request: Request) -> Response:
            try:
                self._check_key(request)
                response = await endpoint(request)
            except ApiError as error:
                response = _refusal(error)
            except ClientDisconnect:
                response = Response(status_code=_CLOSED)
            except HTTPException:
                raise
            except Exception:
                _log.exception("an unexpected error in %s", request.url.path)
                response = _refusal(ApiError(500, "an unexpected error: see the server's log"))
            self._metrics.requests.labels(request.scope["route"].path, response.status_code).inc()
            return response

        return guarded

    def _check_key(self, request: Request) -> None:
        key = self._limits.api_key
        if key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # In a time that tells nothing of how much was right.
        right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), key.encode())
        if scheme.lower() != "bearer" or not right:
            raise ApiError(
                401,
                "the API key is wrong or missing: send it as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
            )

    async def _body(self, request: Request) -> bytes:
        most, body = self._limits.body, bytearray()
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise ApiError(
                    413, f"the request is longer than {most:,} bytes", code="request_too_large"
                )
        return bytes(body)


class _Watch:
    """Times one request."""

    def __init__(self, metrics: Metrics, prompt_tokens: int) -> None:
        self._metrics, self._prompt_tokens = metrics, prompt_tokens
        self._start = time.monotonic()
        self._first: float | None = None
        self._count = 0

    def saw(self, tokens: Sequence[Token]) -> None:
        if tokens and self._first is None:
            self._first = time.monotonic()
            self._metrics.first_token.observe(self._first - self._start)
            self._metrics.prompt_tokens.inc(self._prompt_tokens)
        self._count += len(tokens)
        self._metrics.answer_tokens.inc(len(tokens))

    def end(self) -> None:
        now = time.monotonic()
        self._metrics.duration.observe(now - self._start)
        if self._first is not None and self._count > 1:
            self._metrics.token.observe((now - self._first) / (self._count - 1))


class _EventStream(StreamingResponse):
    """Chunks as server-sent events; an error on the way is the last of them."""

    def __init__(self, chunks: AsyncGenerator[dict[str, Any]]) -> None:
        super().__init__(
            _events(chunks),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )


async def _events(chunks: AsyncGenerator[dict[str, Any]]) -> AsyncGenerator[bytes]:
    try:
        async for chunk in chunks:
            yield _event(dumps(chunk))
        yield _event("[DONE]")
    except ApiError as error:
        yield _event(dumps(error.body()))
    except Exception:
        _log.exception("an unexpected error in a stream")
        yield _event(dumps(ApiError(500, "an unexpected error: see the server's log").body()))
    finally:
        with contextlib.suppress(Exception):
            await chunks.aclose()


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode("utf-8", "replace")


async def _merged(choices: Sequence[AsyncGenerator[_T]], deadline: float) -> AsyncGenerator[_T]:
    """What several choices gain, as it comes.

    Raises:
      ApiError: One of them failed, or they took longer than the deadline.
    """
    queue: asyncio.Queue[_T | Exception | None] = asyncio.Queue()

    async def pump(choice: AsyncGenerator[_T]) -> None:
        try:
            async for delta in choice:
                queue.put_nowait(delta)
            queue.put_nowait(None)
        except Exception as error:
            queue.put_nowait(error)
        finally:
            await choice.aclose()

    pumps = [asyncio.ensure_future(pump(choice)) for choice in choices]
    end = asyncio.get_running_loop().time() + deadline
    left = len(pumps)
    try:
        while left:
            try:
                async with asyncio.timeout_at(end):
                    event = await queue.get()
            except TimeoutError:
                raise ApiError(
                    504,
                    f"the answer took longer than {deadline:g} seconds, which is the limit: ask "
                    "for fewer tokens",
                    code="deadline_exceeded",
                ) from None
            if isinstance(event, Exception):
                raise event
            if event is None:
                left -= 1
            else:
                yield event
    finally:
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _chained(first: _T | None, rest: AsyncGenerator[_T]) -> AsyncGenerator[_T]:
    try:
        if first is not None:
            yield first
            async for one in rest:
                yield one
    finally:
        await rest.aclose()


async def _while_connected(
    request: Request, work: Awaitable[_T], deltas: AsyncGenerator[Any]
) -> _T:
    """Waits for work as long as the client does; if it fails, what is under way is dropped.

    Raises:
      ClientDisconnect: The client went away.
    """

    async def finish() -> _T:
        return await work

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(finish()), asyncio.ensure_future(gone())
    done = False
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        result = working.result()
        done = True
        return result
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
        if not done:
            await deltas.aclose()


def _refusal(error: ApiError) -> Response:
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not served"}
    message = said.get(error.status_code, str(error.detail))
    return _refusal(ApiError(error.status_code, message))
