"""One dialect of docstrings: what pydocstyle's Google convention (ruff) leaves open.

Entries are `name: Text`, begin with a capital letter (or with a dtype, a literal, code) and end
with a full stop; what is documented exists.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pathlib
import re
from collections.abc import Iterator, Mapping

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "trustee_jax"
SECTIONS = ("Attributes", "Args", "Returns", "Yields", "Raises")
SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):\n((?:  .*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"\*{0,2}(\w+(?:\.\w+)*(?:, \w+)*): (.*)", re.DOTALL)
DTYPE = re.compile(r"(bool|bfloat16|u?int\d+|float\d+)\b")
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclasses.dataclass(frozen=True)
class Documented:
    """A docstring of the package.

    Attributes:
      place: File, line and name.
      node: What it documents.
      text: Itself, without indentation.
    """

    place: str
    node: Definition
    text: str


def documented(file: pathlib.Path, root: pathlib.Path) -> Iterator[Documented]:
    """The public docstrings of a file, those of `__init__` among them."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[Documented]:
        for node in body:
            if not isinstance(node, Definition):
                continue
            if node.name.startswith("_") and node.name != "__init__":
                continue
            name = prefix + node.name
            if text := ast.get_docstring(node):
                place = f"{file.relative_to(root)}:{node.lineno} {name}"
                yield Documented(place, node, inspect.cleandoc(text) + "\n")
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{name}.")

    return walk(ast.parse(file.read_text(encoding="utf-8")).body, "")


def classes(package: pathlib.Path) -> dict[str, ast.ClassDef]:
    """All classes of the package by name."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in package.rglob("*.py"))
    return {
        node.name: node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def members(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> set[str]:
    """What an instance has: fields, what methods assign to `self`, properties; inherited ones."""
    names = set()
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in known and base.id != node.name:
            names |= members(known[base.id], known)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            names |= {inner.attr} if ast.unparse(inner.value) == "self" else set()
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.add(statement.target.id)
        elif isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.FunctionDef) and statement.decorator_list:
            names.add(statement.name)
    return names


def arguments(node: Definition) -> set[str]:
    """The names of a function's arguments."""
    assert not isinstance(node, ast.ClassDef)
    every = node.args
    listed = [*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg]
    return {argument.arg for argument in listed if argument is not None}


def faults(one: Documented, known: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    """What deviates in one docstring, a line each."""
    for section, body in SECTION.findall(one.text):
        entries = [body]
        if section not in ("Returns", "Yields"):
            entries = re.split(r"\n(?=  \S)", body.rstrip())
        for entry in entries:
            line, names = " ".join(entry.split()), ""
            if section not in ("Returns", "Yields"):
                match = ENTRY.fullmatch(line)
                if match is None:
                    yield f"{one.place}: {section}: no entry `name: Text.`: {line}"
                    continue
                names, line = match.groups()
            where = f"{one.place}: {section}: {names}"
            if line[0].islower() and not DTYPE.match(line):
                yield f"{where} begins without a capital letter: {line}"
            if not line.endswith("."):
                yield f"{where} ends without a full stop: {line}"
            if section == "Args" and names not in arguments(one.node):
                yield f"{where} is no argument"
            if section == "Attributes":
                assert isinstance(one.node, ast.ClassDef)
                if names not in members(one.node, known):
                    yield f"{where} is no attribute"
    order = [section for section, _ in SECTION.findall(one.text)]
    if order != [name for name in SECTIONS if name in order]:
        yield f"{one.place}: sections stand as {order}, not in the order of {SECTIONS}"


def test_docstrings_have_one_dialect() -> None:
    known = classes(PACKAGE)
    seen = [one for file in sorted(PACKAGE.rglob("*.py")) for one in documented(file, PACKAGE)]
    assert len(seen) > 400
    found = [fault for one in seen for fault in faults(one, known)]
    assert found == []


EVEN = '''
class Base:
    left: int


class Bed(Base):
    """Holds.

    Attributes:
      left: Inherited.
      right: A property; its second
        line.
      made: bool[2], in a method.
    """

    def __init__(self, size: int, *more: int):
        """Makes.

        Args:
          size: "s", or `code`.
          *more: Further
            ones.

        Returns:
          None.

        Raises:
          KeyError, TypeError: Never.
          np.linalg.LinAlgError: Never.
        """
        self.made = True

    @property
    def right(self) -> int:
        """Returns it."""

    def _own(self, a):
        """Whatever.

        Args:
          b: as one likes
        """
'''


@pytest.mark.parametrize(
    ("present", "changed", "fault"),
    [
        ("left: Inherited", "left: inherited", "left begins without a capital letter"),
        ("A property; its second\n        line.", "A\n        line", "right ends without a full"),
        ("left: Inherited.", "left - Inherited.", "no entry"),
        ("left: Inherited", "up: Inherited", "up is no attribute"),
        ('size: "s"', 'width: "s"', "width is no argument"),
        ("          None.", "          nothing.", "begins without a capital letter: nothing."),
        ("LinAlgError: Never.", "LinAlgError: never", "LinAlgError begins"),
        ("left: Inherited", "left: int32[2, 3]", None),
        ("Args:\n          size", "Raises:\n          size", "sections stand as"),
    ],
)
def test_a_deviation_is_found(
    tmp_path: pathlib.Path, present: str, changed: str, fault: str | None
) -> None:
    file = tmp_path / "bed.py"

    def found(code: str) -> list[str]:
        file.write_text(code)
        known = classes(tmp_path)
        return [fault for one in documented(file, tmp_path) for fault in faults(one, known)]

    assert found(EVEN) == []
    assert EVEN.count(present) == 1
    lines = found(EVEN.replace(present, changed))
    assert lines == [] if fault is None else any(fault in line for line in lines)
