"""A benchmark's data and checkers in a process of their own, which may hang or die."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from trustee_jax.errors import InputError, one_line
from trustee_jax.storage import Closing

BFCL_WORKER = pathlib.Path(__file__).with_name("bfcl_worker.py")


class CheckerError(InputError):
    """The checkers cannot be used at all: their process does not even say what it is."""


class RequestFailure(Exception):
    """The process hung, died or raised something over one request; the next one is served again."""


class Checker(Closing):
    """Asks the process, one request at a time, and starts it again where it was lost.

    Requests hold all that they need, so that nothing is lost with a process but its request.

    Attributes:
      description: What the process says that it is.
      restarts: How often it had to be started again.
    """

    def __init__(
        self, python: pathlib.Path, worker: pathlib.Path = BFCL_WORKER, *, timeout: float = 60.0
    ) -> None:
        """Starts the process.

        Args:
          python: The interpreter of the environment in which the checkers are installed.
          worker: The script that serves the requests.
          timeout: Seconds that a request may take.

        Raises:
          CheckerError: It does not start, or lacks what it needs.
        """
        self._command = [str(python), "-I", str(worker)]
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="trustee-checker-")
        self._requests = 0
        self.restarts = 0
        try:
            self.description: Mapping[str, Any] = self.ask("describe")
        except (RequestFailure, OSError) as error:
            self.close()
            raise CheckerError(
                f"the checkers in {python.parent.parent} do not start ({one_line(error)}); delete "
                "that folder, and it is made again"
            ) from None

    def ask(self, method: str, **parameters: Any) -> Any:
        """Returns the reply, a JSON value.

        Args:
          method: What is asked for, e.g. a method of `bfcl_worker.Benchmark`.
          **parameters: JSON values.

        Raises:
          RequestFailure: There is none.
        """
        if self._process is None:
            self._start()
        self._requests += 1
        request = {"id": self._requests, "method": method, "parameters": parameters}
        line = self._exchange(json.dumps(request) + "\n")
        reply = json.loads(line)
        if reply["id"] != self._requests:
            raise AssertionError(f"a reply to request {reply['id']} of {self._requests}")
        if "error" in reply:
            raise RequestFailure(reply["error"])
        return reply["result"]

    def close(self) -> None:
        """Ends the process."""
        self._kill()
        self._scratch.cleanup()

    def _start(self) -> None:
        self.restarts += self._requests > 0
        # Nothing of the user's environment: what is evaluated could read it.
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self._process = subprocess.Popen(
            [*self._command, self._scratch.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env={**kept, "HOME": self._scratch.name},
            cwd=self._scratch.name,
            # Ctrl-C is for the evaluation, which ends the process itself.
            start_new_session=True,
        )

    def _exchange(self, line: str) -> str:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout, give_up)
        timer.daemon = True
        timer.start()
        reply = ""
        try:
            process.stdin.write(line)
            process.stdin.flush()
            reply = process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
            if not reply.endswith("\n"):
                # Also after Ctrl-C, since the reply to this request would come to the next one.
                self._kill()
        if late.is_set():
            raise RequestFailure(f"no answer within {self._timeout:g} s")
        if not reply.endswith("\n"):
            raise RequestFailure(f"the process ended with status {process.returncode}")
        return reply

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # what was not written yet has nobody left to read it
                pass
        process.wait()
