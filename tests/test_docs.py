"""What the documents name exists: paths, symbols, options, commands and their flags, links."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
from collections.abc import Iterator

import pytest

from trustee_jax import config
from trustee_jax.commands.command_line import Command, Group
from trustee_jax.commands.main import COMMANDS
from trustee_jax.training.workdir import Layout

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
OPTIONS = config.all_options()
SECTIONS = {name.partition(".")[0] for name in OPTIONS if "." in name}
SUFFIXES = "py|md|jinja|toml|sh|json|yaml"
# What a user's folders hold, not the repository.
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
OF_A_RUN = {getattr(Layout(pathlib.Path()), name).name for name in dir(Layout) if name[0] != "_"}
OF_A_USER = {
    "api.yaml",
    "config.json",
    "generation_config.json",
    "prove.json",
    "prove.md",
} | OF_A_RUN


@functools.cache
def names() -> dict[str, pathlib.Path]:
    """Every file and folder of the repository that is not hidden or generated, by its last name."""
    skipped = {"runs", "exported", "build", "dist", "__pycache__"}
    found = {}
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name not in skipped and not path.name.startswith("."):
                found.setdefault(path.name, path)
                folders += [path] if path.is_dir() else []
    return found


def code(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of every code span and of every line of a code block."""
    fenced, pending, prose = False, "", []
    for number, line in enumerate(text.splitlines(), start=1):
        fence = line.strip().startswith("```")
        fenced ^= fence
        prose.append("" if fenced or fence else line)
        if fenced and not fence:
            pending += line.removesuffix("\\")
            if not line.endswith("\\"):
                yield number, pending.partition(" #")[0]
                pending = ""
    rest = "\n".join(prose)
    for match in re.finditer(r"`([^`]+)`", rest):
        yield rest.count("\n", 0, match.start()) + 1, " ".join(match[1].split())


def faults(text: str, folder: pathlib.Path = ROOT) -> list[str]:
    """What a document names that does not exist, a line each."""
    found = [f"line {line}: {fault}" for line, span in code(text) for fault in of_code(span)]
    for number, line in enumerate(text.splitlines(), start=1):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if not target.startswith(("http://", "https://")) and not link_exists(
                target, text, folder
            ):
                found.append(f"line {number}: link {target}")
    return found


def link_exists(target: str, text: str, folder: pathlib.Path) -> bool:
    """Whether a relative link leads to a file and, if it names one, to a heading in it."""
    path, _, anchor = target.partition("#")
    if path and not (folder / path).exists():
        return False
    if anchor:
        text = (folder / path).read_text(encoding="utf-8") if path else text
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        return anchor in {
            re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings
        }
    return True


def of_code(span: str) -> Iterator[str]:
    """What a piece of code names that does not exist."""
    for arguments in re.findall(r"(?:^|[\s;])trustee +([^&|;]+)", span):
        yield from of_command(arguments.split())
    for name in re.findall(r"--config\.([\w.]+)", span):
        if not is_option(name):
            yield f"option --config.{name}"
    if match := re.fullmatch(r"trustee_jax((?:\.\w+)+)(?:\(.*\))?", span):
        if not dotted_exists(match[1].strip(".").split(".")):
            yield f"symbol {span}"
    elif match := re.fullmatch(r"(?:--config\.)?(\w+(?:\.\w+)+)", span):
        name = match[1]
        if name.partition(".")[0] in SECTIONS and not name.endswith(".py") and not is_option(name):
            yield f"option {name}"
    for path, symbol in re.findall(r"(?<![\w/.:~-])([\w.*/-]+)(?:::([\w.]+))?", span):
        if path in OF_A_USER or path.startswith("my_"):
            continue
        if is_path(path, symbol) and not path_exists(path):
            yield f"path {path}"
        elif symbol and not symbol_exists(ROOT / path, symbol.split(".")):
            yield f"symbol {path}::{symbol}"


def of_command(words: list[str]) -> Iterator[str]:
    """What a call of `trustee` names that it does not know."""
    command: Command | Group = COMMANDS
    called = ["trustee"]
    while isinstance(command, Group) and words and words[0].isalnum() and words[0] != "COMMAND":
        called.append(words[0])
        if words[0] not in command.commands:
            yield f"command {' '.join(called)}"
            return
        command, words = command.command(words[0]), words[1:]
    known = set(command.declared()) if isinstance(command, Command) else set()
    for flag in re.findall(r"(?:^|\s)--(?:no)?(\w[\w.]*)", " ".join(words)):
        if flag != "help" and not flag.startswith("config.") and flag not in known:
            yield f"flag --{flag} of {' '.join(called)}"


def is_option(name: str) -> bool:
    """Whether there is an option or a section of that name; words in capitals are placeholders."""
    if name.isupper() or name in OPTIONS:
        return True
    return any(known.startswith(f"{name}.") for known in OPTIONS)


def is_path(word: str, symbol: str) -> bool:
    """Whether a word of code is meant as a path of the repository."""
    first = word.partition("/")[0]
    if symbol or re.fullmatch(rf"[\w./*-]*\w\.({SUFFIXES})", word):
        return True
    return "/" in word and (first in {path.name for path in ROOT.iterdir()} or word.endswith("/"))


def path_exists(word: str) -> bool:
    """Whether it is there: from the root, or a single name anywhere; WORDS stand for any name."""
    if word.rstrip("/") in OF_A_USER or (ROOT / word).exists():
        return True
    pattern = re.sub(r"\b[A-Z]{3,}\b", "*", word)
    if "*" in pattern and any(ROOT.glob(pattern)):
        return True
    return "/" not in word.rstrip("/") and word.rstrip("/") in names()


def dotted_exists(parts: list[str]) -> bool:
    """Whether a dotted name below the package is a module, or a symbol of one."""
    path = ROOT / "trustee_jax"
    for index, part in enumerate(parts):
        if (path / part).is_dir():
            path /= part
        elif (path / f"{part}.py").exists():
            return symbol_exists(path / f"{part}.py", parts[index + 1 :])
        else:
            return symbol_exists(path / "__init__.py", parts[index:])
    return True


def symbol_exists(file: pathlib.Path, parts: list[str]) -> bool:
    """Whether a Python file defines a function, class, method, field or constant."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for part in parts:
        for node in body:
            if isinstance(node, _DEFINITIONS) and node.name == part:
                body = node.body
                break
            targets = [getattr(node, "target", None), *getattr(node, "targets", ())]
            aliases = [alias.asname or alias.name for alias in getattr(node, "names", ())]
            if any(isinstance(t, ast.Name) and t.id == part for t in targets) or part in aliases:
                body = []
                break
        else:
            return False
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_exists(document: pathlib.Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert len(list(code(text))) > 10
    assert faults(text, document.parent) == []


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = text[text.index("## Rooms") : text.index("## Seams")]
    package = ROOT / "trustee_jax"
    folders = [f"{file.parent.name}/" for file in package.glob("*/__init__.py")]
    modules = [file.name for file in package.glob("*.py") if not file.name.startswith("__")]
    assert len(folders) > 10 and len(modules) > 5
    assert [room for room in folders + modules if f"`trustee_jax/{room}`" not in rooms] == []


GOOD = """
# A house
[here](#a-house), [the license](LICENSE), `trustee_jax/training/loop.py::Trainer.train_step`,
`trustee_jax/curriculum/`, `loop.py`, `learner.learning_rate`, `trustee_jax.config.reference()`,
`trustee_jax/curriculum/aspects.py::ASPECTS`, `configs/ablations/NAME.py:quickstart`, `trustee train
--config=configs/debug.py --workdir=runs/a`, `episodes.jsonl`, `reward/mean`, `json.dumps`
```bash
trustee tools check my_tools.json && trustee train --config=configs/debug.py \\
  --config.learner.learning_rate=1 --workdir=a  # trustee flies
```
"""


@pytest.mark.parametrize(
    ("present", "changed", "fault"),
    [
        ("Trainer.train_step", "Trainer.trains", "line 3: symbol trustee_jax/training/loop.py::"),
        ("loop.py::Trainer", "hoop.py::Trainer", "line 3: path trustee_jax/training/hoop.py"),
        ("aspects.py::ASPECTS", "aspects.py::ASPECT_", "line 5: symbol"),
        ("`loop.py`", "`hoop.py`", "line 4: path hoop.py"),
        ("trustee_jax/curriculum/`", "trustee_jax/curricula/`", "line 4: path"),
        ("`trustee_jax/curriculum/`", "`curricula/`", "line 4: path curricula/"),
        ("configs/ablations/NAME", "configs/ablation/NAME", "line 5: path configs/ablation/NAME"),
        ("`learner.learning_rate`", "`learner.rate`", "line 4: option learner.rate"),
        ("--config.learner.learning", "--config.teacher.learning", "line 9: option --config.teach"),
        ("config.reference()", "config.preference()", "line 4: symbol trustee_jax.config.pref"),
        ("config.reference()", "confit.reference()", "line 4: symbol trustee_jax.confit"),
        ("`trustee train\n", "`trustee fly\n", "line 5: command trustee fly"),
        ("trustee tools check", "trustee tools chew", "line 9: command trustee tools chew"),
        ("--workdir=runs", "--workdirs=runs", "line 5: flag --workdirs of trustee train"),
        ("](#a-house)", "](#a-mouse)", "line 3: link #a-mouse"),
        ("](LICENSE)", "](LICENCE)", "line 3: link LICENCE"),
        ("](LICENSE)", "](https://example.org/none)", None),
    ],
)
def test_what_does_not_exist_is_found(present: str, changed: str, fault: str | None) -> None:
    assert faults(GOOD) == []
    found = faults(GOOD.replace(present, changed))
    if fault is None:
        assert found == []
    else:
        assert present in GOOD
        assert len(found) == 1 and found[0].startswith(fault)
