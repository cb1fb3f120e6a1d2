"""Serving until the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn

from trustee_jax.errors import ConfigError, one_line
from trustee_jax.serving import jetstream
from trustee_jax.serving.app import Server
from trustee_jax.serving.models import ServedModel

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 2048  # connections that wait to be accepted
_LAST_WORDS = 5  # seconds in which clients are told that they will get no more


def serve_jetstream(model: ServedModel, host: str, port: int) -> None:
    """Answers with JetStream's server until SIGTERM or SIGINT.

    Args:
      model: What answers.
      host: Address to listen on.
      port: Port to listen on.

    Raises:
      JetStreamError: JetStream is missing.
    """
    stop = threading.Event()
    before = {one: signal.signal(one, lambda *_: stop.set()) for one in _SIGNALS}
    try:
        with jetstream.running(model, host, port):
            print(f"serving JetStream on {host}:{port}", flush=True)
            stop.wait()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class _Server(uvicorn.Server):
    """One that ends as a command does that was told to: with status 0, and all answers ended."""

    def __init__(self, config: uvicorn.Config, answers: Server, drain: float) -> None:
        super().__init__(config)
        self._answers, self._drain = answers, drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Waits for answers, and tells those that take too long that they will not come."""
        stopping = asyncio.get_running_loop().call_later(self._drain, self._answers.stop)
        await super().shutdown(sockets)
        stopping.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Has signals end the server, and not, once it has ended, the process too."""
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def listen(host: str, port: int) -> socket.socket:
    """Takes an address and a port, before models are loaded for it.

    Args:
      host: Address to listen on.
      port: Port to listen on; 0 takes a free one.

    Raises:
      ConfigError: They cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        fix = f"name an address of this machine and a free port ({one_line(error)})"
        raise ConfigError("port", f"{host}:{port}", fix) from None


@contextlib.contextmanager
def running(server: Server, listening: socket.socket) -> Iterator[str]:
    """Answers requests in a thread of its own while it is entered.

    Args:
      server: What answers; it is closed in the end, and what is under way ends with an error.
      listening: From `listen`; it is closed in the end.

    Yields:
      The URL of its root.
    """
    http = uvicorn.Server(_configuration(server, drain=0.0))
    thread = threading.Thread(target=http.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield _url(listening)
    finally:
        http.should_exit = True
        server.stop()
        thread.join()
        server.close()
        listening.close()


def serve(server: Server, listening: socket.socket, *, drain: float) -> None:
    """Answers requests until SIGTERM or SIGINT; what was accepted before is answered.

    Args:
      server: What answers.
      listening: From `listen`; it is closed in the end.
      drain: Seconds that answers under way get to end once it was told to stop; those that take
        longer end with an error.
    """
    print(f"serving on {_url(listening)}", flush=True)
    try:
        _Server(_configuration(server, drain), server, drain).run(sockets=[listening])
    finally:
        server.close()
        listening.close()


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _configuration(server: Server, drain: float) -> uvicorn.Config:
    return uvicorn.Config(
        server.app,
        log_config=None,  # what it has to say goes where the process logs to
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=math.ceil(drain) + _LAST_WORDS,
        server_header=False,
    )
