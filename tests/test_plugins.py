"""Functions by name and out of a user's file; whatever cannot be loaded is one clear error."""

import sys

import pytest

from trustee_jax.errors import ConfigError
from trustee_jax.plugins import find, functions, load

TABLE = {"clip": abs, "sequence": max}
FIELD = "learner.loss"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "mine.py") -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


def refusal(spec: str) -> str:
    with pytest.raises(ConfigError) as caught:
        find(spec, TABLE, FIELD)
    assert caught.value.field == FIELD and caught.value.value == spec
    message = str(caught.value)
    assert message.startswith(f"{FIELD} = {spec!r}: ") and "\n" not in message
    return message


def test_a_name_of_the_table_is_its_function() -> None:
    assert find("clip", TABLE, FIELD) is abs


def test_a_file_gives_its_function(write) -> None:
    # Dataclasses with postponed annotations look their module up by its name.
    write(
        "from __future__ import annotations\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass Pair:\n  a: dataclasses.InitVar[int] = 1\n"
        "def double(x):\n  return 2 * x\n"
    )
    assert find("mine.py:double", TABLE, FIELD)(4) == 8
    assert list(functions(load("mine.py", FIELD))) == ["double"]


def test_files_of_one_name_are_apart_and_a_changed_one_is_read_again(write, tmp_path) -> None:
    (tmp_path / "other").mkdir()
    write("def f():\n  return 1\n")
    write("def f():\n  return 2\n", "other/mine.py")
    one, two = (find(f"{path}:f", TABLE, FIELD) for path in ("mine.py", "other/mine.py"))
    assert (one(), two()) == (1, 2)
    write("def f():\n  return 'three'\n")
    assert find(f"{tmp_path}/mine.py:f", TABLE, FIELD)() == "three"


def test_functions_of_one_file_share_what_it_keeps(write) -> None:
    """A judge may look at what a tool of the same file has done."""
    spec = write("seen = []\ndef tool(): seen.append(1)\ndef grade(): return len(seen)")
    find(spec + ":tool", {}, "tools")()
    assert find(spec + ":grade", {}, "environment.judge.use")() == 1


def test_only_the_public_functions_of_the_file_itself_are_its_own(write) -> None:
    write("from math import pi, sin\nfrom textwrap import dedent\ndef _a(): ...\ndef b(): ...\n")
    assert list(functions(load("mine.py", FIELD))) == ["b"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    message = refusal("clap")
    assert "'clip', 'sequence' (close: 'clip'), or path/to/file.py:function" in message


def test_what_cannot_be_found_says_what_there_is(write) -> None:
    write("def mine(): ...\nLIMIT = 3\n")
    for path in ("nowhere.py", "~nobody/mine.py", "a\0.py", 300 * "x" + ".py"):
        assert f"there is no file {path}" in refusal(f"{path}:mine")
    for spec in ("mine.py:yours", "mine.py:LIMIT"):
        assert "the file's functions: mine" in refusal(spec)
    for spec in ("mine.py", "mine.py:"):
        assert "name a function after a colon; the file's functions: mine" in refusal(spec)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef f(:\n", "mine.py, line 2: "),
        ("x = 1\n\nimport no_such_module\n", "mine.py, line 3: ModuleNotFoundError: No module"),
        ("def g():\n  return 1 / 0\n\n\nx = g()\n", "mine.py, line 2: ZeroDivisionError"),
        ("raise SystemExit(3)\n", "mine.py, line 1: SystemExit: 3"),
        ("raise ValueError('one\\n\\n two')\n", "mine.py, line 1: ValueError: one two"),
    ],
)
def test_a_file_that_does_not_import_names_the_line(write, text, words) -> None:
    write(text)
    before = set(sys.modules)
    assert words in refusal("mine.py:f")
    assert not [name for name in set(sys.modules) - before if name.startswith("mine")]
