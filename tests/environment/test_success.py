"""What code alone calls a success."""

import dataclasses

import pytest
from test_episode import BOOK, FIND, Script, play

from trustee_jax.environment import succeeded

VALUES = ({"city": "Lyon"}, {"hotel": "", "nights": "2"})


@pytest.mark.parametrize(
    ("turns", "success"),
    [
        ([FIND, BOOK, "Booked."], True),
        ([FIND + BOOK, FIND], True),  # whether the user was told is not asked
        ([FIND, "Which one?"], False),
        ([FIND, BOOK.replace("2", "5"), "Booked."], False),
        ([FIND.replace("Lyon", "Oslo"), BOOK, "Booked."], False),  # nobody spoke of Oslo
        ([FIND, BOOK, "<tool_call>{nonsense</tool_call>", "Booked."], False),
        ([FIND, BOOK.replace("book", "reserve"), BOOK, "Booked."], True),  # mended
    ],
)
def test_every_expected_call_with_the_values_of_the_wish(
    make_environment, make_task, turns, success
):
    task = dataclasses.replace(make_task(assistant_turns=4, tool_turns=4), expected_values=VALUES)
    script = Script([*turns, *["Done."] * 4], user=["Thanks."] * 4)
    episode, _ = play(make_environment(), task, script)
    assert episode.valid and succeeded(episode) == success
