"""One convention over all commands: help, flags, positional arguments and what is refused."""

import dataclasses
import json
import pathlib
import re
import shlex

import pytest
from absl import flags

from trustee_jax.commands import config_flag
from trustee_jax.commands import main as cli
from trustee_jax.commands.command_line import Command, Group, Positional
from trustee_jax.config import parse

DEBUG = pathlib.Path(__file__).parents[2] / "configs" / "debug.py"


def walk(group: Group):
    for name in group.commands:
        command = group.command(name)
        yield command
        if isinstance(command, Group):
            yield from walk(command)


ALL = list(walk(cli.COMMANDS))
COMMANDS = [command for command in ALL if isinstance(command, Command)]
GROUPS = [cli.COMMANDS, *(command for command in ALL if isinstance(command, Group))]


@pytest.fixture(params=COMMANDS, ids=lambda command: command.name)
def command(request) -> Command:
    return request.param


@pytest.fixture
def trustee(capsys):
    def trustee(*arguments):
        status = cli.main([word for argument in arguments for word in argument.split()])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return trustee


def refused(trustee, *arguments):
    status, out, err = trustee(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("trustee: ") and err.count("\n") == 1
    return err


def complete(command):
    """Words that the command accepts: all positional arguments and all flags that it needs."""
    words = [word.name.lower() for word in command.positionals]
    return [*words, *(f"--{name}={VALUES.get(name, 'x')}" for name in command.required)]


VALUES = {"config": "configs/debug.py"}


def parsed(command, *arguments):
    """What the command would be called with."""
    calls = []
    fields = {name: getattr(command, name) for name in command.__dataclass_fields__}
    fields["run"] = lambda values, *words: calls.append((values.flag_values_dict(), words))
    Command(**fields)("trustee", arguments)
    ((values, words),) = calls
    if values.get("config") is not None:
        values["config"] = values["config"].to_dict()
    return values, words


def test_every_command_is_walked_over():
    names = [command.name for command in COMMANDS]
    assert len(names) >= 10 and len(set(names)) == len(names)
    assert {"train", "report", "export", "audit", "tools import", "tools check"} <= set(names)


def test_help_has_one_form(trustee, command):
    status, out, _ = trustee(command.name, "--help")
    assert status == 0
    assert trustee("help", command.name) == (0, out, "") == trustee(command.name, "-h")
    usage, summary, *_ = out.split("\n\n")
    assert usage == f"usage: {command.usage('trustee')}"
    assert summary.replace("\n", " ") == command.summary and command.summary.endswith(".")
    for positional in command.positionals:
        assert re.search(rf" \[?{positional.name}\]?( |$)", usage)
        assert f"\n  {positional.name}\n      {positional.text[:40]}" in out
    assert [p.name for p in command.positionals] == re.findall(r" \[?([A-Z]+)\]?(?= |$)", usage)[
        : len(command.positionals)
    ]
    values = command.declared()
    assert ("[FLAGS]" in usage) == (len(list(values)) > len(command.required))
    assert ("\nflags:\n" in out) == bool(list(values))
    for name in values:
        flag = values[name]
        spelled = rf"--\[no\]{name}" if flag.boolean else f"--{name}=[^ ]+"
        (text,) = re.findall(rf"\n  {spelled}\n((?:      .+\n?)+)", out)
        assert text.strip()[0].isupper() and text.strip().endswith("."), text
        assert (" ".join(text.split()).endswith(" Needed.")) == (name in command.required)
        assert (f"--{name}=" in usage) == (name in command.required)
        if flag.default not in (None, "", False) and not isinstance(flag.default, list):
            assert f"Default: {flag.default}." in text
        for choice in getattr(flag.parser, "enum_values", None) or ():
            assert choice in re.search(rf"--{name}=(\S+)", out)[1].split("|")
    assert ("--config.NAME=VALUE" in out) == (command.config is not None)


def test_examples_are_accepted(command):
    assert command.examples
    for example in command.examples:
        assert example.startswith(f"{command.name} ")
        parsed(command, *shlex.split(example.removeprefix(f"{command.name} ")))


def test_flags_are_read_with_equals_and_with_a_space_anywhere(command):
    words = complete(command)
    expected = parsed(command, *words)
    assert expected[1] == tuple(word.name.lower() for word in command.positionals)
    positionals, needed = words[: len(expected[1])], words[len(expected[1]) :]
    spaced = [part for word in needed for part in word.split("=")]
    for order in (
        [*needed, *positionals],
        [*positionals, *spaced],
        [*spaced, *positionals],
        [*spaced, "--", *positionals],
        [*positionals[:1], *spaced, *positionals[1:]],
    ):
        assert parsed(command, *order) == expected


def test_every_flag_takes_its_value_either_way(command):
    values = command.declared()
    for name in values:
        flag = values[name]
        if name in command.required or name == "config":
            continue
        words = complete(command)
        if flag.boolean:
            forms = [[f"--{name}"], [f"--{name}=true"]]
        else:
            default = getattr(flag.parser, "enum_values", [None])[0]
            numeric = isinstance(flag.parser, flags.IntegerParser | flags.FloatParser)
            value = default or ("7" if numeric else "a,b")
            forms = [[f"--{name}={value}"], [f"--{name}", value]]
        before, after = (parsed(command, *form, *words) for form in forms)
        assert before == after == parsed(command, *words, *forms[1])
        assert before[0][name] != parsed(command, *words)[0][name]


def test_an_unknown_flag_is_one_line_with_the_close_one(trustee, command):
    assert "unknown flag --qqqq; usage: trustee" in refused(trustee, command.name, "--qqqq=3")
    for name in command.declared():
        if name != "config":
            error = refused(trustee, command.name, *complete(command), f"--{name}x=3")
            assert (
                f"unknown flag --{name}x; close: --{name}; usage: trustee {command.name}" in error
            )


def test_a_positional_argument_written_as_a_flag_says_its_form(trustee, command):
    for positional in command.positionals:
        error = refused(trustee, command.name, f"--{positional.name.lower()}=a")
        assert f"; {positional.name} is written without it; usage: trustee" in error


def test_missing_empty_and_superfluous_words_are_one_line(trustee, command):
    words = complete(command)
    usage = f"usage: {command.usage('trustee')}"
    for i, positional in enumerate(command.positionals):
        if not positional.optional:
            error = refused(trustee, command.name, *words[:i], *words[len(command.positionals) :])
            assert f"{positional.name} is missing" in error and usage in error
        with pytest.raises(flags.Error, match=f"{positional.name} is empty"):
            parsed(command, *words[:i], "", *words[i + 1 :])
    for name in command.required:
        rest = [word for word in words if not word.startswith(f"--{name}=")]
        assert f"--{name} is needed; {usage}" in refused(trustee, command.name, *rest)
        if name not in ("config", "domains"):
            assert f"--{name} is empty" in refused(trustee, command.name, *rest, f"--{name}=")
    assert f"unexpected 'more'; {usage}" in refused(trustee, command.name, *words, "more")


def test_a_flag_does_not_swallow_the_next_one(trustee, command):
    values = command.declared()
    for name in values:
        words = [w for w in complete(command) if not w.startswith(f"--{name}=")]
        if values[name].boolean:
            error = refused(trustee, command.name, *words, f"--no{name}=1")
            assert f"--no{name} takes no value" in error
            continue
        for following in ([], ["--help-me"], ["-q"], [f"--{name}=3"]):
            error = refused(trustee, command.name, *words, f"--{name}", *following)
            assert f"--{name} lacks its value; write --{name}=VALUE" in error


def test_groups_list_their_commands(trustee):
    for group in GROUPS:
        name = [group.name] if group.name else []
        status, out, _ = trustee(*name, "--help")
        assert status == 0
        for form in ([*name], ["help", *name], [*name, "help"], [*name, "-h"]):
            assert trustee(*form) == (0, out, "")
        assert out.startswith(" ".join(["usage: trustee", *name, "COMMAND ...\n\n"]))
        for command in (group.command(name) for name in group.commands):
            assert f"\n  {command.usage('trustee')}\n      {command.summary[:30]}" in out
        error = refused(trustee, *name, next(iter(group.commands))[:-1])
        assert f"; close: {next(iter(group.commands))}; there are: " in error


def test_the_program_is_called_what_it_was_called(capsys):
    for command in ALL:
        assert cli.main([*command.name.split(), "--help"], program="python -m trustee_jax") == 0
        out = capsys.readouterr().out
        calls = re.findall(r"\S*trustee \w+", out.replace("python -m trustee_jax", "PROGRAM"))
        assert out.startswith(f"usage: python -m trustee_jax {command.name}") and not calls


def test_what_follows_two_dashes_is_no_flag():
    show = cli.COMMANDS.command("report")
    assert parsed(show, "--episodes", "3", "--", "--help")[1] == ("--help",)
    two = Command("two", "Two.", print, (Positional("A", "One."), Positional("B", "Other.")))
    assert parsed(two, "-", "--", "-x")[1] == ("-", "-x")


def test_numbers_below_zero_are_values(trustee):
    assert "-1" in refused(trustee, "report run --episodes -1")
    assert (
        parsed(cli.COMMANDS.command("export"), "run", "--output=x", "--step", "-1")[0]["step"] == -1
    )


def test_the_folder_of_a_run_stands_for_its_options(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--config.seed=5", "--config.model.lora_targets=('q', 'v')"]
    config = parse(config_flag.read([f"--config={DEBUG}", *options]))
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    for named in ([f"--config={tmp_path}"], ["--config", str(tmp_path)]):
        assert parse(config_flag.read(named)) == config
        other = parse(config_flag.read(["--config.training.steps=9", *named]))
        training = dataclasses.replace(config.training, steps=9)
        assert other == dataclasses.replace(config, training=training)
    (tmp_path / "config.json").unlink()
    assert cli.main(["train", f"--config={tmp_path}", "--workdir=x"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"trustee: --config={tmp_path}: ") and error.count("\n") == 1
    assert "holds no run" in error
