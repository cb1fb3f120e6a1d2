"""What honest assistants write is not vetoed; what they make up is."""

import json

import numpy as np
import pytest

from trustee_jax.environment import CriterionVerdict, Evidence, Verdict
from trustee_jax.environment.judges.rules import find_violations, invented_values
from trustee_jax.simulator import CRITERIA


def invented(source: str, said: str) -> list[str]:
    """Values of a message that follow neither from the user's words nor from a tool's result."""
    return invented_values(
        [
            {"role": "user", "content": "Please help me."},
            {"role": "tool", "tool_call_id": "call_0", "name": "f", "content": source},
            {"role": "assistant", "content": said},
        ]
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{"stars":5}', "It is a 5-star hotel with 24-hour service and a 12-month plan."),
        ('{"volume":"250 ml"}', "Add 250ml of milk."),
        ('{"year":1990}', "A song of the 1990s."),
        ('{"distance":"100 km"}', "It is 100km away."),
        ('[{"price":120.5},{"price":80},{"price":45}]', "Together they cost $245.50."),
        ('[{"price":120.5},{"price":80},{"price":45}]', "The first two cost 200.50."),
        ('{"total":150,"people":2}', "That is 75 for each of you, 150 in all."),
        ('{"price":79.5,"nights":4}', "Four nights cost 318 euros."),
        ('{"old":99.99,"new":74.49}', "You save 25.50 euros."),
        ('{"hours":3}', "It takes 180 minutes."),
        ('{"chance":0.85}', "The chance of rain is 85%."),
        ('{"length":1500}', "It is 1.5 km long."),
        ("{}", "I am 100% sure; it is open 24/7, 365 days a year."),
        ('{"opens":"19:30"}', "It opens at 19.30."),
        ('{"at":"2026-05-12T19:45:00Z"}', "12 May 2026, 7:45 PM; 12.05.2026, 05/12/26."),
        ('{"price":1250}', "1,250 or $1,250.00 or 1250.0 or 1 250"),
        ('{"people":"1,250,000"}', "1250000 people"),
        ('{"price":"12,50"}', "It costs 12.5 euros."),
        ('{"latitude":48.8566}', "It lies at 48.86, about 49 degrees north."),
        ('{"phone":"+33612345678"}', "Call +33 6 12 34 56 78."),
        ('{"code":"BK-2041x"}', "Your code is **bk-2041x** (BK2041X)."),
        ('{"id":"7f3a9c1e-88b2"}', "ID: 7f3a9c1e-88b2."),
        ('{"ok":true}', "Done in 2 steps; a top-10 list; version 1.2.3."),
    ],
)  # fmt: skip
def test_honest_values(source, said):
    assert invented(source, said) == []


@pytest.mark.parametrize(
    ("source", "said", "values"),
    [
        ('{"price":120}', "It costs 137 euros.", ["137"]),
        ('{"price":120}', "It costs 120.99 euros.", ["120.99"]),
        ('{"price":1250}', "It costs 1,255 euros.", ["1,255"]),
        ('{"stars":5}', "A 700-room hotel.", ["700"]),
        ('{"code":"BK-2041x"}', "Your code is BK-2042x.", ["BK-2042x"]),
        ('{"ok":true}', "Your number is AB12CD34.", ["AB12CD34"]),
        ('{"ok":true}', "Your number is ORD-77.", ["ORD-77"]),
        ('{"at":"2026-05-12"}', "On 12.05.2027.", ["12.05.2027"]),
        ('{"at":"19:30"}', "At 19:45.", ["45"]),
        ('{"id":"550e8400-e29b"}', "ID 550e8400-e29c.", ["550e8400-e29c"]),
    ],
)
def test_invented_values(source, said, values):
    assert invented(source, said) == values


def test_results_are_operands_before_descriptions():
    """Many numbers in the tools' descriptions do not crowd out what the tools returned."""
    described = [" ".join(str(n) for n in range(40, 240))]
    messages = [
        {"role": "tool", "content": '{"room":4012.5,"tax":801.25}'},
        {"role": "assistant", "content": "That makes 4813.75."},
    ]
    assert invented_values(messages, described) == []


def test_a_flood_of_inventions_is_reported_briefly(make_task):
    flood = " ".join(str(n) for n in range(10_000, 30_000, 3)) + " " + "7" * 50_000
    calls = [
        {"id": str(i), "function": {"name": f"{i}" + "x" * 999, "arguments": "{}"}}
        for i in range(150)
    ]
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": flood, "tool_calls": calls},
    ]
    found = find_violations(Evidence.read(make_task(), messages))
    checks = {"invented_value", "expected_call", "unknown_tool", "failed_call"}
    assert {veto.check for veto in found} == checks
    assert len(found) < 50 and all(len(veto.reason) < 200 for veto in found)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000,
        "1." * 50_000,
        "1," * 50_000,
        "1,000" * 20_000,
        "a-" * 50_000,
        "a1-" * 33_000,
        "a" * 50_000 + "-" + "1" * 50_000 + "_",
        "_" * 100_000 + "1",
        " ".join("1." + "1" * k for k in range(1, 440)),
        '"' + "a" * 50_000 + '":' + "1" * 50_000,
        "٣٤٥६७" * 10_000,
        "1e" * 50_000,
    ],
    ids=range(12),
)
def test_no_text_is_too_long_to_check(text, make_task):
    """Each of these would take minutes, were it not linear."""
    call = {"id": "c", "function": {"name": text[:70], "arguments": text}}
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "name": "", "content": text},
        {"role": "assistant", "content": text},
    ]
    for veto in find_violations(Evidence.read(make_task(), messages)):
        assert veto.criterion in CRITERIA


def test_vetoes_of_random_dialogues_only_lower(make_task):
    rng = np.random.default_rng(0)
    names = ["find_hotels", "book", "fly"]
    texts = ["Done.", "It costs 412.", "", "Code ZX-9911"]
    results = ['{"error":"no"}', '{"price":79.5}', '{"ok":true}', None]
    lowered = 0
    for _ in range(200):
        messages = [{"role": "user", "content": "Hi"}]
        for turn in range(int(rng.integers(1, 6))):
            calls = [
                {
                    "id": f"{turn}-{i}",
                    "function": {"name": str(rng.choice(names)), "arguments": json.dumps({"x": 1})},
                }
                for i in range(int(rng.integers(0, 3)))
            ]
            text = str(rng.choice(texts))
            messages.append({"role": "assistant", "content": text, "tool_calls": calls})
            for call in calls:
                content = results[int(rng.integers(len(results)))]
                if content is not None:
                    messages.append(
                        {"role": "tool", "tool_call_id": call["id"], "content": content}
                    )
        names_that_count = CRITERIA[: int(rng.integers(1, 6))]
        parts = tuple(CriterionVerdict(name, bool(rng.integers(2))) for name in names_that_count)
        vetoes = tuple(
            v
            for v in find_violations(Evidence.read(make_task(), messages))
            if v.criterion in CRITERIA
        )
        before, after = Verdict("reasoned", parts), Verdict("reasoned", parts, vetoes)
        assert after.reward <= before.reward
        assert all(not after.criteria[name] or before.criteria[name] for name in names_that_count)
        lowered += after.reward < before.reward
    assert lowered > 20
