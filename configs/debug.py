"""A tiny random model: the whole loop in seconds, to try changes of the code. It learns nothing.

Its rewards are all -1, which makes no update; --config.learner.uniform_groups=keep makes one.
"""

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.model.source = "random:qwen3"
    config.model.dtype = "float32"
    config.model.scan_layers = False
    config.model.remat = False
    config.model.lora_rank = 4
    config.model.lora_alpha = 8.0

    config.training.steps = 3
    config.training.tasks_per_step = 2
    config.training.group_size = 4
    config.training.refill_groups = 1
    config.training.checkpoint_every = 1
    config.learner.updates_per_step = 1
    config.learner.learning_rate = 1e-3

    config.simulation.policy.max_tokens = 16
    config.simulation.policy.thinking = False
    for role in ("task", "world", "user", "tool", "verifier"):
        config.simulation[role].max_tokens = 256
        config.simulation[role].think_budget = 0
    config.simulation.check_tasks = False  # a random model's wishes lack whatever they need
    # A byte or two per token make long prompts of many tools.
    config.curriculum.tools.high = 2
    config.simulation.text_limit = 64
    config.simulation.tool_result_limit = 64
    # One size of everything: compiling takes longer than all that such a model computes.
    config.engine.slots = 8
    config.engine.max_length = 2048
    config.engine.min_cache_length = 2048
    config.engine.prefill_rows = 1
    config.engine.prefill_chunks = (256,)
    config.learner.row_length = 2048
    return config
