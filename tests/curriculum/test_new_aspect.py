"""A new aspect is written down in three places: its row, its field, and a prompt's words."""

import dataclasses
import difflib
import json
import os
import pathlib
import shutil
import subprocess
import sys

from trustee_jax.curriculum import ASPECTS, PROBED, Aspects, CurriculumConfig, Ramp

ROOT = pathlib.Path(__file__).parents[2]
ROW = """    Aspect(
        "patience",
        Ramp(slope=0.02, low=0, high=2),
        "of the user; 0 endless, 1 some, 2 hardly any",
        most=2,
        redrawn=True,
        needs=("user_turns",),
        requested=True,
    ),
"""
FIELD = "    patience: int = 0\n"
TABLE_END = ')\n"""All aspects, in'
AFTER_FIELDS = "    redrawn: bool = False\n    probed:"
# File -> (what stands there now, what stands there with the aspect).
PLACES = {
    "curriculum/aspects.py": (
        (TABLE_END, ROW + TABLE_END),
        (AFTER_FIELDS, FIELD + AFTER_FIELDS),
    ),
    "simulator/prompts/task.jinja": (
        ("][turns] }}.\n", "][turns] }}.\nThe user's patience is {{ patience }} of 2.\n"),
    ),
}
PROGRAM = """
import dataclasses, json, pathlib, runpy
import numpy as np
from trustee_jax.config import Config, default, parse
from trustee_jax.options import flatten
from trustee_jax.curriculum import Aspects, Curriculum, CurriculumConfig, Outcome
from trustee_jax.environment import Episode, Task
from trustee_jax.report import panels
from trustee_jax.simulator.prompts import Prompts
from trustee_jax.toolsets import Tool
from trustee_jax.training.collect import StepRollouts
from trustee_jax.training import summary

found = {}
config = default()
config.curriculum.patience.low = 1
found["option"] = flatten(parse(config))["curriculum.patience.low"]
try:
    config.curriculum.patience.high = 3
    parse(config)
except Exception as error:
    found["refused"] = error.field

rng = np.random.default_rng(0)
for epsilon in (0.0, 1.0):
    curriculum = Curriculum(CurriculumConfig(initial=60.0, epsilon=epsilon))
    drawn = [curriculum.aspects(rng) for _ in range(50)]
    found[f"drawn {epsilon}"] = sorted({aspects.patience for aspects in drawn})
frontier = Curriculum(CurriculumConfig(rule="frontier", initial=60.0))
found["probed"] = "patience" in {frontier.aspects(rng).probed for _ in range(200)}
probe = dataclasses.replace(drawn[0], probed="patience")
frontier.update([Outcome(probe, (1.0,) * 8)])
found["moved"] = frontier.metrics()["frontier_patience"] > 60
found["state"] = "patience" in frontier.state()["levels"]

written = json.loads(json.dumps(probe.to_json()))
found["record"] = Aspects(**written) == probe
del written["patience"]
found["older record"] = Aspects(**written).patience

tool = Tool("find", "Finds.", {"type": "object"}, "c")
task = Task((tool,), dataclasses.replace(probe, patience=2), "p", "i", ("find",), "q")
found["requested"] = task.aspects.requested["patience"]
fields = task.aspects.requested | {"values": None, "example": {}, "tools": [], "category": "c"}
found["prompt"] = "patience is 2 of 2" in Prompts().messages("task", fields)[1]["content"]

episode = Episode(task=task, key=(1, 0, 0), messages=(), calls=(), sequences=(), ended="user",
                  verdict=None, reward=1.0, world=None, changes=(), segments=())
scalars = summary.curriculum_scalars(frontier.metrics(), [episode])
scalars |= summary.aspect_scalars([task])
names = [name for name in scalars if name.endswith("patience")]
found["metrics"] = sorted(names)
groups = panels.groups({1: scalars})
found["panels"] = sorted(
    [panel["title"], panel["note"]] for group in groups for panel in group["panels"]
    for series in panel["series"] if series["metric"] in names
)
hardest = runpy.run_path("configs/ablations/hardest.py")["get_config"]("patience,debug")
found["hardest"] = [hardest.curriculum.patience.low, hardest.curriculum.user_turns.low]
print(json.dumps(found))
"""


def test_a_new_aspect_is_three_insertions(tmp_path: pathlib.Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("trustee_jax", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    inserted = 0
    for name, changes in PLACES.items():
        file = tmp_path / "trustee_jax" / name
        before = text = file.read_text()
        for present, changed in changes:
            assert text.count(present) == 1
            text = text.replace(present, changed)
        file.write_text(text)
        matcher = difflib.SequenceMatcher(None, before.splitlines(), text.splitlines(), False)
        kinds = [kind for kind, *_ in matcher.get_opcodes() if kind != "equal"]
        assert set(kinds) == {"insert"}
        inserted += len(kinds)
    assert inserted == 3

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    note = "of the user; 0 endless, 1 some, 2 hardly any"
    assert json.loads(done.stdout) == {
        "option": 1,
        "refused": "curriculum.patience.high",
        "drawn 0.0": [1],
        "drawn 1.0": [0, 1, 2],
        "probed": True,
        "moved": True,
        "state": True,
        "record": True,
        "older record": 0,
        "requested": 2,
        "prompt": True,
        "metrics": [
            "curriculum/frontier_patience",
            "curriculum/patience",
            "curriculum/success_patience",
        ],
        "panels": [
            ["Frontier patience", "level of difficulty at which it is probed"],
            ["Patience", note],
            ["Success patience", "share of its probes that succeed"],
        ],
        "hardest": [2, 3],
    }


def test_every_row_has_its_field_and_its_option() -> None:
    names = [aspect.name for aspect in ASPECTS]
    fields = {field.name: field for field in dataclasses.fields(Aspects)}
    apart = ("difficulty", "redrawn", "probed", "irrelevant")
    assert [name for name in fields if name not in apart] == names
    assert {fields[name].type for name in names} == {int}
    options = {field.name: field for field in dataclasses.fields(CurriculumConfig)}
    assert list(options)[-len(names) :] == names
    for aspect in ASPECTS:
        assert options[aspect.name].type is Ramp
        assert options[aspect.name].default == aspect.ramp
        aspect.check(aspect.ramp)
        assert set(aspect.follows) <= set(PROBED)
        assert set(aspect.needs) <= set(names)
