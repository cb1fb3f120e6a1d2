"""The reference run itself: Qwen3-8B, all weights trained, a second, frozen copy as simulator.

Made for a TPU v5e-32 slice (4x8); `benchmarks/tpu_compile.py` says what a chip holds. On 16 of
these chips parameters, moments and both copies would fill 7.6 GiB of each before gradients,
activations and caches.
"""

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()  # 200 steps of 16 tasks x 8 episodes, 4 updates a step, learning rate 1e-6
    config.model.source = "hub:Qwen/Qwen3-8B"
    config.model.simulator = "hub:Qwen/Qwen3-8B"
    config.model.lora_rank = 0

    # One key/value head a chip, as in qwen3_8b.py.
    config.mesh.tensor = 8
    config.mesh.fsdp = -1

    # Prompts of up to 8192 tokens and responses of up to 16384.
    config.engine.max_length = 24576
    config.learner.row_length = 24576  # too long for splash attention: XLA's is used
    # Policy and simulator have an engine, and a cache of so many tokens, each.
    config.engine.slots = 64
    config.engine.cache_tokens = 16 * 24576
    config.engine.page_size = 256  # the TPU's kernel fetches page by page: 128 KiB a chip
    config.engine.prefill_rows = 16
    config.engine.prefill_tokens = 256
    config.learner.logprob_chunk = 2048
    return config
