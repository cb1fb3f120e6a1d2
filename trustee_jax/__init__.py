"""trustee-jax: reinforcement learning of tool calling in environments simulated by a frozen language model."""
