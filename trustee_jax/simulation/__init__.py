"""The environment: tasks, users, tools and verdicts, all simulated by one frozen model."""

from trustee_jax.simulation.config import (
    PolicyConfig,
    SimulationConfig,
    SimulatorConfig,
    VerifierConfig,
    WorldConfig,
)
from trustee_jax.simulation.driver import Stopped, run
from trustee_jax.simulation.episode import run_episode
from trustee_jax.simulation.novelty import RecentTasks
from trustee_jax.simulation.prompts import CRITERIA, EXAMPLE_TASK, Prompts
from trustee_jax.simulation.records import INVALID_CAUSES, Counts, End, Episode
from trustee_jax.simulation.simulator import Failure, Simulator, Usage
from trustee_jax.simulation.task import REJECTIONS, Task, generate_task
from trustee_jax.simulation.verdict import Part, Verdict, Veto
from trustee_jax.simulation.verifier import Evidence, verify
from trustee_jax.simulation.world import Change, World

__all__ = [
    "CRITERIA",
    "EXAMPLE_TASK",
    "INVALID_CAUSES",
    "REJECTIONS",
    "Change",
    "Counts",
    "End",
    "Episode",
    "Evidence",
    "Failure",
    "Part",
    "PolicyConfig",
    "Prompts",
    "RecentTasks",
    "SimulationConfig",
    "Simulator",
    "SimulatorConfig",
    "Stopped",
    "Task",
    "Usage",
    "Verdict",
    "VerifierConfig",
    "Veto",
    "World",
    "WorldConfig",
    "generate_task",
    "run",
    "run_episode",
    "verify",
]
