"""Real tools: every public function is one, described by its types and its docstring.

trustee train --config=configs/quickstart.py --config.tools=configs/tools/example.py ...
"""

import datetime
from typing import Literal


def days_between(start: str, end: str) -> dict:
    """Counts the days from one date to another.

    Args:
      start: First day, as YYYY-MM-DD.
      end: Last day, as YYYY-MM-DD.
    """
    first, last = (datetime.date.fromisoformat(day) for day in (start, end))
    return {"days": (last - first).days, "weekday_of_end": f"{last:%A}"}


def convert_length(value: float, source: Literal["m", "km", "mi", "ft"], target: str = "m") -> dict:
    """Converts a length from one unit into another.

    Args:
      value: How many of the source unit.
      source: The unit that it is given in.
      target: The unit that is wanted: m, km, mi or ft.
    """
    metres = {"m": 1.0, "km": 1000.0, "mi": 1609.344, "ft": 0.3048}
    if target not in metres:
        raise ValueError(f"unknown unit {target!r}; use one of {', '.join(metres)}")
    return {"value": round(value * metres[source] / metres[target], 4), "unit": target}


def compound_interest(principal: float, rate_percent: float, years: int) -> dict:
    """Works out what a deposit grows to with yearly interest.

    Args:
      principal: The deposit.
      rate_percent: Interest of a year, in percent.
      years: How many years it stays.
    """
    amount = principal * (1 + rate_percent / 100) ** years
    return {"amount": round(amount, 2), "interest": round(amount - principal, 2)}
