"""Models of a run that only generate: the policy alone, or all that play episodes."""

from __future__ import annotations

import dataclasses
import hashlib
import types
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from trustee_jax.build import (
    abstract_frozen,
    abstract_policy,
    build_simulator,
    check_max_length,
    load,
    make_simulator,
    mesh_of,
    open_format,
)
from trustee_jax.chat import ChatFormat
from trustee_jax.config import Config
from trustee_jax.engine import Engine, Role
from trustee_jax.engine.programs import Programs as EnginePrograms
from trustee_jax.environment import Environment, load_judges
from trustee_jax.environment.tools.backend import ToolBackend
from trustee_jax.rl import split_trainable
from trustee_jax.weights import Checkpoint, open_checkpoint

Restore = Callable[[nnx.State, Mesh], tuple[int, nnx.State]]
"""Reads a step and its trained parameters, from the learner's as shapes and the mesh; see
`run.restore_trained`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """A policy that only generates.

    Attributes:
      format: Its chat format.
      engine: Serves its requests, as role "policy".
      step: Training steps behind it; 0 before the first one.
      weights: A digest of its parameters.
      note: What a user should know of the format, or "".
    """

    format: ChatFormat
    engine: Engine
    step: int
    weights: str
    note: str


def build_policy(
    config: Config,
    *,
    seed: int,
    max_length: int | None = None,
    restore: Restore | None = None,
) -> Policy:
    """Loads the policy alone, for what trains nothing.

    Args:
      config: Of a run.
      seed: The engine's.
      max_length: Longest context, in tokens; None for that of the run.
      restore: Reads the trained parameters; None takes the policy as it is before the first step.

    Raises:
      ConfigError: Options do not fit each other, the model or the devices.
      CheckpointError: The checkpoint cannot be read.
    """
    (policy,) = build_policies(config, [restore], seed=seed, max_length=max_length)
    return policy


def build_policies(
    config: Config,
    restores: Sequence[Restore | None],
    *,
    seed: int,
    max_length: int | None = None,
) -> list[Policy]:
    """Loads several policies of one base, whose weights they share as far as they are frozen.

    Args:
      config: Of their runs, as far as it is about the model, the engine and the mesh.
      restores: Of each policy; see `build_policy`.
      seed: The engines'.
      max_length: Longest context, in tokens; None for that of the run.

    Raises:
      ConfigError: Options do not fit each other, the model or the devices.
      CheckpointError: A checkpoint cannot be read.
    """
    options, engine_options = config.model, config.engine
    if max_length is not None:
        engine_options = dataclasses.replace(engine_options, max_length=max_length)
    mesh = mesh_of(config)
    checkpoint = open_checkpoint(options.source)
    check_max_length(engine_options, checkpoint.config, "model.source")
    format, note = open_format(checkpoint, options)
    learnt = abstract_policy(checkpoint.config, options)
    adapters = bool(options.lora_rank) and any(restores)
    abstract = learnt if adapters else abstract_frozen(checkpoint.config, options)
    EnginePrograms.create(abstract, mesh, engine_options)
    trained = [
        (0, None) if restore is None else restore(split_trainable(learnt)[1], mesh)
        for restore in restores
    ]
    model = load(checkpoint, abstract, mesh, config.seed)
    dtype = jnp.dtype(jnp.float32 if adapters else options.dtype)
    policies = []
    for step, parameters in trained:
        engine = Engine(model, mesh, engine_options, format.tokenizer, seed)
        if parameters is not None:
            engine.update(jax.tree.map(lambda x: x.astype(dtype), parameters))
        policies.append(Policy(format, engine, step, _digest(checkpoint, parameters), note))
    return policies


@dataclasses.dataclass(frozen=True, eq=False)
class Players:
    """What plays episodes that nobody learns from.

    Attributes:
      environment: The game.
      engines: By role.
      policy: Among them.
    """

    environment: Environment
    engines: Mapping[Role, Engine]
    policy: Policy


def build_players(
    config: Config,
    *,
    restore: Restore | None = None,
    backends: Mapping[str, ToolBackend] = types.MappingProxyType({}),
) -> Players:
    """Loads policy and simulator.

    Args:
      config: Of a run.
      restore: See `build_policy`.
      backends: What answers the calls of real tools, by their names; the simulator plays others.

    Raises:
      ConfigError: Options do not fit each other, the models or the devices.
      CheckpointError: A checkpoint cannot be read.
    """
    make_judge = load_judges(config.environment)
    policy = build_policy(config, seed=config.seed, restore=restore)
    # Rows of the simulator do without the adapter; a policy that was trained in full is another.
    shared = config.model.simulator is None and (config.model.lora_rank > 0 or restore is None)
    if shared:
        engine = policy.engine
        simulator = make_simulator(config, policy.format, config.environment.roles)
    else:
        simulator, engine = build_simulator(config, config.environment.roles)
    environment = Environment(
        config.environment,
        simulator,
        policy.format,
        config.engine.max_length,
        make_judge(simulator),
        backends,
    )
    return Players(environment, {"policy": policy.engine, "simulator": engine}, policy)


def _digest(checkpoint: Checkpoint, trained: nnx.State | None) -> str:
    """Tells policies apart by a part of every tensor; training leaves none of them as it was."""
    digest = hashlib.sha256(repr(checkpoint.config).encode())
    for name in sorted(checkpoint.names()):
        shape = checkpoint.shape(name)
        first = (slice(0, 1), *(slice(None),) * (len(shape) - 1)) if len(shape) > 1 else None
        values = checkpoint.read(name, first or (slice(None),) * len(shape))
        digest.update(f"{name} {shape} {values.dtype} ".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    for leaf in jax.tree.leaves(trained):
        digest.update(np.asarray(leaf if leaf.ndim < 2 else leaf[:1]).tobytes())
    return digest.hexdigest()[:16]
