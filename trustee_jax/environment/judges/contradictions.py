"""Whether an argument is another one than the value that a task was written with.

Code can be certain only where both have the same form: the same letters and signs around other
digits. Anything else may be the same value in other words (tomorrow and 2026-11-25, Apple and AAPL,
2 hours and 120, 07911 123456 and +447911123456), and is left to the verifier; where that one does
not look, code can still tell what is most probably made up.
"""

import difflib
import re
from collections.abc import Set as AbstractSet

from trustee_jax.environment.solvability import plain_words

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_HALF_DAY = 12
_ABBREVIATION = 3  # letters: de, EUR
_SYMBOL = 5  # capitals: AAPL
_SAID = 1 / 3
_NAME = re.compile(r"[^\W\d_]{4}")  # letters that are no unit, month or half of the day
_ALIKE = 0.6  # that of Munich and Muenchen
_LONGEST = 100  # characters that are compared: it takes the square of them
_FUNCTION_WORDS = frozenset(("a", "an", "and", "at", "for", "in", "of", "on", "the", "to"))


def contradicts(expected: str, given: object, known: AbstractSet[str]) -> bool:
    """Whether an argument contradicts a value: 4 and 5, BK-2041 and BK-2042, 18 May and 19 May.

    Not judged are times of day, which have two spellings and zones; the same numbers in another
    order, as in dates; and a number that is a multiple of the other, as in other units.

    Args:
      expected: The value as the task's intent has it; "" if it was to come from a result.
      given: The argument.
      known: Words (`plain_words`) that the policy was told before the call: what the argument
        takes from them is not called wrong, since plans may change.
    """
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return False
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    one, other = (" ".join(str(value).casefold().split()) for value in (expected, given))
    if one == other or _form(one) != _form(other) or ":" in one:
        return False
    if set(plain_words(other)) <= known:
        return False
    if _NUMBER.fullmatch(one) and _NUMBER.fullmatch(other):
        small, large = sorted((float(one), float(other)))
        # 7 o'clock may be 19, and 2 weeks 14 days.
        return small > 0 and large % small != 0 and large - small != _HALF_DAY
    return sorted(re.findall(r"\d+", one)) != sorted(re.findall(r"\d+", other))


def _form(text: str) -> str:
    return re.sub(r"\d", "0", text)


def unfounded(
    expected: str,
    given: object,
    known: AbstractSet[str],
    elsewhere: AbstractSet[str] = frozenset(),
) -> bool:
    """Whether an argument has nothing of a value, nor is it what the policy was told: Lille, Lyon.

    It may still be the value by another name or in another unit (Cologne and Koeln, 2 weeks and 14
    days): probable, not certain. Not judged are a wish with digits, dates and times, abbreviations,
    spellings alike, and the two numbers of an hour; all of them are if they were said for another
    parameter.

    Args:
      expected: The value as the task's intent has it; "" if it was to come from a result.
      given: The argument.
      known: Words (`plain_words`) that the policy was told before the call.
      elsewhere: Words of the values of other parameters.
    """
    if isinstance(given, bool) or not isinstance(given, str | int | float) or not expected.strip():
        return False
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    one, other = expected.strip(), str(given).strip()
    wanted, words = (set(plain_words(text)) - _FUNCTION_WORDS for text in (one, other))
    if not words:
        return True
    # One word of it among many others is chance: a water leak, "further analysis of the data leak".
    said = len(words & (wanted | known))
    if words & wanted:
        if said >= _SAID * len(words):
            return False
    elif said == len(words):
        return bool(words & elsewhere)
    if _NUMBER.fullmatch(one) and _NUMBER.fullmatch(other):
        return abs(float(one) - float(other)) not in (0.0, _HALF_DAY)
    if re.search(r"\d", one) or (re.search(r"\d", other) and not _NAME.search(other)):
        return False
    if 0 < len(other) <= _ABBREVIATION or (other.isupper() and len(other) <= _SYMBOL):
        return False
    one, other = (text.casefold()[:_LONGEST] for text in (one, other))
    return difflib.SequenceMatcher(None, one, other).ratio() < _ALIKE
