"""Files that hold an OpenAPI document, as JSON values."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trustee_jax.tools.importing.text import plain
from trustee_jax.tools.tool import ToolError


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

    Raises:
      ToolError: it is no JSON or YAML, or no OpenAPI document.
    """
    try:
        document = yaml.load(text, _Loader) if is_yaml else json.loads(text)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
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


def _is_json(tag: str, first: str) -> bool:
    """Whether what YAML 1.1 takes a plain word for is meant: "no" is Norway, not false."""
    kind = tag.rpartition(":")[2]
    return kind in ("int", "float", "null") or (kind == "bool" and first in "tTfF")


class _Loader(yaml.SafeLoader):
    """YAML with the values of JSON: no dates, and every key is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if _is_json(tag, first)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Returns a mapping whose keys are texts as JSON has them."""
        pairs = super().construct_mapping(node, deep)
        return {
            k if isinstance(k, str) else json.dumps(k, default=str): v for k, v in pairs.items()
        }
