"""What tasks are written for and episodes are played in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from trustee_jax.chat import ChatFormat
from trustee_jax.environment.config import EnvironmentConfig
from trustee_jax.environment.judges.judge import Judge
from trustee_jax.environment.tools.backend import ToolBackend, Toolbox
from trustee_jax.environment.tools.simulated import SimulatedTools
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
      backends: What answers the calls of real tools, by their names; the simulator plays others.
    """

    config: EnvironmentConfig
    simulator: Simulator
    policy_format: ChatFormat
    max_length: int
    judge: Judge
    backends: Mapping[str, ToolBackend] = field(default_factory=dict)

    @cached_property
    def tools(self) -> Toolbox:
        """What answers calls."""
        simulated = SimulatedTools(self.simulator, self.config, self.backends)
        return Toolbox(simulated, self.backends)
