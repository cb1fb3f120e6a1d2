"""Environments with options of their own."""

import dataclasses
from typing import Any

from trustee_jax.chat import ChatFormat
from trustee_jax.environment import Environment, EnvironmentConfig, JudgeConfig, load_judges
from trustee_jax.simulator import RoleConfig, Simulator, SimulatorConfig


def environment_of(
    format: ChatFormat, max_length: int = 30_000, context: int = 30_000, **options: Any
) -> Environment:
    """An environment whose simulator has the policy's chat format.

    Args:
      format: of both.
      max_length: of the simulator.
      context: of the policy.
      options: by name, of whichever section: a role's name takes a RoleConfig, `writer` that of
        the world's author, those of JudgeConfig belong to the judge.
    """
    known = {field.name for field in dataclasses.fields(JudgeConfig)}
    judge = {name: options.pop(name) for name in list(options) if name in known}
    roles = {"world": options.pop("writer")} if "writer" in options else {}
    for name in list(options):
        if isinstance(options[name], RoleConfig) or name in ("text_limit", "prompts"):
            roles[name] = options.pop(name)
    config = EnvironmentConfig(judge=JudgeConfig(**judge), **options)
    simulator = Simulator(format, SimulatorConfig(**roles), max_length, config.roles)
    return Environment(config, simulator, format, context, load_judges(config)(simulator))
