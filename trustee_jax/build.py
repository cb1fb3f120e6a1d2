"""From a config to the objects of a run: models on their mesh, engines, learner, simulator."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from trustee_jax import streams
from trustee_jax.chat import CallSyntax, ChatFormat
from trustee_jax.config import Config, ModelOptions
from trustee_jax.engine import Engine, Role
from trustee_jax.engine.config import EngineConfig
from trustee_jax.engine.programs import Programs as EnginePrograms
from trustee_jax.environment import Environment, load_judges
from trustee_jax.environment.tools.backend import ToolBackend
from trustee_jax.errors import ConfigError
from trustee_jax.models import (
    LoRAConfig,
    LoRAParam,
    MeshRules,
    ModelConfig,
    Transformer,
    make_mesh,
    param_shardings,
)
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.rl import Learner
from trustee_jax.rl.programs import Programs as LearnerPrograms
from trustee_jax.simulator import Simulator
from trustee_jax.simulator.prompts import SimulatorRole
from trustee_jax.streams import Purpose
from trustee_jax.training.system import System
from trustee_jax.weights import Checkpoint, load_params, open_checkpoint, untrained_tokens


def lora_config(options: ModelOptions) -> LoRAConfig | None:
    """The adapters that the options ask for; None for full fine-tuning."""
    if not options.lora_rank:
        return None
    return LoRAConfig(options.lora_rank, options.lora_alpha, options.lora_targets)


def abstract_policy(config: ModelConfig, options: ModelOptions) -> Transformer:
    """The policy as the learner holds it, with shapes instead of arrays.

    Base parameters that are trained in full are float32: small updates must not be rounded away.
    """
    lora = lora_config(options)
    return Transformer(
        config,
        rngs=None,
        dtype=options.dtype,
        param_dtype=options.dtype if lora else "float32",
        lora=lora,
        quantization=options.quantization,
        **_execution(options),
    )


def abstract_frozen(config: ModelConfig, options: ModelOptions) -> Transformer:
    """A model that only generates, with shapes instead of arrays."""
    return Transformer(
        config,
        rngs=None,
        dtype=options.dtype,
        quantization=options.quantization,
        **_execution(options),
    )


def _execution(options: ModelOptions) -> dict[str, Any]:
    """How the layers run, as arguments of a Transformer."""
    options = options.resolved(jax.default_backend())
    return {"scan_layers": options.scan_layers, "remat": options.remat}


def open_format(checkpoint: Checkpoint, options: ModelOptions) -> tuple[ChatFormat, str]:
    """The chat format of a policy, with calls in a form that it can write.

    Args:
      checkpoint: The policy's.
      options: `call_syntax` is read.

    Returns:
      The format, and for a reader why it is not the one that the template asks for, or "".

    Raises:
      CheckpointError: The checkpoint has no tokenizer.
      ChatFormatError: Its chat template cannot be used.
    """
    tokenizer = checkpoint.tokenizer()
    if options.call_syntax != "auto":
        return ChatFormat(tokenizer, CallSyntax(options.call_syntax)), ""
    format = ChatFormat(tokenizer)
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary[tag] for tag in format.call_syntax.tags if tag in vocabulary]
    untrained = untrained_tokens(checkpoint, ids, len(tokenizer))
    if not untrained:
        return format, ""
    tags = " and ".join(tokenizer.convert_ids_to_tokens(list(untrained)))
    note = (
        f"call syntax json instead of {format.call_syntax.value}: the policy never learnt {tags}, "
        "whose rows are those of unused tokens, and no adapter can make it write them"
    )
    return ChatFormat(tokenizer, CallSyntax.JSON), note


def load(checkpoint: Checkpoint, abstract: Transformer, mesh: Mesh, seed: int) -> Transformer:
    """Fills in the checkpoint's parameters, and fresh LoRA factors where the model has them."""
    rules = MeshRules.create(mesh, LEARNER_RULES)
    graphdef, *states = nnx.split(abstract, LoRAParam, ...)
    lora, base = states
    dtype = abstract.final_norm.scale.get_value().dtype  # matrices may be quantised
    base = load_params(checkpoint, base, param_shardings(base, rules), dtype)
    if jax.tree.leaves(lora):
        lora = _init_lora(lora, rules, seed)
    return nnx.merge(graphdef, lora, base)


def _init_lora(lora: nnx.State, rules: MeshRules, seed: int) -> nnx.State:
    """A from N(0, 1/in), B zero (arXiv 2106.09685, section 4.1), the same on every mesh."""
    shardings = dict(nnx.to_flat_state(param_shardings(lora, rules)))
    drawn = {}
    for i, (path, variable) in enumerate(nnx.to_flat_state(lora)):
        shape = variable.get_value().shape
        if path[-1] == "lora_a":
            # On the host: hundreds of small random programs would take longer to compile.
            factor = streams.generator(Purpose.ADAPTER, seed, i).standard_normal(shape, np.float32)
            factor *= shape[-2] ** -0.5
        else:
            factor = np.zeros(shape, np.float32)
        drawn[path] = variable.replace(jax.device_put(factor, shardings[path].get_value()))
    return nnx.from_flat_state(drawn)


def build(
    config: Config, backends: Mapping[str, ToolBackend] = types.MappingProxyType({})
) -> System:
    """Loads the models and creates engines, simulator and learner.

    Args:
      config: Of the run.
      backends: What answers the calls of real tools, by their names.

    Raises:
      ConfigError: Options do not fit each other, the models or the devices.
      CheckpointError: A checkpoint cannot be read.
    """
    options = config.model
    make_judge = load_judges(config.environment)
    mesh = mesh_of(config)
    checkpoint = open_checkpoint(options.source)
    check_max_length(config.engine, checkpoint.config, "model.source")
    shared = options.simulator is None and options.lora_rank > 0
    simulator_checkpoint = checkpoint
    if options.simulator not in (None, options.source):
        simulator_checkpoint = open_checkpoint(options.simulator)
        check_max_length(config.engine, simulator_checkpoint.config, "model.simulator")
    policy_format, note = open_format(checkpoint, options)
    tokenizer = policy_format.tokenizer
    # Options, prompts and a user's functions are checked before the first weight is read.
    abstract = abstract_policy(checkpoint.config, options)
    LearnerPrograms(abstract, mesh, config.learner)
    EnginePrograms.create(abstract, mesh, config.engine)
    if not shared:
        simulator_model = abstract_frozen(simulator_checkpoint.config, options)
        EnginePrograms.create(simulator_model, mesh, config.engine)
    if simulator_checkpoint is checkpoint:
        simulator_tokenizer, simulator_format = tokenizer, policy_format
    else:
        simulator_tokenizer = simulator_checkpoint.tokenizer()
        simulator_format = ChatFormat(simulator_tokenizer)
    simulator = make_simulator(config, simulator_format, config.environment.roles)

    policy = load(checkpoint, abstract, mesh, config.seed)
    frozen = None
    if not shared:
        frozen = load(simulator_checkpoint, simulator_model, mesh, config.seed)
    reference = None
    if not options.lora_rank and config.learner.kl_coef:
        initial = frozen
        if simulator_checkpoint is not checkpoint or initial is None:
            abstract = abstract_frozen(checkpoint.config, options)
            initial = load(checkpoint, abstract, mesh, config.seed)
        _, reference = nnx.split(initial)

    learner = Learner(
        policy,
        mesh,
        config.learner,
        temperature=config.environment.policy.sampling.temperature,
        reference=reference,
    )
    generator, engine_dtype = policy, jnp.dtype(jnp.float32)
    if not options.lora_rank:
        # The engine's own copy, in the dtype of the computation.
        engine_dtype = jnp.dtype(options.dtype)
        generator = load(checkpoint, abstract_frozen(checkpoint.config, options), mesh, config.seed)
    policy_engine = Engine(generator, mesh, config.engine, tokenizer, config.seed)
    engines: dict[Role, Engine] = {"policy": policy_engine, "simulator": policy_engine}
    if frozen is not None:
        engines["simulator"] = Engine(frozen, mesh, config.engine, simulator_tokenizer, config.seed)
    environment = Environment(
        config.environment,
        simulator,
        policy_format,
        config.engine.max_length,
        make_judge(simulator),
        backends,
    )
    return System(learner, engines, environment, engine_dtype, (note,) if note else ())


def build_simulator(config: Config, roles: Sequence[SimulatorRole]) -> tuple[Simulator, Engine]:
    """Loads the frozen simulator alone, for what trains nothing.

    Args:
      config: Of a run.
      roles: Those that it is needed for: there must be room for their answers.

    Raises:
      ConfigError: Options do not fit each other, the model or the devices.
      CheckpointError: The checkpoint cannot be read.
    """
    options = config.model
    mesh = mesh_of(config)
    checkpoint = open_checkpoint(options.simulator or options.source)
    field = "model.simulator" if options.simulator else "model.source"
    check_max_length(config.engine, checkpoint.config, field)
    tokenizer = checkpoint.tokenizer()
    simulator = make_simulator(config, ChatFormat(tokenizer), roles)
    abstract = abstract_frozen(checkpoint.config, options)
    EnginePrograms.create(abstract, mesh, config.engine)
    frozen = load(checkpoint, abstract, mesh, config.seed)
    return simulator, Engine(frozen, mesh, config.engine, tokenizer, config.seed)


def plain_config(source: str) -> Config:
    """The options for a model that no run is named for.

    They are the defaults, with thoughts that leave room in the context; on a CPU with float32,
    a smaller batch and context.

    Args:
      source: The model's checkpoint.

    Raises:
      CheckpointError: It cannot be read.
    """
    config = Config()
    model = dataclasses.replace(config.model, source=source)
    longest = open_checkpoint(source).config.max_position
    length = min(config.engine.max_length, longest)
    engine = dataclasses.replace(config.engine, max_length=length)
    if jax.default_backend() == "cpu":
        model = dataclasses.replace(model, dtype="float32")
        length = min(4096, longest)
        engine = dataclasses.replace(
            engine,
            slots=8,
            max_length=length,
            prefill_rows=4,
            prefill_tokens=16,
        )
    simulator = config.simulator
    for role in get_args(SimulatorRole):
        options = getattr(simulator, role)
        options = dataclasses.replace(
            options,
            max_tokens=min(options.max_tokens, length // 4),
            think_budget=min(options.think_budget, length // 4),
        )
        simulator = dataclasses.replace(simulator, **{role: options})
    return dataclasses.replace(config, model=model, engine=engine, simulator=simulator)


def mesh_of(config: Config) -> Mesh:
    """The mesh of a run.

    Raises:
      ConfigError: Its sizes do not fit the devices.
    """
    try:
        return make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    except ValueError:
        sizes, count = dataclasses.asdict(config.mesh), jax.device_count()
        fix = f"make the sizes multiply to {count}, the number of devices"
        fix += "" if -1 in sizes.values() else ", or set one to -1"
        raise ConfigError("mesh", sizes, fix) from None


def make_simulator(config: Config, format: ChatFormat, roles: Sequence[SimulatorRole]) -> Simulator:
    """The simulator of a run.

    Raises:
      ConfigError: A prompt or an option of a role cannot be used.
    """
    try:
        return Simulator(format, config.simulator, config.engine.max_length, roles)
    except ConfigError as error:
        # It names its options from its own section.
        raise ConfigError(f"simulator.{error.field}", error.value, error.fix) from None


def check_max_length(engine: EngineConfig, model: ModelConfig, source: str) -> None:
    """Refuses contexts longer than a model was trained for.

    Args:
      engine: Options.
      model: The architecture.
      source: The option that names the model.

    Raises:
      ConfigError: They are.
    """
    if engine.max_length > model.max_position:
        fix = f"{source} was trained for at most {model.max_position} tokens; lower it to that"
        raise ConfigError("engine.max_length", engine.max_length, fix)
