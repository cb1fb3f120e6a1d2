"""How long an engine with backtracking takes for a pattern at worst, and how large it gets."""

from typing import Any


def most_steps(parsed: Any, length: int) -> float:
    """Returns an upper bound, up to a small factor, of the steps of a search.

    What follows a part is tried once for each way in which that part can match.

    Args:
      parsed: What `re._parser.parse` returns.
      length: Of the text, in characters.
    """
    _, steps = _sequence(parsed, length)
    items = list(parsed)
    first = str(items[0][1]) if items and str(items[0][0]) == "AT" else ""
    many_lines = parsed.state.flags & 8  # re.MULTILINE
    is_anchored = first.startswith("AT_BEGINNING") and not many_lines
    return steps if is_anchored else length * (steps + 1)


def unrolled_size(items: Any) -> float:
    """Returns the number of items of a parsed pattern with counted repetitions written out."""
    total = 0.0
    for op, argument in items:
        if str(op).endswith("REPEAT"):
            least, most, inner = argument
            count = most if isinstance(most, int) and str(most) != "MAXREPEAT" else least
            total += max(count, 1) * unrolled_size(inner)
        else:
            total += 1 + sum(map(unrolled_size, _within(str(op), argument)))
    return total


def _sequence(items: Any, length: int) -> tuple[float, float]:
    """(Ways in which it can match from one place, steps to try them all)."""
    ways, steps = 1.0, 0.0
    for op, argument in items:
        of_item, more = _item(str(op), argument, length)
        steps += ways * more
        ways *= of_item
    return ways, steps


def _item(op: str, argument: Any, length: int) -> tuple[float, float]:
    if op.endswith("REPEAT"):
        least, most, inner = argument
        least, most = min(least, length), min(most, length)
        ways, steps = _sequence(inner, length)
        if ways == 1:
            total, count = float(most - least + 1), most * (steps + 1)
        elif most <= 1:
            total, count = ways + (most - least), steps + 1
        else:
            total = count = float("inf")
        return (1.0, count) if op.startswith("POSSESSIVE") else (total, count)
    within = [_sequence(items, length) for items in _within(op, argument)]
    if op == "GROUPREF":
        return 1.0, float(length)
    if not within:
        return 1.0, 1.0
    ways, steps = (sum(numbers) for numbers in zip(*within, strict=True))
    return (1.0 if op.startswith(("ASSERT", "ATOMIC")) else ways), steps + len(within)


def _within(op: str, argument: Any) -> list[Any]:
    """The parts of an item that is no repetition."""
    if op == "BRANCH":
        return list(argument[1])
    if op == "SUBPATTERN":
        return [argument[3]]
    if op == "ATOMIC_GROUP":
        return [argument]
    if op in ("ASSERT", "ASSERT_NOT"):
        return [argument[1]]
    if op == "GROUPREF_EXISTS":
        return [items for items in argument[1:] if items is not None] + [[]]
    return []
