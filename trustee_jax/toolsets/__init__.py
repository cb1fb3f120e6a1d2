"""Tool schemas: what a tool is, the repository of them, sampling, and checks of call arguments."""

from trustee_jax.toolsets.arguments import check_arguments
from trustee_jax.toolsets.repository import ToolRepository, load_repository
from trustee_jax.toolsets.tool import Tool, ToolError

__all__ = ["Tool", "ToolError", "ToolRepository", "check_arguments", "load_repository"]
