"""Reinforcement learning of tool calling in environments that a frozen model simulates."""
