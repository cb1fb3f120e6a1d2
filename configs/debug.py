"""A tiny random model: the whole loop in seconds, to try changes of the code.

Some of its tokens are whole calls, so that its episodes differ: some call a tool, some do not. Its
verdicts are those of a random model, too, drawn as in the published run, and no code corrects them.
So every step has groups whose rewards differ, and updates the policy. What it learns is worthless.
"""

import pathlib

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.model.source = "random:qwen3+calls"
    config.model.dtype = "float32"
    config.model.lora_rank = 4
    config.model.lora_alpha = 8.0

    config.training.steps = 3
    config.training.tasks_per_step = 2
    config.training.group_size = 6
    config.training.refill_groups = 2
    config.training.checkpoint_every = 1
    config.learner.updates_per_step = 1
    config.learner.learning_rate = 1e-3

    config.tools = str(pathlib.Path(__file__).with_name("debug_tools.json"))
    config.environment.policy.max_tokens = 64
    config.environment.policy.thinking = False
    for role in ("task", "world", "user", "tool", "verifier"):
        config.simulator[role].max_tokens = 256
        config.simulator[role].think_budget = 0
    config.environment.world.collections = 1
    config.environment.world.records = 2
    config.environment.world.fields = 1
    config.environment.check_tasks = False  # a random model's wishes lack whatever they need
    config.environment.check_queries = False  # and its queries have nothing to do with them
    # Every criterion is a throw of a coin that may be bent, so there are five; a veto is always -1.
    config.environment.judge.mode = "joint"
    config.environment.judge.rules = False
    config.curriculum.criteria.low = 5
    config.curriculum.tools.low = 2  # all there are, so that its calls are of tools that it has
    config.curriculum.tools.high = 2
    config.simulator.text_limit = 64
    config.environment.tool_result_limit = 64
    # One size of everything: compiling takes longer than all that such a model computes.
    config.engine.slots = 8
    config.engine.max_length = 2048
    config.engine.prefill_rows = 4
    config.engine.prefill_tokens = 64
    config.learner.row_length = 2048
    return config
