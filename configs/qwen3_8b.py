"""The reference run's size on one mesh: Qwen3-8B, one copy of the weights for all roles.

The policy is a LoRA adapter on the base that simulates and that the KL term refers to.
"""

from ml_collections import ConfigDict

from trustee_jax.config import default


def get_config() -> ConfigDict:
    config = default()  # 200 steps of 16 tasks x 8 episodes, 4 updates a step
    config.model.source = "hub:Qwen/Qwen3-8B"
    config.model.lora_rank = 32
    config.model.lora_alpha = 64.0
    config.learner.learning_rate = 2e-5  # adapters want more than the 1e-6 of full fine-tuning

    # Prompts of up to 8192 tokens and responses of up to 16384.
    config.engine.max_length = 24576
    config.learner.row_length = 24576
    config.engine.slots = 128
    return config
