"""SmolLM2-135M learns to call on a CPU; Qwen2.5-Coder-0.5B plays everything else.

The quickstart with a simulator that writes sensible tasks for tools of two and three parameters:
with the quickstart's own, a policy learns to write one argument. A step takes five minutes on 2
cores. The weights (98 and 491 MB) come from the package index.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

FOLDER = pathlib.Path(__file__).parent


def get_config() -> ConfigDict:
    config = runpy.run_path(str(FOLDER / "quickstart.py"))["get_config"]()
    simulator = runpy.run_path(str(FOLDER / "teach_cpu.py"))["get_config"]().model.source
    config.model.simulator = simulator
    config.tools = str(FOLDER / "everyday_tools.json")
    config.simulator.prompts = str(FOLDER / "small_simulator_prompts")
    config.curriculum.tools.low = 3  # with one tool there is nothing to choose
    config.curriculum.irrelevance = 0.1  # nor whether to call at all
    config.curriculum.system_prompt.low = 3  # rules are lost on it, and cost most of its prompt
    config.environment.policy.max_tokens = 96
    config.environment.judge.mode = "logprobs"  # the simulator's reasons recite the question

    config.training.steps = 40
    config.training.tasks_per_step = 6
    config.training.max_task_attempts = 8  # one in three can be solved
    config.training.min_groups = 2
    config.training.refill_groups = 0  # a step of more tasks costs the same and has more episodes
    # Held to calls it learns to call; shown exchanges it learns to say something afterwards, and to
    # decline where no tool fits. Longer, it declines what it could do: only the ordinary steps
    # compare the two.
    config.training.cold_start.steps = 6
    config.training.cold_start.threshold = 0.8
    config.training.cold_start.demonstrations = (2, 1, 0)
    config.training.cold_start.epochs = 3
    config.learner.learning_rate = 5e-4

    config.engine.slots = 24
    config.engine.cache_tokens = 36864
    return config
