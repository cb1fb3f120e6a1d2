"""Serving until the process is told to stop."""

from __future__ import annotations

import socket

import uvicorn

from trustee_jax.errors import ConfigError, one_line
from trustee_jax.serving.app import Server


def serve(server: Server, host: str, port: int, *, drain: float) -> None:
    """Answers requests until SIGTERM or SIGINT; what was accepted before is answered.

    Args:
      server: What answers.
      host: Address to listen on.
      port: Port to listen on; 0 takes a free one.
      drain: Seconds that answers under way get to end once it was told to stop.

    Raises:
      ConfigError: Address or port cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        fix = f"name an address of this machine and a free port ({one_line(error)})"
        raise ConfigError("port", f"{host}:{port}", fix) from None
    shown = f"[{host}]" if ":" in host else host
    print(f"serving on http://{shown}:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        server.app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(drain)),
        server_header=False,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        server.close()
        listening.close()
