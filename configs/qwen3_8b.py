"""The reference run's size on one TPU v5e-16 slice: Qwen3-8B, one copy of the weights.

The policy is a LoRA adapter on the base that simulates and that the KL term refers to.
`benchmarks/tpu_compile.py` compiles this run without a TPU, and says what a chip holds:
`benchmarks/results/tpu_compile_qwen3_8b_*.json` has it for this slice, for eight chips of v6e with
1.44 million tokens of cache, and for the engine alone with an int8 base on one chip of v5e.
"""

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()  # 200 steps of 16 tasks x 8 episodes, 4 updates a step
    config.model.source = "hub:Qwen/Qwen3-8B"
    config.model.lora_rank = 32
    config.model.lora_alpha = 64.0
    config.learner.learning_rate = 2e-5  # adapters want more than the 1e-6 of full fine-tuning

    # One key/value head a chip: the cache is then read and written in one layout. What is left of
    # the slice (all else: tensor 8 on larger ones too) splits the weights along the model's width.
    config.mesh.tensor = 8
    config.mesh.fsdp = -1

    # Prompts of up to 8192 tokens and responses of up to 16384.
    config.engine.max_length = 24576
    config.learner.row_length = 24576  # too long for splash attention: XLA's is used
    # 10.5 GiB of cache a chip, shared by requests of any length.
    config.engine.slots = 128
    config.engine.cache_tokens = 150 * 8192
    config.engine.page_size = 256  # the TPU's kernel fetches page by page: 128 KiB a chip
    config.engine.prefill_rows = 16
    config.engine.prefill_tokens = 256
    config.learner.logprob_chunk = 2048
    return config
