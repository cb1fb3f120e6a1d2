"""Every option of a run, composed from the sections that the rooms define.

`default` makes the `ml_collections.ConfigDict` that config files edit and command-line flags
override, `parse` turns it back into a checked `Config`. No room knows the whole: it gets its
section.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import config_dict

from trustee_jax import options as option
from trustee_jax.curriculum import CurriculumConfig
from trustee_jax.engine.config import EngineConfig
from trustee_jax.environment.config import EnvironmentConfig
from trustee_jax.environment.judges.judge import JUDGES
from trustee_jax.errors import ConfigError
from trustee_jax.evaluation.config import EvaluationConfig
from trustee_jax.models.layers import PROJECTIONS, Quantization
from trustee_jax.rl.config import LearnerConfig
from trustee_jax.rl.objective import PARTS
from trustee_jax.simulator.config import SimulatorConfig
from trustee_jax.training.config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which weights are trained, which simulate, and how they are held.

    Attributes:
      source: The policy's checkpoint: a folder with config.json and safetensors, a `.gguf` file,
        `hub:org/name[@revision]`, `wheel:...` or `random:...` (see `weights.open_checkpoint`).
      simulator: The checkpoint of the frozen simulator. None: the policy's own base weights, which
        LoRA leaves untouched, so that one copy plays all roles.
      call_syntax: How the policy writes its tool calls: "hermes", "llama" or "json" (see
        `chat.CallSyntax`). "auto" is the form of its chat template, or "json" where the tags of
        that form are tokens that were never trained, which no adapter can make it write.
      dtype: What parameters and activations are computed in.
      quantization: "int8" holds the matrices of the policy's base and of the simulator as int8 with
        a float32 scale for each output channel: half the memory of bfloat16. Adapters stay float32.
        The KL term then refers to the quantised base; `trustee export` merges the adapter into the
        original weights. Needs adapters, and is made for accelerators: a CPU is slower with it.
      scan_layers: Stack the layers and scan over them: compile time does not grow with depth, but
        decoding on a CPU is several times slower. None: not on a CPU, elsewhere yes.
      remat: What the backward pass computes again instead of keeping it: "blocks" the whole of each
        layer, "dots" all but the outputs of its linear layers, "none" nothing; "auto" is "none" on
        a CPU and "blocks" elsewhere.
      lora_rank: Rank of the adapters; 0 trains all weights instead.
      lora_alpha: The adapters' output is scaled by `lora_alpha / lora_rank`.
      lora_targets: Projections that get an adapter, out of q, k, v, o, gate, up, down.
    """

    source: str = "hub:Qwen/Qwen3-8B"
    simulator: str | None = None
    call_syntax: Literal["auto", "hermes", "llama", "json"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    quantization: Quantization | None = None
    scan_layers: bool | None = None
    remat: Literal["auto", "none", "blocks", "dots"] = "auto"
    lora_rank: int = 32
    lora_alpha: float = 64.0
    lora_targets: tuple[str, ...] = PROJECTIONS

    def __post_init__(self) -> None:
        """Checks the adapter's options and that there is a source."""
        if not self.source:
            raise ConfigError("source", self.source, "name a checkpoint, e.g. 'hub:Qwen/Qwen3-8B'")
        if self.lora_rank < 0:
            raise ConfigError("lora_rank", self.lora_rank, "it must be 0 (no adapter) or more")
        if self.quantization and not self.lora_rank:
            fix = (
                "lora_rank 0 trains the weights themselves: give adapters a rank, or set it to None"
            )
            raise ConfigError("quantization", self.quantization, fix)
        if self.lora_alpha <= 0:
            raise ConfigError("lora_alpha", self.lora_alpha, "it must be above 0")
        if self.lora_rank and not self.lora_targets:
            raise ConfigError("lora_targets", self.lora_targets, "name at least one projection")
        if not set(self.lora_targets) <= set(PROJECTIONS):
            choices = ", ".join(repr(name) for name in PROJECTIONS)
            fix = f"write a tuple, e.g. \"('q', 'v')\", with names out of {choices}"
            raise ConfigError("lora_targets", self.lora_targets, fix)

    def resolved(self, platform: str) -> ModelOptions:
        """With what is left to the platform, as jax names it, decided."""
        cpu = platform == "cpu"
        remat: Any = ("none" if cpu else "blocks") if self.remat == "auto" else self.remat
        scan = not cpu if self.scan_layers is None else self.scan_layers
        return dataclasses.replace(self, scan_layers=scan, remat=remat)


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """How the devices are arranged: sizes that multiply to their number; one may be -1, the rest.

    Attributes:
      data: Copies of the weights, each of which computes a part of the batch.
      fsdp: Parts that every weight is split into, gathered when it is needed.
      tensor: Parts that heads and hidden units are split into.
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
      tools: One or more sources, separated by commas (see `sources.open_tools`): "starter", a JSON
        or JSON-lines file of OpenAI tools, or a folder that `trustee tools` wrote, which are
        simulated; a Python file of functions, `mcp:` and a server's command line, or the http(s)
        URL of one, which are called.
      curriculum: How the difficulty shapes tasks, and how it moves.
      simulator: The frozen model behind task generator, world, user, tools and verifier.
      environment: The game: tasks, episodes, their grading.
      learner: The objective and its optimizer.
      training: Length of the run and its checkpoints.
      evaluation: How the run is measured as it goes.
    """

    seed: int = 0
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)
    tools: str = "starter"
    curriculum: CurriculumConfig = dataclasses.field(default_factory=CurriculumConfig)
    simulator: SimulatorConfig = dataclasses.field(default_factory=SimulatorConfig)
    environment: EnvironmentConfig = dataclasses.field(default_factory=EnvironmentConfig)
    learner: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)

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
        if self.training.max_staleness and self.learner.tis_cap is None:
            staleness = self.training.max_staleness
            fix = f"training.max_staleness = {staleness} needs its correction: give a cap, e.g. 2.0"
            raise ConfigError("learner.tis_cap", None, fix)


def _objective(**changes: Any) -> Mapping[str, Any]:
    """GRPO without KL term, with some options changed, by dotted name."""
    options = {
        "advantage_baseline": "group_mean",
        "advantage_scale": "group_std",
        "importance_ratio": "token",
        "loss": "clip",
        "clip_epsilon": 0.2,
        "clip_epsilon_high": None,
        "aggregation": "sequence_mean",
        "fixed_length": None,
        "kl_coef": 0.0,
        "mask_truncated": False,
        "zero_variance_groups": "keep",
    }
    merged = options | changes
    return types.MappingProxyType({f"learner.{name}": merged[name] for name in merged})


REFERENCE: Mapping[str, Any] = types.MappingProxyType(
    {
        # Groups are used as they come: what is invalid is missing, nothing is played in its place.
        "training.refill_groups": 0,
        # Groups without variance count in the mean over tokens and in the KL term.
        "learner.zero_variance_groups": "keep",
        # The tool simulator answers every call, also one that does not fit its tool.
        "environment.check_calls": False,
        # A task counts as it is written, with whatever it lacks or repeats.
        "environment.check_tasks": False,
        "environment.recent_tasks": 0,
        "environment.check_queries": False,
        # So does what the user says, whoever would say it.
        "environment.check_user": False,
        # Nothing but the conversation says what exists and what has been done.
        "environment.world.enabled": False,
        # One answer judges all criteria, and nothing checks it.
        "environment.judge.mode": "joint",
        "environment.judge.rules": False,
        "environment.judge.require_answer": False,
        # Past thoughts stay in the context, although chat templates drop them.
        "environment.policy.history": "append",
    }
)
"""Where the published run (arXiv 2604.17739) differs from our defaults, one option for each
difference. Its bugs are in neither."""


OBJECTIVES: Mapping[str, Mapping[str, Any]] = types.MappingProxyType(
    {
        "grpo": _objective(kl_coef=0.04),
        "dapo": _objective(
            aggregation="token_mean",
            clip_epsilon_high=0.28,
            mask_truncated=True,
            zero_variance_groups="drop",
        ),
        "dr_grpo": _objective(advantage_scale="none", aggregation="fixed_length"),
        "gspo": _objective(importance_ratio="sequence", clip_epsilon=3e-4, clip_epsilon_high=4e-4),
        "rloo": _objective(
            advantage_baseline="leave_one_out",
            advantage_scale="none",
            loss="reinforce",
            aggregation="fixed_length",
            fixed_length=1,
        ),
    }
)
"""The objectives of papers, each all options that make one up (of the learner's, not the
optimizer's and not `tis_cap`), for `override`: GRPO (arXiv 2402.03300; its epsilon is PPO's), DAPO
(2503.14476; its dynamic sampling is `training.refill_groups`), Dr. GRPO (2503.20783), GSPO
(2507.18071, sec. 5.1) and RLOO (2402.14740; made for `learner.updates_per_step` 1; its KL term is
in the reward, here `kl_coef` adds one). The defaults are TRUSTEE's."""


RENAMED: Mapping[str, str] = types.MappingProxyType(
    {
        "simulation.policy": "environment.policy",
        "simulation.world.enabled": "environment.world.enabled",
        "simulation.world.collections": "environment.world.collections",
        "simulation.world.records": "environment.world.records",
        "simulation.world.fields": "environment.world.fields",
        "simulation.world.changes": "environment.world.changes",
        "simulation.verifier.mode": "environment.judge.mode",
        "simulation.verifier.threshold": "environment.judge.threshold",
        "simulation.vetoes": "environment.judge.rules",
        "simulation.task": "simulator.task",
        "simulation.world": "simulator.world",
        "simulation.user": "simulator.user",
        "simulation.tool": "simulator.tool",
        "simulation.verifier": "simulator.verifier",
        "simulation.text_limit": "simulator.text_limit",
        "simulation.prompts": "simulator.prompts",
        "simulation": "environment",
        "training.task_draws": "training.max_task_attempts",
        "training.draws_at_once": "training.attempts_in_flight",
        "learner.uniform_groups": "learner.zero_variance_groups",
    }
)
"""Options and sections that had other names, the longer before those that they begin with."""


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
            raise unknown_option(name, value)
        found[leaf] = value
    return config


def default() -> config_dict.ConfigDict:
    """The defaults of every option, the preset `trustee`, for a config file to edit.

    Returns:
      A locked ConfigDict with the nesting of `Config`: a misspelt field is an error where it is
      written. Options whose default is None are placeholders that know their type.
    """
    return option.editable(Config())


def parse(config: Mapping[str, Any] | config_dict.ConfigDict) -> Config:
    """The checked, immutable form of an edited `default()`.

    Args:
      config: The options; a field that is left out keeps its default.

    Raises:
      ConfigError: A field is unknown, has a value of another type, or one that cannot work.
    """
    if isinstance(config, config_dict.ConfigDict):
        config = config.to_dict()
    return option.checked(Config(), config, unknown_option)


def all_options() -> dict[str, Any]:
    """Every option with its default, by dotted name."""
    return option.flatten(Config())


def expected_type(name: str) -> str | None:
    """What the option of that dotted name takes, in words; None if there is no such option."""
    return option.expected_type(Config, name)


def choices(name: str) -> str:
    """What the option of that dotted name may be, where its default does not show it; or empty."""
    tables = {f"learner.{part}": table for part, table in PARTS.items()}
    table: Mapping[str, Any] | None = {**tables, "environment.judge.use": JUDGES}.get(name)
    if table is not None:
        return f"{', '.join(map(repr, table))} or path/to/file.py:function"
    return option.choices(Config, name)


def renamed(name: str) -> str | None:
    """The present name of an option or a section that had another one."""
    for old, new in RENAMED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None


def unknown_option(name: str, value: Any) -> ConfigError:
    """The error for an option that does not exist: its new name, or what may be meant."""
    if new := renamed(name):
        return ConfigError(name, value, f"it is called {new} now")
    return option.unknown_option(list(all_options()), name, value)
