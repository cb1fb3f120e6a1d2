import types

import pytest

from trustee_jax.bench.generation import decode_cases, prefill_cases
from trustee_jax.engine import EngineConfig
from trustee_jax.errors import ConfigError
from trustee_jax.streams import Purpose


def subject(**options):
    """What the cases need to be listed."""
    return types.SimpleNamespace(
        engine=types.SimpleNamespace(config=types.SimpleNamespace(**options)),
        costs=types.SimpleNamespace(model=types.SimpleNamespace(vocab_size=100)),
        seed=3,
    )


def test_rows_and_lengths_follow_the_engine():
    shape = {"slots": 40, "max_length": 4096, "decode_steps": 4}
    assert set(shape) <= set(EngineConfig.__dataclass_fields__)
    cases = [case.parameters for case in decode_cases(subject(**shape))]
    assert [case["rows"] for case in cases] == [r for r in (1, 8, 32, 40) for _ in range(4)]
    assert {case["context"] for case in cases} == {128, (4096 - 24) // 2}
    assert {case["temperature"] for case in cases} == {0.0, 1.0}
    cases = [case.parameters for case in prefill_cases(subject(**shape))]
    assert [(c["rows"], c["prompt"]) for c in cases] == [
        (rows, prompt) for rows in (1, 40) for prompt in (128, 2047)
    ]


def test_rows_are_asked_for_once():
    shape = {"slots": 8, "max_length": 60, "decode_steps": 8}
    cases = [case.parameters for case in decode_cases(subject(**shape))]
    assert [(c["rows"], c["context"]) for c in cases[::2]] == [(1, 1), (1, 6), (8, 1), (8, 6)]


def test_prompts_share_no_prefix():
    shape = {"slots": 8, "max_length": 4096, "decode_steps": 8}
    *_, case = decode_cases(subject(**shape))
    _, requests = case.run.args
    rows = [tuple(request.tokens[:16].tolist()) for request in requests]
    assert len(set(rows)) == len(rows) == 8
    assert {request.key for request in requests} == {(Purpose.BENCHMARK, i) for i in range(8)}
    assert all(not r.stop_ids and r.schema is None for r in requests)


def test_a_context_without_room_is_one_error():
    shape = {"slots": 8, "max_length": 49, "decode_steps": 8}
    with pytest.raises(ConfigError, match=r"engine.max_length = 49: .* at least 50"):
        list(decode_cases(subject(**shape)))
    assert len(list(decode_cases(subject(**shape | {"max_length": 50})))) == 4
