"""What tasks are written for and episodes are played in."""

from dataclasses import dataclass

from trustee_jax.chat import ChatFormat
from trustee_jax.environment.config import EnvironmentConfig
from trustee_jax.environment.judges.judge import Judge
from trustee_jax.simulator import Simulator


@dataclass(frozen=True, eq=False)
class Environment:
    """The options of the game, and who plays it.

    Attributes:
      config: The options.
      simulator: The frozen model in all its roles.
      policy_format: The chat format of the policy.
      max_length: Longest context, in tokens, that the policy's engine takes.
      judge: What grades an episode; see `load_judges`.
    """

    config: EnvironmentConfig
    simulator: Simulator
    policy_format: ChatFormat
    max_length: int
    judge: Judge
