"""The frozen model behind the roles: its prompts, the schemas of its answers, and the asking."""

from trustee_jax.simulator.config import RoleConfig, SimulatorConfig
from trustee_jax.simulator.prompts import CRITERIA, EXAMPLE_TASK, Prompts
from trustee_jax.simulator.simulator import Failure, Simulator, Usage

__all__ = [
    "CRITERIA",
    "EXAMPLE_TASK",
    "Failure",
    "Prompts",
    "RoleConfig",
    "Simulator",
    "SimulatorConfig",
    "Usage",
]
