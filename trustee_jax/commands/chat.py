"""`trustee chat`: a dialogue with a policy, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from trustee_jax.commands.command_line import Command, Positional, absolute, given, path
from trustee_jax.commands.eval import restore_of

if TYPE_CHECKING:
    from rich.console import Console

    from trustee_jax.curriculum import Aspects
    from trustee_jax.environment import Task
    from trustee_jax.toolsets import Tool

_TURNS = 1000  # of each side: it ends when the user wants
_SHOWN_TOOLS = 12
_CRITERIA = 5
_PROMPTS = ("detailed", "medium", "brief", "one_line")


class _Terminal:
    """The user, who reads what is printed and types."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def hear(self, message: Mapping[str, Any]) -> None:
        """Prints a message of the assistant or of a tool."""
        from trustee_jax.simulator.transcript import call_text

        if message["role"] == "tool":
            self._print("green", "tool", message["content"])
            return
        if message.get("reasoning_content"):
            self._print("dim", "thinks", message["reasoning_content"])
        if message["content"]:
            self._print("bold", "assistant", message["content"])
        for call in message.get("tool_calls", ()):
            made = call["function"]
            self._print("cyan", "calls", call_text(made["name"], made["arguments"]))
        for failed in message.get("malformed_calls", ()):
            self._print("red", "malformed", f"{failed['text']} ({failed['problem']})")

    def ask(self) -> str:
        """Reads a line; the end of the input ends the dialogue, as an empty line does."""
        try:
            return input("you: ")
        except EOFError:
            return ""

    def _print(self, style: str, who: str, text: str) -> None:
        self._console.print(f"{who}: {text}", style=style, highlight=False, markup=False)


def _chat(values: flags.FlagValues, run: str | None = None) -> None:
    import dataclasses
    import json

    from trustee_jax.environment import run as drive
    from trustee_jax.environment import run_episode
    from trustee_jax.environment.tools.sources import open_tools
    from trustee_jax.players import build_players
    from trustee_jax.progress import standard_output
    from trustee_jax.storage import storage_errors, write_text
    from trustee_jax.streams import Purpose
    from trustee_jax.training.summary import describe_verdict

    workdir = None if run is None else absolute(run)
    if workdir is None and given(values, "config") is None:
        raise flags.Error("name whom to talk to: a RUN, or --config=FILE.py for an untrained model")
    config = _config(values, workdir)
    if given(values, "tools"):
        config = dataclasses.replace(config, tools=given(values, "tools"))
    console = standard_output()
    terminal = _Terminal(console)
    with open_tools(config.tools, config.environment) as tools:
        for note in tools.notes:
            print(note)
        offered = _offered(values, list(tools.repository.tools))
        print(f"loading {config.model.source}", flush=True)
        players = build_players(
            config, restore=restore_of(values, workdir), backends=tools.backends
        )
        names = ", ".join(tool.name for tool in offered)
        console.print(f"tools: {names}", style="dim", highlight=False)
        console.print("An empty line ends the dialogue.", style="dim")
        query = terminal.ask().strip()
        if not query:
            return
        task = _task(offered, query, _PROMPTS.index(given(values, "system_prompt")))
        key = (Purpose.EVALUATION, 0, 0)
        episode = run_episode(players.environment, task, key, human=terminal)
        (played,) = drive([episode], players.engines)
    if played.verdict is not None:
        console.print(f"reward {played.reward:+g}", style="bold")
        for line in describe_verdict(played.verdict):
            console.print(line, highlight=False, markup=False)
    elif played.valid:
        console.print("no tool was called: there is nothing to judge", style="dim")
    else:
        console.print(f"no verdict: {played.cause}: {played.detail}", style="red", markup=False)
    if given(values, "output"):
        output = path(values, "output")
        with storage_errors(output.parent):
            write_text(output, json.dumps(played.to_json(), indent=1, ensure_ascii=False) + "\n")
        console.print(f"wrote {output}", highlight=False, soft_wrap=True)


def _config(values: flags.FlagValues, workdir: Path | None) -> Any:
    from trustee_jax import config as run_config
    from trustee_jax.run import read_config

    return run_config.parse(given(values, "config")) if workdir is None else read_config(workdir)


def _offered(values: flags.FlagValues, tools: list[Tool]) -> tuple[Tool, ...]:
    """The tools of the dialogue: those that are named, those of a category, or the first few."""
    if wanted := given(values, "only"):
        found = [tool for tool in tools if tool.name in wanted or tool.category in wanted]
        missing = set(wanted) - {tool.name for tool in tools} - {tool.category for tool in tools}
        if missing:
            raise flags.Error(f"--only: there is no tool or category {sorted(missing)[0]!r}")
        return tuple(found)
    return tuple(tools[:_SHOWN_TOOLS])


def _task(tools: tuple[Tool, ...], query: str, system_prompt: int) -> Task:
    """What the judge is told: the first message is the wish, and nothing is known to be right."""
    from trustee_jax.environment import Task

    return Task(
        tools=tools,
        aspects=_aspects(len(tools), system_prompt),
        persona="",
        intent=query,
        expected_calls=(),
        query=query,
    )


def _aspects(tools: int, system_prompt: int) -> Aspects:
    from trustee_jax.curriculum import Aspects

    return Aspects(
        difficulty=0.0,
        tools=tools,
        calls=1,
        persona=0,
        ambiguity=0,
        turns=0,
        criteria=_CRITERIA,
        system_prompt=system_prompt,
        user_turns=_TURNS,
        assistant_turns=_TURNS,
        tool_turns=_TURNS,
    )


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "tools",
        None,
        "Sources of tools, as --config.tools takes them: a Python file or an MCP server answers "
        "really, the simulator plays the rest. Those of the run if not given.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "only",
        None,
        f"Names of tools or categories that are offered; the first {_SHOWN_TOOLS} if not given.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "step",
        None,
        "Which checkpoint of RUN; 0: before training; the newest if not given.",
        0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "system_prompt",
        "detailed",
        tuple(reversed(_PROMPTS)),
        "Which of the policy's system messages it has.",
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "File that gets the transcript.", flag_values=values)


CHAT = Command(
    "chat",
    "Talks with a policy in the terminal; simulator or real tools answer its calls, and the judge "
    "says in the end what it thinks of it.",
    _chat,
    positionals=(
        Positional("RUN", "The run whose policy answers, the --workdir of a training.", True),
    ),
    define=_define,
    config="Python file with get_config(): an untrained model that belongs to no RUN.",
    examples=(
        "chat runs/quickstart --output=said.json",
        "chat runs/quickstart --tools=my_tools.py",
    ),
)
