"""The models of a server: a run's policy, further adapters of the same base, and the base."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

from trustee_jax.config import Config
from trustee_jax.engine import Role, Sampling
from trustee_jax.errors import ConfigError
from trustee_jax.players import Policy, build_policies
from trustee_jax.run import read_config, restore_trained
from trustee_jax.serving.models import ServedModel, ServedModels
from trustee_jax.serving.requests import MOST_TOP_LOGPROBS

BASE = "base"
"""Under this name the base of a trained adapter is served."""


def open_models(
    config: Config,
    name: str,
    run: pathlib.Path | None,
    adapters: Mapping[str, pathlib.Path],
    *,
    step: int | None = None,
    slots: int | None = None,
    max_length: int | None = None,
    temperature: float = 1.0,
) -> ServedModels:
    """Loads what a server answers with.

    A policy that is an adapter is served beside its base, by one engine; every further adapter has
    an engine of its own, with a cache of its own, and shares the base's weights.

    Args:
      config: Of the run, or of a model that belongs to none.
      name: Of the first model.
      run: Whose policy that is; None serves the model as it is.
      adapters: Further runs of the same base, by the names of their models.
      step: Which checkpoint of `run`: 0 is before training; None the newest.
      slots: Answers of an engine under way at a time; None for that of the config.
      max_length: Longest context, in tokens; None for that of the config.
      temperature: Of requests that name none.

    Raises:
      ConfigError: A run has another base, or names are not distinct.
      CheckpointError: A checkpoint cannot be read.
    """
    engine = dataclasses.replace(config.engine, top_logprobs=MOST_TOP_LOGPROBS)
    if slots is not None:
        engine = dataclasses.replace(engine, slots=slots)
    config = dataclasses.replace(config, engine=engine)
    _check(config, name, run, adapters)
    restores = [
        None if run is None or step == 0 else functools.partial(restore_trained, run, step=step)
    ]
    restores += [
        functools.partial(restore_trained, other, step=None) for other in adapters.values()
    ]
    policies = build_policies(config, restores, seed=config.seed, max_length=max_length)

    def served(name: str, policy: Policy, role: Role) -> ServedModel:
        return ServedModel(
            name=name,
            engine=policy.engine,
            role=role,
            format=policy.format,
            max_length=policy.engine.max_length,
            thinking=config.environment.policy.thinking,
            sampling=Sampling(temperature),
            fingerprint=policy.weights if role == "policy" else f"{policy.weights}-base",
        )

    models = [
        served(one, policy, "policy")
        for one, policy in zip((name, *adapters), policies, strict=True)
    ]
    if _has_base(config, run):
        models.append(served(BASE, policies[0], "simulator"))
    return ServedModels(models)


def _has_base(config: Config, run: pathlib.Path | None) -> bool:
    """Whether the base is another model than all others."""
    return config.model.lora_rank > 0 and run is not None


def _check(
    config: Config, name: str, run: pathlib.Path | None, adapters: Mapping[str, pathlib.Path]
) -> None:
    names = [name, *adapters]
    if _has_base(config, run):
        names.append(BASE)
    if len(set(names)) < len(names):
        raise ConfigError("name", name, f"give each model its own name, and none is {BASE!r}")
    for other, folder in adapters.items():
        model = read_config(folder).model
        differing = [
            field.name
            for field in dataclasses.fields(model)
            if field.name in ("source", "dtype", "quantization", "call_syntax")
            or field.name.startswith("lora")
            if getattr(model, field.name) != getattr(config.model, field.name)
        ]
        if differing or not model.lora_rank:
            what = f"model.{differing[0]}" if differing else "model.lora_rank"
            fix = f"{folder} has another {what}; adapters of one server share their base"
            raise ConfigError("adapters", other, fix)
