"""The model card of an exported policy: what its run's folder says about it."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from trustee_jax.config import OBJECTIVES, Config
from trustee_jax.options import flatten
from trustee_jax.report import figures
from trustee_jax.report.run import Run

Form = Literal["merged", "adapter"]

_METHOD = "[arXiv 2604.17739](https://arxiv.org/abs/2604.17739)"
_OBJECTIVES = {
    "grpo": ("GRPO", "2402.03300"),
    "dapo": ("DAPO", "2503.14476"),
    "dr_grpo": ("Dr. GRPO", "2503.20783"),
    "gspo": ("GSPO", "2507.18071"),
    "rloo": ("RLOO", "2402.14740"),
}
# Metric -> what the table calls it.
_MEASURES = {
    "reward/mean": "mean reward",
    "curriculum/difficulty": "difficulty of the tasks",
    "episodes/valid": "share of valid episodes",
    "counts/valid_calls": "valid calls per episode",
    "counts/malformed_calls": "malformed calls per episode",
    "learner/kl": "KL to the initial policy, per token",
}
_PACKAGES = ("trustee-jax", "jax", "flax")
# The folders of a path from the root, which are nobody's business.
_FOLDERS = re.compile(r"(?<![^,=\s])/(?:[^/,\s]+/)+")
_ABOUT = "meta"  # of an evaluation: machine and paths
_MOST_ROWS = 100


def base_name(source: str) -> tuple[str, str | None]:
    """Where others find the base: its name on the hub and its revision, else the source itself."""
    if not source.startswith("hub:"):
        return source, None
    name, _, revision = source.removeprefix("hub:").partition("@")
    return name, revision or None


def model_card(
    run: Run, config: Config, *, step: int, form: Form, name: str, license: Mapping[str, str]
) -> str:
    """Text of README.md.

    Args:
      run: What the folder holds; of its metrics those up to `step` count.
      config: The run's options.
      step: Of the checkpoint that is exported.
      form: Of the export.
      name: The model's.
      license: Of the base, by the card's fields; empty if it states none.
    """
    metrics = {n: values for n, values in run.metrics.items() if n <= step}
    parts = [
        _front_matter(config, form, license),
        f"# {name}",
        f"A policy that calls tools, trained for {step} {'step' if step == 1 else 'steps'} by "
        "reinforcement learning in episodes that a frozen language model invents, simulates and "
        f"grades: TRUSTEE ({_METHOD}), with trustee-jax.",
        _table(("", ""), _facts(run, config, metrics, step)),
        *_training(metrics),
        *_evaluations(run.layout.root),
        "## Use",
        _use(config, form, name),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(config: Config, form: Form, license: Mapping[str, str]) -> str:
    from huggingface_hub import ModelCardData

    source = config.model.source
    stated: dict[str, Any] = dict(license)
    data = ModelCardData(
        base_model=base_name(source)[0] if source.startswith("hub:") else None,
        library_name="peft" if form == "adapter" else "transformers",
        pipeline_tag="text-generation",
        tags=["tool-calling", "reinforcement-learning", "trustee-jax"],
        **stated,
    )
    return f"---\n{data.to_yaml()}\n---"


def _facts(
    run: Run, config: Config, metrics: figures.Values, step: int
) -> Iterator[tuple[str, str]]:
    model, training = config.model, config.training
    yield "base", _code(model.source)
    if model.lora_rank:
        targets = ", ".join(model.lora_targets)
        yield "adapter", f"rank {model.lora_rank}, alpha {model.lora_alpha:g}, on {targets}"
    else:
        yield "adapter", "none: all weights are trained"
    if model.quantization:
        yield "base during training", f"{model.quantization}; the adapter is for the original"
    yield "simulator", _code(model.simulator) if model.simulator else "the base, frozen"
    yield "tools", _code(config.tools)
    yield "objective", _objective(config)
    yield "step", f"{step} of {training.steps}"
    tasks = f"{training.tasks_per_step} tasks x {training.group_size} episodes"
    yield "episodes of a step", tasks
    played = [values.get("episodes/played") for values in metrics.values()]
    if any(played):
        yield "episodes played", f"{sum(filter(None, played)):,.0f}"
    seconds = [values.get("seconds/step") for values in metrics.values()]
    if any(seconds):
        yield "hours", f"{sum(filter(None, seconds)) / 3600:.2g}"
    sampling = config.environment.policy.sampling
    top_k = f", top k {sampling.top_k}" if sampling.top_k else ""
    yield "sampling", f"temperature {sampling.temperature:g}, top p {sampling.top_p:g}{top_k}"
    yield "seed", str(config.seed)
    yield (
        "exported with",
        ", ".join(f"{package} {importlib.metadata.version(package)}" for package in _installed()),
    )


def _installed() -> Iterator[str]:
    for package in _PACKAGES:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # run from its sources
        yield package


def _objective(config: Config) -> str:
    """The paper whose objective it is, if the options are just those."""
    options = flatten(config)
    for name, wanted in OBJECTIVES.items():
        if all(options[option] == value for option, value in wanted.items()):
            title, number = _OBJECTIVES[name]
            return f"{title} ([arXiv {number}](https://arxiv.org/abs/{number}))"
    defaults = flatten(Config())
    some = next(iter(OBJECTIVES.values()))
    if all(options[option] == defaults[option] for option in some):
        return "TRUSTEE's own"
    changed = [f"{o.removeprefix('learner.')} {options[o]}" for o in some]
    return ", ".join(changed)


def _training(metrics: figures.Values) -> Iterator[str]:
    rows = []
    for name, label in _MEASURES.items():
        first, last = figures.at_begin(metrics, name), figures.at_end(metrics, name)
        if first is not None and last is not None:
            rows.append((label, f"{first:.3g}", f"{last:.3g}"))
    if rows:
        steps, count = sorted(metrics), figures.tenth(len(metrics))
        yield "## Training"
        yield _table(("mean over", _span(steps[:count]), _span(steps[-count:])), rows)
        yield (
            "Rewards are verdicts on simulated tasks, whose difficulty moves with the policy: they "
            "are no benchmark."
        )


def _span(steps: list[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def _evaluations(folder: pathlib.Path) -> Iterator[str]:
    """A table for each summary.json of an evaluation, of whatever figures it holds."""
    tables = []
    for file in sorted(folder.glob("eval*/**/summary.json")):
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # half written, or none of ours: no fact
        rows = list(_leaves(summary)) if isinstance(summary, dict) else []
        if rows:
            tables.append(f"### {file.parent.relative_to(folder).as_posix()}")
            tables.append(_table(("", ""), rows[:_MOST_ROWS]))
    if tables:
        yield "## Evaluations"
        yield from tables


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and texts of shares with intervals, numbers, pairs of numbers and short words."""
    for key, item in value.items():
        name = f"{prefix}{key}".replace("_", " ")
        if key == _ABOUT:
            continue
        if isinstance(item, Mapping) and (share := _share(item)):
            yield name, share
        elif isinstance(item, Mapping):
            yield from _leaves(item, f"{name}, ")
        elif _is_number(item):
            yield name, f"{item:.4g}" if isinstance(item, float) else str(item)
        elif isinstance(item, list) and len(item) == 2 and all(map(_is_number, item)):
            yield name, f"{item[0]:.4g} to {item[1]:.4g}"
        elif isinstance(item, str) and 0 < len(item) <= 80 and "\n" not in item:
            yield name, _code(item)


def _share(item: Mapping[str, Any]) -> str:
    """A share with the ends of its interval in percent; empty if it is none."""
    found = [item.get("share", item.get("value")), item.get("low"), item.get("high")]
    if not all(map(_is_number, found)):
        return ""
    text = "{:.1%} ({:.1%} to {:.1%})".format(*found)
    return f"{text}, {item['count']} of {item['of']}" if {"count", "of"} <= item.keys() else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _use(config: Config, form: Form, name: str) -> str:
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if form == "adapter":
        base = base_name(config.model.source)[0]
        lines[:1] = ["from peft import PeftModel", lines[0]]
        lines += [
            f"base = AutoModelForCausalLM.from_pretrained({_FOLDERS.sub('', base)!r})",
            f"model = PeftModel.from_pretrained(base, {name!r})",
        ]
    else:
        lines.append(f"model = AutoModelForCausalLM.from_pretrained({name!r})")
    lines.append(f"tokenizer = AutoTokenizer.from_pretrained({name!r})")
    code = "\n".join(["```python", *lines, "```"])
    return (
        "The tokenizer's chat template is the one that the policy was trained with; give the tools "
        "to `apply_chat_template`.\n\n" + code
    )


def _code(text: str) -> str:
    return f"`{_FOLDERS.sub('', text)}`"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
