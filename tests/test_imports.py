"""Imports between rooms go one way: each to a room of a lower layer."""

from __future__ import annotations

import ast
import collections
import pathlib
import re
from collections.abc import Iterator, Sequence

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "trustee_jax"
# A room is a subpackage or a module of the package. It imports only rooms of the layers above its
# own line; rooms of one layer know nothing of each other.
LAYERS = (
    ("errors", "models", "paths", "progress", "rates", "streams", "text"),
    ("chat", "curriculum", "engine", "options", "plugins", "processes", "storage", "weights"),
    ("jsonl", "simulator", "toolsets"),
    ("environment", "rl"),
    ("evaluation", "serving", "synthesis", "training"),
    ("audit", "bench", "config", "report"),
    ("ablations", "build", "run_evaluation"),
    ("model_card", "players", "run", "sweep"),
    ("evidence", "export", "serve"),
    ("commands",),
    ("__main__",),
)
# What knows all options of a run; every other room gets its section.
KNOW_CONFIG = {"ablations", "build", "commands", "export", "model_card", "players", "run", "serve"}


def rooms(package: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The Python files of each room."""
    found = collections.defaultdict(list)
    for file in sorted(package.rglob("*.py")):
        room = file.relative_to(package).parts[0].removesuffix(".py")
        if room != "__init__":
            found[room].append(file)
    return dict(found)


def imported(file: pathlib.Path, package: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of the package in a file, wherever in it that stands."""
    place = (package.name, *file.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = place[: len(place) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"[\w.]+:\w+", str(node.value)):
            # "module:NAME", imported when it is used.
            names = [str(node.value).partition(":")[0]]
        for name in names:
            top, _, rest = name.partition(".")
            if top == package.name:
                yield node.lineno, rest.partition(".")[0]


def imports(package: pathlib.Path) -> dict[str, dict[str, str]]:
    """Room -> the other rooms that it imports, each with the first place where it does."""
    found: dict[str, dict[str, str]] = {}
    for room, files in rooms(package).items():
        others = found[room] = {}
        for file in files:
            for line, other in imported(file, package):
                if other != room:
                    others.setdefault(other, f"{file.relative_to(package.parent)}:{line}")
    return found


def faults(package: pathlib.Path, layers: Sequence[Sequence[str]]) -> list[str]:
    """What breaks the rule, a line each."""
    height = {room: number for number, layer in enumerate(layers) for room in layer}
    found = imports(package)
    lines = [f"{room}: is no room; remove it from LAYERS" for room in height if room not in found]
    lines += [f"{room}: give it a layer of LAYERS" for room in found if room not in height]
    for room, others in found.items():
        for other, place in others.items():
            if height.get(other, len(layers)) >= height.get(room, len(layers)):
                lines.append(f"{place}: {room} imports {other}, which is not below it")
            if other == "config" and room not in KNOW_CONFIG:
                lines.append(f"{place}: {room} imports the whole config")
    return lines


def test_imports_go_one_way() -> None:
    found, files = imports(PACKAGE), rooms(PACKAGE)
    lines = {
        room: sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files[room])
        for room in files
    }
    print("\n| room | lines | imports |\n|---|---|---|")
    for room in (room for layer in LAYERS for room in layer if room in found):
        print(f"| {room} | {lines[room]:,} | {', '.join(sorted(found[room])) or '-'} |")
    print(f"| all | {sum(lines.values()):,} | |")
    assert faults(PACKAGE, LAYERS) == []
    # The table is not right for want of imports.
    assert {"environment", "rl"} <= set(found["training"])


@pytest.mark.parametrize(
    ("file", "code", "fault"),
    [
        ("low/a.py", "from house.high import b", "low/a.py:1: low imports high"),
        ("low/a.py", "import house.high.b", "low/a.py:1: low imports high"),
        ("low/deep/a.py", "from ...high.b import x", "low/deep/a.py:1: low imports high"),
        ("low/a.py", "from .. import high", "low/a.py:1: low imports high"),
        ("low/a.py", "def f():\n    from house import high", "low/a.py:2: low imports high"),
        ("low/a.py", "if TYPE_CHECKING:\n    import house.high", "low/a.py:2: low imports high"),
        ("low/a.py", "X = 'house.high.b:f'", "low/a.py:1: low imports high"),
        ("low/a.py", "from house.beside import x", "low/a.py:1: low imports beside"),
        ("top.py", "import house.config", "top.py:1: top imports the whole config"),
        ("low/a.py", "import house.new", "low/a.py:1: low imports new"),
        ("new.py", "", "new: give it a layer"),
        ("run.py", "import house.config, house.high, house.low", None),
        ("high/b.py", "from house.low import a\nfrom . import c\nimport numpy.high", None),
    ],
)
def test_an_import_that_does_not_go_down_is_found(
    tmp_path: pathlib.Path, file: str, code: str, fault: str | None
) -> None:
    house = tmp_path / "house"
    layers = (("low", "beside"), ("high", "config"), ("top", "run"))
    for name in ("low/a", "beside", "high/b", "config", "top", "run"):
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / f"{name}.py").touch()
    assert faults(house, layers) == []
    (house / file).parent.mkdir(parents=True, exist_ok=True)
    (house / file).write_text(code)
    found = faults(house, layers)
    if fault is None:
        assert found == []
    else:
        assert any(fault in line for line in found)


def test_a_room_that_is_gone_leaves_the_table(tmp_path: pathlib.Path) -> None:
    (tmp_path / "low.py").touch()
    assert faults(tmp_path, (("low",), ("gone",))) == ["gone: is no room; remove it from LAYERS"]
