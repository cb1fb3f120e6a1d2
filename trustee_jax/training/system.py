"""The objects of a run that compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trustee_jax.engine import Engine, Role
from trustee_jax.environment import Environment
from trustee_jax.rl import Learner


@dataclasses.dataclass(eq=False)
class System:
    """Everything that computes in a run.

    Attributes:
      learner: Holds what is trained.
      engines: By role; one engine serves both where the simulator is the policy's base.
      environment: What is played.
      engine_dtype: Of trained parameters where they generate.
      notes: What a user should know of it, a line each.
      policy: The trained parameters that generate; None until the policy is refreshed.
    """

    learner: Learner
    engines: Mapping[Role, Engine]
    environment: Environment
    engine_dtype: jnp.dtype
    notes: Sequence[str] = ()
    policy: nnx.State | None = dataclasses.field(default=None, init=False)

    def refresh_policy(self) -> None:
        """Gives the policy's engine the trained parameters."""
        # A copy, because the next update donates the learner's arrays.
        params = jax.tree.map(
            lambda x: jnp.array(x, self.engine_dtype, copy=True), self.learner.state.params
        )
        self.use_policy(params)

    def use_policy(self, params: nnx.State) -> None:
        """Gives the policy's engine these parameters."""
        self.policy = params
        self.engines["policy"].update(params)

    def forget(self) -> None:
        """Gives all engines empty caches.

        No answer depends on them, but the order in which requests are completed does: it is then
        that of a resumed run.
        """
        for engine in dict.fromkeys(self.engines.values()):
            engine.reset()

    def release_caches(self) -> None:
        """Frees the memory of all engines' caches until they are used again."""
        for engine in dict.fromkeys(self.engines.values()):
            engine.release()
