"""The environment: tasks, users, tools and verdicts, all simulated by one frozen model."""

from trustee_jax.environment.config import (
    PolicyConfig,
    SimulationConfig,
    SimulatorConfig,
    VerifierConfig,
    WorldConfig,
)
from trustee_jax.environment.driver import Stopped, run
from trustee_jax.environment.episode import run_episode
from trustee_jax.environment.judges.model import Evidence, verify
from trustee_jax.environment.novelty import RecentTasks
from trustee_jax.environment.records import INVALID_CAUSES, Counts, End, Episode
from trustee_jax.environment.task import REJECTIONS, Task, generate_task
from trustee_jax.environment.verdict import Part, Verdict, Veto
from trustee_jax.environment.world import Change, World

__all__ = [
    "INVALID_CAUSES",
    "REJECTIONS",
    "Change",
    "Counts",
    "End",
    "Episode",
    "Evidence",
    "Part",
    "PolicyConfig",
    "RecentTasks",
    "SimulationConfig",
    "SimulatorConfig",
    "Stopped",
    "Task",
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
