"""The environment: tasks, users, tools and verdicts, all simulated by one frozen model."""

from trustee_jax.simulation.config import PolicyConfig, SimulationConfig, SimulatorConfig
from trustee_jax.simulation.driver import Stopped, run
from trustee_jax.simulation.episode import run_episode
from trustee_jax.simulation.prompts import CRITERIA, Prompts
from trustee_jax.simulation.records import INVALID_CAUSES, Counts, End, Episode
from trustee_jax.simulation.simulator import Failure, Simulator, Usage
from trustee_jax.simulation.task import Task, generate_task
from trustee_jax.simulation.verdict import Verdict

__all__ = [
    "CRITERIA",
    "INVALID_CAUSES",
    "Counts",
    "End",
    "Episode",
    "Failure",
    "PolicyConfig",
    "Prompts",
    "SimulationConfig",
    "Simulator",
    "SimulatorConfig",
    "Stopped",
    "Task",
    "Usage",
    "Verdict",
    "generate_task",
    "run",
    "run_episode",
]
