"""The prompt templates: where they lie, what they receive, and a check of them before a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jinja2

from trustee_jax.curriculum import ASPECTS
from trustee_jax.errors import ConfigError
from trustee_jax.paths import user_path
from trustee_jax.text import compact_json

SimulatorRole = Literal["task", "world", "user", "tool", "verifier"]

POLICY_PROMPTS = ("policy_detailed", "policy_medium", "policy_brief", "policy_one_line")
CRITERIA = ("intent_met", "calls_correct", "no_hallucination", "no_waste", "concise")
"""What the verifier judges, in the order in which the curriculum adds them."""

_OWN_FOLDER = Path(__file__).parent / "prompts"
EXAMPLE_TASK: dict[str, Any] = {
    "persona": "Tom, a nurse after a night shift, types without capitals.",
    "expected_calls": [
        {
            "name": "reserve_table",
            "values": {"restaurant": "Luigi's", "date": "12 May", "time": "19:30", "people": "4"},
        }
    ],
    "intent": "Reserve a table for 4 at Luigi's in Leeds on 12 May at 19:30.",
    "query": "hey, can you get me a table at luigi's in leeds? 4 people, 12 may, half past seven",
}
"""The task that the generator is shown; a simulator that repeats it is refused."""

_TOOL = {"name": "find", "description": "Finds.", "parameters": {"type": "object"}}
# One value for every field that a role's template receives; shows a misspelt field at once.
_SAMPLE_FIELDS: dict[SimulatorRole, dict[str, Any]] = {
    "task": {
        "tools": [_TOOL],
        "category": "user",
        "values": {"find": {"city": "string"}},
        "example": EXAMPLE_TASK,
    }
    | {aspect.name: aspect.ramp.low for aspect in ASPECTS if aspect.requested},
    "world": {
        "tools": [_TOOL],
        "intent": "g",
        "expected_calls": [{"name": "find", "values": {"city": "Lyon"}}],
        "collections": 3,
        "records": 4,
    },
    "user": {"tools": [_TOOL], "persona": "p", "intent": "g", "query": "q", "history": ["h"]},
    "tool": {
        "tools": [_TOOL],
        "intent": "g",
        "history": ["h"],
        "world": ["hotels: {}"],
        "real": ["search"],
        "call": "find({})",
    },
    "verifier": {
        "tools": [_TOOL],
        "persona": "p",
        "intent": "g",
        "query": "q",
        "expected_calls": ["find"],
        "history": ["h"],
        "ended": "user",
        "world": ["hotels: {}"],
        "changes": ["add in hotels: {}"],
        "criteria": CRITERIA,
        "mode": "reasoned",
    },
}


class Prompts:
    """The templates of one run.

    A simulator's file holds two Jinja blocks: `instructions` becomes the system message and should
    depend on as little as possible, because the engine reuses the cache of equal beginnings, and
    `request` becomes the user message. A policy file is the system message of the policy as a
    whole. The comment at the top of each file lists its fields.
    """

    def __init__(self, folder: str | None = None):
        """Loads and checks all templates.

        Args:
          folder: A folder whose files replace the package's, file by file.

        Raises:
          ConfigError: The folder does not exist or holds a file of another name, or a template is
            broken, lacks a block, has text outside of them or uses a field that it does not
            receive.
        """
        names = [*_SAMPLE_FIELDS, *POLICY_PROMPTS]
        self._folders = [_OWN_FOLDER]
        if folder is not None:
            own = user_path(folder)
            if not own.is_dir():
                raise ConfigError("prompts", folder, "give an existing folder, or None")
            for file in sorted(own.glob("*.jinja*")):
                if file.suffix != ".jinja" or file.stem not in names:
                    known = ", ".join(f"{name}.jinja" for name in names)
                    raise ConfigError("prompts", str(file), f"rename it to one of {known}")
            self._folders.insert(0, own)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self._folders),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["json"] = compact_json
        self._templates: dict[str, jinja2.Template] = {}
        self._wording: dict[str, tuple[str, ...]] = {}
        for name in names:
            try:
                self._templates[name] = environment.get_template(f"{name}.jinja")
                if name in _SAMPLE_FIELDS:
                    file = Path(str(self._templates[name].filename))
                    tree = environment.parse(file.read_text(encoding="utf-8"))
                    _check_outside(tree)
                    self.messages(name, _SAMPLE_FIELDS[name])
                    self._wording[name] = tuple(_fixed_lines(tree))
                else:
                    self._templates[name].render()
            except (jinja2.TemplateError, TypeError, LookupError) as error:
                raise ConfigError("prompts", self._path(name), f"correct it: {error}") from error

    def messages(self, role: SimulatorRole, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Renders the request to a simulator as a system and a user message."""
        template = self._templates[role]
        blocks = []
        for block in ("instructions", "request"):
            if block not in template.blocks:
                raise LookupError(f"it lacks the block {block!r}")
            context = template.new_context(dict(fields))
            blocks.append("".join(template.blocks[block](context)).strip())
        return [{"role": "system", "content": blocks[0]}, {"role": "user", "content": blocks[1]}]

    def wording(self, role: SimulatorRole) -> tuple[str, ...]:
        """The fixed text of a role's template, line by line as far as no field interrupts it.

        What a field is filled in with is not part of it; texts that the template chooses from are.
        """
        return self._wording[role]

    def policy(self, level: int) -> str:
        """Renders the policy's system message of a level, 0 (detailed) to 3 (one line)."""
        return self._templates[POLICY_PROMPTS[level]].render().strip()

    def _path(self, name: str) -> str:
        files = (folder / f"{name}.jinja" for folder in self._folders)
        return str(next((file for file in files if file.exists()), name))


def _check_outside(tree: jinja2.nodes.Template) -> None:
    """Refuses what would never be sent."""
    for node in tree.body:
        if isinstance(node, jinja2.nodes.Output):
            for part in node.nodes:
                text = part.data.strip() if isinstance(part, jinja2.nodes.TemplateData) else "{{"
                if text:
                    raise LookupError(f"{text[:40]!r} stands outside of its two blocks")


def _fixed_lines(tree: jinja2.nodes.Template) -> Iterator[str]:
    """The lines of what stands in a template itself, texts within its expressions included."""
    written: list[Any] = [node.data for node in tree.find_all(jinja2.nodes.TemplateData)]
    written += [node.value for node in tree.find_all(jinja2.nodes.Const)]
    for text in written:
        if isinstance(text, str):
            yield from filter(None, map(str.strip, text.splitlines()))
