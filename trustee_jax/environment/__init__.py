"""The game: tasks, worlds, episodes, calls and verdicts."""

from trustee_jax.environment.calls import CallRecord, read_calls
from trustee_jax.environment.config import (
    EnvironmentConfig,
    JudgeConfig,
    PolicyConfig,
    WorldConfig,
)
from trustee_jax.environment.driver import Stopped, run
from trustee_jax.environment.environment import Environment
from trustee_jax.environment.episode import Human, run_episode
from trustee_jax.environment.help import Help, draw_demonstrations
from trustee_jax.environment.judges.evidence import Evidence
from trustee_jax.environment.judges.judge import JUDGES, Judge, load_judges
from trustee_jax.environment.judges.model import ModelJudge
from trustee_jax.environment.novelty import RecentTasks
from trustee_jax.environment.probe import Probe
from trustee_jax.environment.records import INVALID_CAUSES, Counts, End, Episode
from trustee_jax.environment.success import succeeded
from trustee_jax.environment.task import Task
from trustee_jax.environment.task_generator import (
    REJECTIONS,
    check_tools,
    draw_tools,
    generate_task,
)
from trustee_jax.environment.user_faults import USER_FAULTS
from trustee_jax.environment.verdict import CriterionVerdict, JudgeVerdict, RuleViolation, Verdict
from trustee_jax.environment.world import Change, World

__all__ = [
    "INVALID_CAUSES",
    "JUDGES",
    "REJECTIONS",
    "USER_FAULTS",
    "CallRecord",
    "Change",
    "Counts",
    "CriterionVerdict",
    "End",
    "Environment",
    "EnvironmentConfig",
    "Episode",
    "Evidence",
    "Help",
    "Human",
    "Judge",
    "JudgeConfig",
    "JudgeVerdict",
    "ModelJudge",
    "PolicyConfig",
    "Probe",
    "RecentTasks",
    "RuleViolation",
    "Stopped",
    "Task",
    "Verdict",
    "World",
    "WorldConfig",
    "check_tools",
    "draw_demonstrations",
    "draw_tools",
    "generate_task",
    "load_judges",
    "read_calls",
    "run",
    "run_episode",
    "succeeded",
]
