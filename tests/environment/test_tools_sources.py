"""What a run's tools come from: several sources, categories, names, and a new kind of backend."""

import contextlib
import json
import pathlib
import sys

import pytest

from trustee_jax.environment import EnvironmentConfig, run
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.tools import sources
from trustee_jax.environment.tools.backend import CallContext, Toolbox
from trustee_jax.environment.tools.sources import (
    SourceKind,
    has_real_tools,
    open_tools,
    split_sources,
)
from trustee_jax.errors import ConfigError, InputError
from trustee_jax.toolsets import Tool, ToolRepository, load_repository
from trustee_jax.toolsets.repository import joined
from trustee_jax.toolsets.store import write_store

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = EnvironmentConfig()
FUNCTION = '''
def {name}(x: int) -> int:
    """Does {name}.

    Args:
      x: What.
    """
    return x + 1
'''
EMPTY = {"type": "object", "properties": {}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        pathlib.Path(f"{name}.py").write_text(FUNCTION.format(name=name))
    listed = [{"name": n, "description": f"Does {n}.", "parameters": EMPTY} for n in ("a", "b")]
    pathlib.Path("tools.json").write_text(json.dumps(listed))
    pathlib.Path("trips.json").write_text(json.dumps({"travel": [listed[0] | {"name": "c"}]}))
    return tmp_path


def test_real_and_simulated_tools_share_a_category(folder):
    with open_tools("one.py, tools.json", CONFIG) as tools:
        assert list(tools.backends) == ["one"]
        assert [t.name for t in tools.repository.categories["user"]] == ["one", "a", "b"]


def test_a_source_of_real_tools_may_name_its_category(folder):
    with open_tools("travel=one.py,two.py,trips.json", CONFIG) as tools:
        groups = {n: [t.name for t in v] for n, v in tools.repository.categories.items()}
        assert groups == {"travel": ["one", "c"], "user": ["two"]}
        assert all(t.category == n for n, v in tools.repository.categories.items() for t in v)


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("starter", False),
        ("tools.json,trips.json", False),
        ("tools.json,one.py", True),
        ("travel= one.py", True),
        ("http://127.0.0.1:9/mcp", True),
        ("mcp:'", True),
        (",", False),
    ],
)
def test_real_tools_are_told_without_opening_them(folder, text, real):
    assert has_real_tools(text) == real


def test_one_source_to_simulate_is_as_ever(folder):
    with open_tools("starter", CONFIG) as tools:
        assert tools.backends == {}
        assert list(tools.repository.tools) == list(load_repository("starter").tools)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.py", ["a.py"]),
        ("a.py,b.json", ["a.py", "b.json"]),
        (" a.py , , mcp:npx -y x ", ["a.py", "mcp:npx -y x"]),
        ("mcp:run \"a,b\" 'c,d',e", ["mcp:run \"a,b\" 'c,d'", "e"]),
        ("", []),
        (",", []),
        (long := "mcp:run " + 300 * "x", [long]),
    ],
)
def test_commas_outside_of_quotes_separate(text, parts):
    assert split_sources(text) == parts


def test_a_file_whose_name_has_a_comma(folder):
    pathlib.Path("tools.json").rename("a,b.json")
    with open_tools("a,b.json", CONFIG) as tools:
        assert len(tools.repository) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one.py,two.py,one.py", ["'one'", "one.py twice", "drop"]),
        ("one.py,same.json", ["'one'", "both one.py and same.json", "rename"]),
        ("gone.py", ["no file gone.py", "check the path"]),
        (" , ", ["name one or more sources"]),
        ("mcp:", ["no command"]),
        ("mcp:'", ["not a command line"]),
        ("mcp:no_such_program -x", ["no MCP server answers", "no_such_program", "check"]),
        (f"mcp:{sys.executable} -c 'print(1)'", ["no MCP server answers", "wrote '1'", "check"]),
        ("http://127.0.0.1:9/mcp", ["no MCP server answers", "check the command or URL"]),
    ],
)
def test_what_cannot_be_offered_is_one_line_with_a_remedy(folder, text, parts):
    tool = {"name": "one", "description": "Does one.", "parameters": EMPTY}
    pathlib.Path("same.json").write_text(json.dumps([tool]))
    with pytest.raises(ConfigError) as caught, open_tools(text, CONFIG):
        pass
    message = str(caught.value)
    assert message.startswith("tools = ") and "\n" not in message
    assert all(part in message for part in parts), message


def test_tools_to_simulate_have_the_errors_that_they_had(folder):
    with pytest.raises(InputError, match="there is no such file"), open_tools("x.json", CONFIG):
        pass


def test_repositories_joined(folder):
    """In memory and on disk; what is drawn of a category is of all parts."""
    stored = folder / "stored"
    write_store(stored, [Tool(f"s{i}", "Does s.", EMPTY, f"c{i % 2}") for i in range(5)])
    memory = ToolRepository(
        [Tool("m0", "Does m.", EMPTY, "c1"), Tool("m1", "Does m.", EMPTY, "c2")]
    )
    both = joined([load_repository(str(stored)), memory, memory])
    assert [tool.name for tool in both.tools] == ["s0", "s1", "s2", "s3", "s4", *["m0", "m1"] * 2]
    groups = {name: [tool.name for tool in view] for name, view in both.categories.items()}
    assert groups == {"c0": ["s0", "s2", "s4"], "c1": ["s1", "s3", "m0", "m0"], "c2": ["m1"] * 2}
    assert joined([memory]) is memory


def test_the_example_is_offered_and_answers():
    with open_tools(str(ROOT / "configs/tools/example.py"), CONFIG) as tools:
        assert len(tools.backends) == len(tools.repository) == 3
        box = Toolbox(None, tools.backends)
        arguments = {"value": 2, "source": "km", "target": "mi"}
        call = CallRecord(0, "call_0", "convert_length", arguments)
        (found,) = run([box.answer(call, CallContext(None, (0,), ()))], {})
        assert found == '{"value":1.2427,"unit":"mi"}'


class Echo:
    """A backend of a new kind: no engine, no thread."""

    def answer(self, call, context):
        return {"echo": call.arguments, "number": context.counts.executed_calls}
        yield


def test_a_new_kind_of_backend_is_a_class_and_a_row(monkeypatch, folder):
    tool = Tool("echo", "Says it again.", EMPTY, "user")
    closed = []

    @contextlib.contextmanager
    def open_echo(source, category, config):
        assert (source, category) == ("echo:1", "user")
        yield [(tool, Echo())], ["an echo"]
        closed.append(source)

    kind = SourceKind(lambda source: source.startswith("echo:"), open_echo)
    monkeypatch.setattr(sources, "SOURCE_KINDS", [kind, *sources.SOURCE_KINDS])
    with open_tools("tools.json,echo:1,one.py", CONFIG) as tools:
        assert [t.name for t in tools.repository.tools] == ["a", "b", "echo", "one"]
        assert tools.notes == ["an echo"]
        box = Toolbox(None, tools.backends)
        call = CallRecord(0, "call_0", "echo", {"x": 1})
        (found,) = run([box.answer(call, CallContext(None, (0,), ()))], {})
        assert found == {"echo": {"x": 1}, "number": 1}
        assert not closed
    assert closed == ["echo:1"]
