"""Names of tools and of their parameters: in ASCII, valid for OpenAI's rule, unique."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from anyascii import anyascii

from trustee_jax.toolsets.importing.text import cut
from trustee_jax.toolsets.patterns import matches

MAX_LENGTH = 64
SNAKE_CASE = "name put in snake_case"
_VALID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_VALID_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# "listVMsInZone" -> list_VMs_In_Zone: a plural s belongs to the capitals before it.
_WORDS = (
    (re.compile(r"([A-Z]+)([A-Z](?!s(?:[^a-z]|$))[a-z])"), r"\1_\2"),
    (re.compile(r"([a-z0-9])([A-Z])"), r"\1_\2"),
)


def is_valid(name: object) -> bool:
    """Whether a name is 1-64 letters, digits, "_" or "-"."""
    return isinstance(name, str) and bool(_VALID.fullmatch(name))


def snake_case(text: str) -> str:
    """Returns the letters and digits of a text, in ASCII, as lower-case words joined by "_"."""
    text = anyascii(text)
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()


def short(name: str, limit: int = MAX_LENGTH) -> str:
    """Cuts a name at a length, between two of its words where that keeps more than half."""
    if len(name) <= limit:
        return name
    head, _, _ = name[: limit + 1].rpartition("_")
    return head if len(head) > limit // 2 else name[:limit].rstrip("_")


def provider_word(provider: str) -> str:
    """Returns a provider as a prefix of names: "api.stripe.com" -> "api_stripe"."""
    host = re.fullmatch(r"([\w.-]+)\.[a-z]{2,}(?::\d+)?", provider.strip().lower())
    return short(snake_case(host[1] if host else provider), 24)


class Names:
    """Gives out unique names; the same requests in the same order get the same ones."""

    def __init__(self, taken: Iterable[str] = ()):
        """Starts with names that are in use already."""
        self._taken = set(taken)
        self._last: dict[str, int] = {}

    def claim(self, name: str, provider: str) -> str:
        """Returns `name` made valid, or where that is taken, with the provider or a number.

        Args:
          name: What the source calls the tool; stays as it is where it is valid and free.
          provider: Is put before a name that is taken.
        """
        plain = name if is_valid(name) else short(snake_case(name)) or "tool"
        word = provider_word(provider)
        prefixed = plain if not word or plain.startswith(f"{word}_") else short(f"{word}_{plain}")
        for attempt in (plain, prefixed):
            if attempt not in self._taken:
                self._taken.add(attempt)
                return attempt
        number = self._last.get(prefixed, 1)
        while True:
            number += 1
            suffix = f"_{number}"
            attempt = short(prefixed, MAX_LENGTH - len(suffix)) + suffix
            if attempt not in self._taken:
                self._taken.add(attempt)
                self._last[prefixed] = number
                return attempt


class Keys:
    """Gives the parameters of one object valid and distinct names.

    Function calling allows letters, digits, "_", "." and "-" in them. A valid name stays as it is,
    whichever parameter comes first; other names are transliterated, and what is not allowed in
    them becomes "_".
    """

    def __init__(self, names: Iterable[str]):
        """Takes the names of all parameters, so that none takes another's."""
        self._reserved = {name for name in names if _VALID_KEY.fullmatch(name)}
        self._taken: set[str] = set()

    def claim(self, name: str, place: str = "") -> str:
        """Returns a free name.

        Args:
          name: As the source has it.
          place: What the parameter is part of ("body", "query"); is put behind a name that
            another parameter has too.
        """
        if _VALID_KEY.fullmatch(name) and name not in self._taken:
            self._taken.add(name)
            return name
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", anyascii(name)).strip("_.-") or "parameter"
        plain = plain if not plain[0].isdigit() else f"_{plain}"
        if name in self._taken and place:
            plain = f"{plain[: MAX_LENGTH - 1 - len(place)]}_{place}"
        key, number = plain[:MAX_LENGTH], 1
        while key in self._taken or key in self._reserved:
            number += 1
            key = f"{plain[: MAX_LENGTH - 1 - len(str(number))]}_{number}"
        self._taken.add(key)
        return key


RENAMED = "parameter renamed"
NOT_RENAMED = "parameter not renamed, as patterns speak of its name"
CUT = "description of a parameter cut"
_NAMED = ("properties", "dependentRequired", "dependentSchemas")
# What stands in them are values, whose fields are those of the schemas.
_VALUES = ("default", "const", "enum", "examples")


def rename_fields(nodes: Sequence[dict[str, Any]], longest: int | None = None) -> list[str]:
    """Gives all fields valid and distinct names, in place; returns the reasons of changes.

    One name becomes the same other one throughout, also in the values of `enum`, `const` and
    `default`, so that what several schemas say of a field goes on to hold. A name stays where a
    pattern tells it from the new one. The original stands first in its description.

    Args:
      nodes: A schema and all within it, in Draft 2020-12.
      longest: Characters that a description may have then; None: any number.
    """
    names = list(dict.fromkeys(name for node in nodes for name in _names(node)))
    keys = Keys(names)
    known = {name: keys.claim(name) for name in names}
    if all(name == key for name, key in known.items()):
        return []
    if any("propertyNames" in node for node in nodes):
        return [NOT_RENAMED]
    patterns = [pattern for node in nodes for pattern in _object(node, "patternProperties")]
    reasons: dict[str, None] = {}
    for name, key in known.items():
        if any(matches(pattern, name) != matches(pattern, key) for pattern in patterns):
            known[name] = name
            reasons[NOT_RENAMED] = None
        elif name != key:
            reasons[RENAMED] = None
    for node in nodes:
        reasons |= dict.fromkeys(_rename(node, known, longest))
    return list(reasons)


def named(name: str, text: str, longest: int | None = None) -> str:
    """Returns a description behind the original name of what it describes.

    Args:
      name: As the source has it.
      text: The description; "" leaves the name alone.
      longest: Characters of the result, for which the text, and a name that is longer than names
        may be, are cut; None: any number.
    """
    first = f"{name if longest is None else ' '.join(name.split())[:MAX_LENGTH]}: "
    if not text:
        return first.rstrip(": ")
    return f"{first}{text if longest is None else cut(text, longest - len(first))}"


def _names(node: dict[str, Any]) -> Iterator[str]:
    for word in _NAMED:
        yield from _object(node, word)
    for listed in (node.get("required"), *_object(node, "dependentRequired").values()):
        if isinstance(listed, list):
            yield from (name for name in listed if isinstance(name, str))


def _rename(node: dict[str, Any], known: dict[str, str], longest: int | None) -> list[str]:
    is_cut = False
    for name, child in (properties := _object(node, "properties")).items():
        schema = {} if child is True else child
        if known[name] != name and isinstance(schema, dict):
            text = schema.get("description", "")
            schema["description"] = named(name, text, longest)
            is_cut |= not schema["description"].endswith(str(text))
            properties[name] = schema
    for word in _NAMED:
        if owned := _object(node, word):
            node[word] = {known[name]: child for name, child in owned.items()}
    needed = _object(node, "dependentRequired")
    for owner, word in ((node, "required"), *((needed, name) for name in needed)):
        if isinstance(listed := owner.get(word), list):
            owner[word] = [known.get(n, n) if isinstance(n, str) else n for n in listed]
    for word in _VALUES:
        if word in node:
            node[word] = _renamed(node[word], known)
    return [CUT] if is_cut else []


def _object(node: dict[str, Any], word: str) -> dict[str, Any]:
    return node[word] if isinstance(node.get(word), dict) else {}


def _renamed(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {known.get(name, name): _renamed(child, known) for name, child in value.items()}
    return [_renamed(child, known) for child in value] if isinstance(value, list) else value
