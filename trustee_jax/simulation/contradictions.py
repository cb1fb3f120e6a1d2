"""Whether an argument says something else than the value that a task was written with.

Code can tell that for certain only where both have the same form: numbers, proper names, or the
same words around other numbers. Everything else may be the same value in other words (tomorrow and
2026-11-25, euros and EUR, 7:30 pm and 19:30), and is left to the verifier.
"""

import re
from collections import Counter
from collections.abc import Set as AbstractSet

from trustee_jax.simulation.solvability import plain_words

# Names are compared by the beginnings of their words: Munich is München, Bergen is Bergen's.
_STEM = 3
# A longer text names more than one thing.
_LONGEST_NAME = 4
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_TIME = re.compile(r"\d:\d\d")


def contradicts(expected: str, given: object, known: AbstractSet[str]) -> bool:
    """Whether an argument is certainly not the expected value.

    Args:
      expected: the value as the task's intent has it; "" if it was to come from a result.
      given: the argument.
      known: words (`plain_words`) that the user or a tool had said before the call: what the
        argument takes from them is not called wrong, since plans may change.
    """
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return False
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    wanted, got = plain_words(expected), plain_words(str(given))
    if not wanted or not got or set(got) <= known:
        return False
    if not isinstance(given, str):
        number = _number(expected)
        return number is not None and number != given
    digits = _digits(wanted), _digits(got)
    if any(digits):
        clock = bool(_TIME.search(expected) or _TIME.search(given))
        return _letters(wanted) == _letters(got) and _apart(*digits, clock)
    return _is_name(expected, wanted) and _is_name(given, got) and _strangers(wanted, got)


def _number(text: str) -> float | None:
    """The number that a text is; None if it says more than that."""
    words = plain_words(text)
    for plain in (text.strip().replace(",", ""), words[0] if len(words) == 1 else ""):
        if _NUMBER.fullmatch(plain):
            return float(plain)
    return None


def _digits(words: list[str]) -> list[str]:
    return [word for word in words if word.isdecimal()]


def _letters(words: list[str]) -> list[str]:
    return [word for word in words if not word.isdecimal()]


def _apart(wanted: list[str], got: list[str], clock: bool) -> bool:
    """Whether two groups of numbers differ, however they are grouped and ordered."""
    if not wanted or not got:
        return False
    one, other = (Counter(_short(number, clock) for number in group) for group in (wanted, got))
    joined, other_joined = "".join(wanted), "".join(got)
    grouped_otherwise = joined in other_joined or other_joined in joined
    return not (one <= other or other <= one or grouped_otherwise)


def _short(number: str, clock: bool) -> str:
    """A number without leading zeros, a year without its century, an hour of half a day."""
    if re.fullmatch("(?:19|20)..", number):
        number = number[2:]
    if clock and len(number) <= 2 and int(number) < 24:
        number = str(int(number) % 12)
    return number.lstrip("0")


def _is_name(text: str, words: list[str]) -> bool:
    """Whether a text is a proper name in full: capitalised words, no abbreviation."""
    written = re.findall(r"\w+", text)
    return (
        len(words) <= _LONGEST_NAME
        and all(word[0].isupper() for word in written if len(word) > _STEM)
        and any(len(word) > _STEM for word in written)
    )


def _strangers(wanted: list[str], got: list[str]) -> bool:
    """Whether two names share no word, not even its beginning, and no initials."""
    stems = {word[:_STEM] for word in wanted} & {word[:_STEM] for word in got}
    initials = ["".join(word[0] for word in words) for words in (wanted, got)]
    abbreviated = initials[0] in got or initials[1] in wanted
    return not stems and not abbreviated
