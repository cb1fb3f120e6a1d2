"""The `trustee` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from absl import flags, logging

from trustee_jax.commands.command_line import Group
from trustee_jax.errors import InputError

COMMANDS = Group(
    "",
    "Reinforcement learning of tool calling in environments simulated by a language model.",
    {
        "train": "trustee_jax.commands.train:TRAIN",
        "sweep": "trustee_jax.commands.sweep:SWEEP",
        "report": "trustee_jax.commands.report:REPORT",
        "export": "trustee_jax.commands.export:EXPORT",
        "tools": "trustee_jax.commands.tools:TOOLS",
        "audit": "trustee_jax.commands.audit:AUDIT",
        "eval": "trustee_jax.commands.eval:EVAL",
        "chat": "trustee_jax.commands.chat:CHAT",
        "serve": "trustee_jax.commands.serve:SERVE",
        "prove": "trustee_jax.commands.prove:PROVE",
        "bench": "trustee_jax.commands.bench:BENCH",
    },
)


def main(argv: Sequence[str] | None = None, *, program: str = "trustee") -> int:
    """Runs one command.

    Args:
      argv: The arguments after the program's name; None takes them from the process.
      program: How the program was called, for usage lines and messages.

    Returns:
      The exit status: 0 done, or saved and stopped on request; 2 wrong input, or a run that cannot
      go on; 130 interrupted; 141 whoever read the output, e.g. `head`, has seen enough.
    """
    logging.set_verbosity(logging.WARNING)
    # transformers advises to install PyTorch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        COMMANDS(program, list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Or the interpreter would try to write the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (flags.Error, InputError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    return 0
