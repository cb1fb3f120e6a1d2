"""What the commands of `trustee` share: how they are declared, read, explained and refused.

One rule for all of them. What a command works on and finds there already - a run, a source of
tools - is a word of its own, in the order of the usage line. All else is a flag: what it writes,
how it goes about it, and the options of a run (`--config`, overridden by `--config.NAME=VALUE`).
Flags may stand anywhere, as `--flag=value` or `--flag value`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import itertools
import pathlib
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from trustee_jax.commands import config_flag
from trustee_jax.paths import user_path

_HELP = ("--help", "-help", "-h")
_WIDTH = 88


@dataclasses.dataclass(frozen=True)
class Positional:
    """A word of a command that is no flag.

    Attributes:
      name: In capitals, as in the usage line.
      text: What it names, for the help and for the error where it is missing.
      optional: Whether it may be left out; only the last one can be.
    """

    name: str
    text: str
    optional: bool = False


RUN = Positional("RUN", "The run: the --workdir of a training.")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, from which usage, help and errors are derived.

    Attributes:
      name: What follows the program's name, e.g. "tools import".
      summary: What it does, in one or two sentences.
      run: Does it; called with the flags and then the positional arguments that were given.
      positionals: What it works on.
      define: Declares its flags, all but --config.
      config: What --config is for; None if the command has none.
      required: Flags that must be given.
      examples: Arguments that make sense, without the program's name.
      details: Further lines for the help, e.g. of the options.
    """

    name: str
    summary: str
    run: Callable[..., None]
    positionals: tuple[Positional, ...] = ()
    define: Callable[[flags.FlagValues], None] = lambda values: None
    config: str | None = None
    required: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    details: Callable[[], str] | None = None

    def __call__(self, program: str, arguments: Sequence[str]) -> None:
        """Runs the command, or prints its help if that is asked for.

        Args:
          program: How this program was called, e.g. "trustee".
          arguments: What follows the command's name.

        Raises:
          flags.Error: A flag is unknown, ill-typed or missing, or a positional argument is missing
            or too many.
          InputError: What the flags say cannot be used.
        """
        values = self.declared(arguments)
        if any(word in _HELP for word in _before_dashes(arguments)):
            print(self.help(program, values))
            return
        words = self._parse(program, values, arguments)
        self.run(values, *words)

    def declared(self, arguments: Sequence[str] = ()) -> flags.FlagValues:
        """The command's flags, not parsed yet.

        Args:
          arguments: What follows the command's name: the options that are overridden become flags
            while it is read.
        """
        values = flags.FlagValues()
        if self.config is not None:
            config_flag.define(values, _before_dashes(arguments), self.config)
        self.define(values)
        return values

    def usage(self, program: str) -> str:
        """One line: all that is needed to call it."""
        words = [f"[{word.name}]" if word.optional else word.name for word in self.positionals]
        values = self.declared()
        needed = [_spelled(values[name]) for name in self.required]
        more = ["[FLAGS]"] if len(list(values)) > len(needed) else []
        return " ".join([program, self.name, *words, *needed, *more])

    def help(self, program: str, values: flags.FlagValues) -> str:
        """Usage, summary, positional arguments, flags with their defaults, examples."""
        parts = [f"usage: {self.usage(program)}", _fill(self.summary, "")]
        if self.positionals:
            parts.append("\n".join(_entry(word.name, word.text) for word in self.positionals))
        entries = [_entry(_spelled(values[name]), self._flag_text(values[name])) for name in values]
        if self.config is not None:
            where = f"{program} train --help lists them" if self.details is None else "see below"
            text = f"Overrides an option of the config; {where}."
            entries.append(_entry("--config.NAME=VALUE", text))
        if entries:
            parts.append("\n".join(["flags:", *entries]))
        if self.examples:
            calls = [f"  {program} {example}" for example in self.examples]
            parts.append("\n".join(["examples:", *calls]))
        if self.details is not None:
            parts.append(self.details())
        return "\n\n".join(parts)

    def _flag_text(self, flag: flags.Flag) -> str:
        text = str(flag.help)
        if isinstance(flag.parser, flags.EnumParser):
            text = text.partition(">: ")[2]  # absl puts the choices before it
        if flag.name in self.required:
            return f"{text} Needed."
        if flag.boolean or flag.default in (None, ""):
            return text
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        return f"{text} Default: {default}."

    def _parse(
        self, program: str, values: flags.FlagValues, arguments: Sequence[str]
    ) -> Sequence[str]:
        usage = f"usage: {self.usage(program)}"
        before = _before_dashes(arguments)
        _check_form(values, before)
        words: Sequence[str]
        try:
            if self.config is None:
                words = values(["", *arguments])[1:]
            else:
                words = config_flag.parse(values, before, arguments)
        except flags.UnrecognizedFlagError as error:
            close = difflib.get_close_matches(error.flagname, list(values), n=1)
            hint = f"; close: --{close[0]}" if close else ""
            if (word := error.flagname.upper()) in (known.name for known in self.positionals):
                hint = f"; {word} is written without it"
            raise flags.Error(f"unknown flag --{error.flagname}{hint}; {usage}") from None
        for word, positional in itertools.zip_longest(words, self.positionals):
            if positional is None:
                raise flags.Error(f"unexpected {word!r}; {usage}")
            # An empty word is a variable of the shell that is not set.
            if not word and not (word is None and positional.optional):
                what = f"{positional.name} is {'missing' if word is None else 'empty'}"
                raise flags.Error(f"{what} ({positional.text.rstrip('.')}); {usage}")
        for name in self.required:
            if values[name].value in (None, ""):
                what = "needed" if values[name].value is None else "empty"
                raise flags.Error(f"--{name} is {what}; {usage}")
        return words


@dataclasses.dataclass(frozen=True)
class Group:
    """Several commands under one name; the program itself is one.

    Attributes:
      name: What follows the program's name; empty for the program itself.
      summary: What they are for.
      commands: Name -> the command, or "module:NAME", which is imported when it is used.
    """

    name: str
    summary: str
    commands: Mapping[str, Command | Group | str]

    def __call__(self, program: str, arguments: Sequence[str]) -> None:
        """Runs the command that the first argument names; see `Command`."""
        first, *rest = arguments or ["help"]
        if first == "help" and rest:
            first, *rest = [*rest, "--help"]
        if first == "help" or first in _HELP:
            print(self.help(program))
            return
        if first not in self.commands:
            close = difflib.get_close_matches(first, self.commands, n=1)
            hint = f"close: {close[0]}; " if close else ""
            names = ", ".join(self.commands)
            raise flags.Error(f"unknown command {first!r}; {hint}there are: {names}")
        self.command(first)(program, rest)

    def command(self, name: str) -> Command | Group:
        """The command of that name, which must be one of `commands`."""
        found = self.commands[name]
        if not isinstance(found, str):
            return found
        module, _, attribute = found.partition(":")
        loaded: Command | Group = getattr(importlib.import_module(module), attribute)
        return loaded

    def usage(self, program: str) -> str:
        """One line with the names of the commands."""
        return " ".join(filter(None, (program, self.name, "|".join(self.commands))))

    def help(self, program: str) -> str:
        """Usage, summary, and one entry for each command."""
        before = " ".join(filter(None, (program, self.name)))
        found = [self.command(name) for name in self.commands]
        entries = [_entry(command.usage(program), command.summary) for command in found]
        return "\n\n".join(
            (
                f"usage: {before} COMMAND ...",
                _fill(self.summary, ""),
                "\n".join(["commands:", *entries]),
                f"{before} COMMAND --help explains a command, with its flags and examples.",
            )
        )


def given(values: flags.FlagValues, name: str) -> Any:
    """A flag's value: what was given, or its default."""
    return values[name].value


def path(values: flags.FlagValues, name: str) -> pathlib.Path:
    """A flag's value as an absolute path."""
    return absolute(str(values[name].value))


def absolute(text: str) -> pathlib.Path:
    """A path that a user wrote, made absolute."""
    return user_path(text).absolute()


def _before_dashes(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments up to a `--`, after which nothing is a flag."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _check_form(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Refuses what absl would misunderstand.

    It takes the next flag for the value that a flag lacks, and raises no error of its own where a
    `--noflag` has a value.
    """
    for word, following in itertools.pairwise([*arguments, ""]):
        if (match := re.fullmatch(r"--?no([^=]+)=.*", word, re.DOTALL)) and (
            _is_boolean(values, match[1])
        ):
            raise flags.Error(f"--no{match[1]} takes no value; write --{match[1]}=true or =false")
        match = re.fullmatch(r"--?([^-=][^=]*)", word)
        if match is None or _is_boolean(values, match[1]) is not False:
            continue
        if not following or re.match(r"--?[a-zA-Z]", following):
            raise flags.Error(f"--{match[1]} lacks its value; write --{match[1]}=VALUE")


def _is_boolean(values: flags.FlagValues, name: str) -> bool | None:
    """Whether a flag is one that needs no value; None if there is no such flag."""
    if name in values:
        return bool(values[name].boolean)
    if name.startswith("config.") and "config" in values:
        return config_flag.is_boolean(name.removeprefix("config."))
    return None


def _spelled(flag: flags.Flag) -> str:
    """A flag with the form of its value."""
    if flag.boolean:
        return f"--[no]{flag.name}"
    if isinstance(flag.parser, flags.EnumParser):
        return f"--{flag.name}={'|'.join(flag.parser.enum_values)}"
    if isinstance(flag.parser, flags.IntegerParser):
        return f"--{flag.name}=N"
    if isinstance(flag.parser, flags.ListParser):
        return f"--{flag.name}=A,B,..."
    return f"--{flag.name}={flag.name.upper()}"


def _entry(head: str, text: str) -> str:
    return f"  {head}\n{_fill(text, '      ')}"


def _fill(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
