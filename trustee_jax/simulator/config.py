"""Options of the model that plays the roles."""

from dataclasses import dataclass, field

from trustee_jax.engine.types import Sampling
from trustee_jax.errors import at_least


@dataclass(frozen=True)
class RoleConfig:
    """How the simulator answers in one of its roles.

    Attributes:
      max_tokens: Limit on the answer, thoughts not counted.
      think_budget: Limit on the thoughts before it; 0 turns thinking off, as for models without.
      tries: Requests made before the role counts as failed, each under its own key.
      sampling: How its tokens are drawn; temperature 0 would make all tries the same.
    """

    max_tokens: int = 512
    think_budget: int = 1536
    tries: int = 3
    sampling: Sampling = field(
        default_factory=lambda: Sampling(temperature=0.6, top_p=0.95, top_k=20)
    )

    def __post_init__(self) -> None:
        at_least(self, 1, "max_tokens", "tries")
        at_least(self, 0, "think_budget")


@dataclass(frozen=True)
class SimulatorConfig:
    """The roles, and what they have in common.

    Attributes:
      task: The task generator.
      world: The author of the records behind the tools.
      user: The user.
      tool: Every tool that nothing else answers for.
      verifier: The verifier.
      text_limit: Characters that may be written in one text: intent, query, user message, and the
        verifier's reasons; half as many for the persona. Keep a role's max_tokens above what its
        texts may need, since an answer that runs out of tokens is closed where it is.
      prompts: Folder with own prompt templates, which replace those of `simulator/prompts` file by
        file; None for none.
    """

    task: RoleConfig = RoleConfig(
        max_tokens=1024,
        think_budget=7168,
        tries=2,
        sampling=Sampling(temperature=0.8, top_p=0.95, top_k=20),
    )
    world: RoleConfig = RoleConfig(max_tokens=1024)
    user: RoleConfig = RoleConfig()
    tool: RoleConfig = RoleConfig()
    verifier: RoleConfig = RoleConfig()
    text_limit: int = 400
    prompts: str | None = None

    def __post_init__(self) -> None:
        # Shorter ones leave no room for an error.
        at_least(self, 64, "text_limit")
