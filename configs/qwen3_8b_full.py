"""The reference run itself: Qwen3-8B, all weights trained, a second, frozen copy as simulator."""

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()  # 200 steps of 16 tasks x 8 episodes, 4 updates a step, learning rate 1e-6
    config.model.source = "hub:Qwen/Qwen3-8B"
    config.model.simulator = "hub:Qwen/Qwen3-8B"
    config.model.lora_rank = 0

    # Prompts of up to 8192 tokens and responses of up to 16384.
    config.engine.max_length = 24576
    config.learner.row_length = 24576
    config.engine.slots = 128
    return config
