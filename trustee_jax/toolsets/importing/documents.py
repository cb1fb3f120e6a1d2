"""Files that hold an OpenAPI document, as JSON values."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trustee_jax.toolsets.files import unique_keys
from trustee_jax.toolsets.importing.references import NAMES, with_plain_references
from trustee_jax.toolsets.importing.text import plain
from trustee_jax.toolsets.importing.yaml_values import load_yaml
from trustee_jax.toolsets.tool import ToolError


def load(path: Path) -> Mapping[str, Any]:
    """Returns a document as JSON values.

    Raises:
      ToolError: the file cannot be read or is no OpenAPI document.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(str(path), [f"cannot be read: {error}; give a UTF-8 file"]) from error
    return parse(text, str(path), is_yaml=path.suffix.lower() != ".json")


def parse(text: str | bytes, source: str, *, is_yaml: bool = False) -> Mapping[str, Any]:
    """Returns the text of a document as JSON values; `source` names it in errors.

    All references within the document are made pointers ("#/components/schemas/Pet"), also those
    that name a schema by its `$id` or `$anchor`.

    Raises:
      ToolError: it is no JSON or YAML, or no OpenAPI document.
    """
    try:
        document = load_yaml(text) if is_yaml else json.loads(text, object_pairs_hook=unique_keys)
        written = text if isinstance(text, str) else text.decode("utf-8", "replace")
        if any(name in written for name in NAMES):
            document = with_plain_references(document)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "YAML" if is_yaml else "JSON"
        raise ToolError(source, [f"not valid {kind}: {_line(error)}; correct it"]) from error
    version = ""
    if isinstance(document, Mapping):
        version = str(document.get("openapi") or document.get("swagger") or "")
    if not version.startswith(("2", "3")):
        remedy = 'give one with "openapi": "3..." or "swagger": "2.0" at its top'
        raise ToolError(source, [f"not an OpenAPI 3 or Swagger 2 document; {remedy}"])
    assert isinstance(document, Mapping)
    return document


def _line(error: Exception) -> str:
    return plain(str(error))[:200] or type(error).__name__


def mapping(value: Any) -> Mapping[str, Any]:
    """Returns a part of a document that is to be an object; an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}
