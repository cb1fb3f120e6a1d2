"""Answers held to a schema are complete and valid, whatever the model would rather write."""

import dataclasses
import json
from unittest.mock import Mock

import jsonschema
import numpy as np
import pytest
from schema_walks import set_bits

from trustee_jax.engine import Engine, EngineConfig, Request, RequestError, Sampling
from trustee_jax.engine.constraints import ConstraintCompiler, fill_masks
from trustee_jax.models import Transformer
from trustee_jax.simulator import schemas
from trustee_jax.weights import open_checkpoint

CONFIG = EngineConfig(slots=6, max_length=400, page_size=16, prefill_rows=4, prefill_tokens=8)
SCHEMAS = {
    "task": schemas.task_schema(("get_weather", "send_mail"), 2, 64),
    "planned task": schemas.planned_task_schema(
        {
            "get_weather": {"city": "string", "days": "integer", "radius": "number"},
            "send_mail": {"to": "string"},
            "list_mails": {},
        },
        3,
        64,
    ),
    "world": schemas.world_schema(3, 4, 5, 48),
    "user": schemas.user_schema(64),
    "result": schemas.result_schema(200),
    "changing result": schemas.changing_result_schema(
        200, {"mails": ["M1", "M2-with-long-id"], "places": ["paris"], "empty": []}, 3, 5
    ),
    "part": schemas.part_schema(120, None),
    "reasoned part": schemas.part_schema(7, 64),
    "verdict": schemas.verdict_schema(5, 64),
}


@pytest.fixture(scope="module")
def checkpoint():
    return open_checkpoint("random:qwen3")


@pytest.fixture(scope="module")
def engine(checkpoint, tiny):
    from flax import nnx

    model = Transformer(checkpoint.config, rngs=nnx.Rngs(0))
    return Engine(model, tiny.mesh, CONFIG, checkpoint.tokenizer())


@pytest.fixture(scope="module")
def compiler(checkpoint):
    return ConstraintCompiler(checkpoint.tokenizer(), checkpoint.config.vocab_size)


def _smallest(compiler, schema) -> int:
    """The smallest limit of tokens that is not refused."""
    tokens = 1
    while True:
        try:
            compiler.compile(_request(schema, 0, tokens))
        except RequestError:
            tokens += 1
        else:
            return tokens


def _request(schema, key, tokens=160):
    return Request(np.arange(7), tokens, (key,), "simulator", schema=schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_random_model_writes_valid_json(name, engine, checkpoint, compiler):
    """A random model never closes anything by itself: the ending is the engine's doing."""
    tokenizer, schema = checkpoint.tokenizer(), SCHEMAS[name]
    limit = max(160, _smallest(compiler, schema))
    free = Request(np.arange(7), 30, (0,), "policy")
    completions = engine.run([_request(schema, key, limit) for key in range(8)] + [free])
    texts = [tokenizer.decode(completion.tokens) for completion in completions[:-1]]
    assert len(set(texts)) > 1
    for text, completion in zip(texts, completions[:-1], strict=True):
        assert completion.finish == "stop"
        assert schemas.matches(json.loads(text), schema), text
    assert len(completions[-1].tokens) == 30  # a free row beside them is not held to anything


def test_thinking_comes_first_and_ends(engine, checkpoint):
    schema = SCHEMAS["user"]
    end = 77
    request = dataclasses.replace(_request(schema, 1, 120), think_end_id=end, think_budget=20)
    (completion,) = engine.run([request])
    tokens = completion.tokens.tolist()
    assert tokens.index(end) <= 20
    answer = checkpoint.tokenizer().decode(tokens[tokens.index(end) + 1 :])
    jsonschema.validate(json.loads(answer), schema)


def test_a_budget_below_the_shortest_answer_is_refused(engine):
    with pytest.raises(RequestError, match="max_new_tokens=20"):
        engine.submit(_request(SCHEMAS["verdict"], 0, 20))


def test_room_for_thoughts_is_asked_for_beside_the_answer(compiler):
    schema = SCHEMAS["user"]
    shortest = _smallest(compiler, schema)
    for thought, room in ((9, 10), (0, 1)):
        request = _request(schema, 0, shortest + room)
        compiler.compile(dataclasses.replace(request, think_end_id=77, think_budget=thought))
        with pytest.raises(RequestError, match=f"after {room + 1} of thinking"):
            compiler.compile(
                dataclasses.replace(request, think_end_id=77, think_budget=thought + 1)
            )


def test_an_unsupported_schema_is_refused(engine):
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    with pytest.raises(RequestError, match="schema"):
        engine.submit(_request(schema, 0))


@pytest.mark.parametrize("room", [0, 30])
@pytest.mark.parametrize("name", SCHEMAS)
def test_any_choice_of_tokens_ends_in_valid_json(name, room, checkpoint, compiler):
    """Without a model: walks through the masks with skewed random choices, in the least room."""
    tokenizer, schema = checkpoint.tokenizer(), SCHEMAS[name]
    size = checkpoint.config.vocab_size
    limit = _smallest(compiler, schema) + room
    rng = np.random.default_rng(0)
    for _ in range(120):
        constraint = compiler.compile(_request(schema, 0, limit))
        constraint.begin(limit)
        bits = np.zeros(-(-size // 32), np.int32)
        taste = rng.random(size) ** rng.uniform(1, 20)
        tokens, complete = [], False
        while not complete:
            assert len(tokens) < limit, tokenizer.decode(tokens)
            fill_masks([constraint], bits[None])
            allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[:size] * taste
            tokens.append(int(rng.choice(size, p=allowed / allowed.sum())))
            complete = constraint.accept([tokens[-1]])
        assert schemas.matches(json.loads(tokenizer.decode(tokens)), schema)


def _begun(compiler, schema, left):
    constraint = compiler.compile(_request(schema, 0, left))
    constraint.begin(left)
    return constraint


def _bytes(compiler, tokens) -> bytes:
    return b"".join(compiler.token_bytes[token] for token in tokens)


def _spelled(compiler, text) -> list[int]:
    tokens = compiler.tokens(text)
    assert tokens is not None
    return tokens


def test_what_can_only_come_is_forced(compiler):
    """The opening, what lies between two choices, and the end, which completes the answer."""
    for _ in range(2):
        constraint = _begun(compiler, schemas.verdict_schema(2, 64), 200)
        opening = constraint.forced()[0]
        assert b'{"reasoning":"'.startswith(_bytes(compiler, opening)) and len(opening) > 3
        assert not constraint.accept(opening)
        rest = b'{"reasoning":"'[len(_bytes(compiler, opening)) :]
        assert not constraint.accept(_spelled(compiler, rest + b'fine"'))
        first, second = schemas.CRITERIA[:2]
        run = constraint.forced()[0]
        assert _bytes(compiler, run) == f',"{first}":'.encode()
        assert not constraint.accept(run)
        assert not constraint.forced()[0]
        assert not constraint.accept([_spelled(compiler, b"t")[0]])
        run = constraint.forced()[0]
        assert _bytes(compiler, run) == f'rue,"{second}":'.encode()
        assert not constraint.accept(run)
        assert not constraint.accept([_spelled(compiler, b"f")[0]])
        run = constraint.forced()[0]
        assert _bytes(compiler, run) == b"alse}"
        assert constraint.accept(run)


@pytest.mark.parametrize(
    ("must", "may", "forced"),
    [
        (b'":', (b'"', b'":'), b'":'),
        (b'"', (b'"', b'":'), b""),  # one goes beyond what must come
        (b'":t', (b'"', b'":'), b""),  # none is all of it
    ],
)
def test_the_last_token_before_a_choice(must, may, forced, compiler):
    """llguidance leaves it open; larger vocabularies than this one have such places."""
    bits = compiler._bitmask([_spelled(compiler, text)[0] for text in may])
    matcher = Mock(
        is_accepting=lambda: False,
        compute_ff_tokens=lambda: [],
        compute_ff_bytes=Mock(side_effect=[must, b""]),
        compute_bitmask=bits.tobytes,
    )
    run, complete = compiler.run(matcher)
    assert (_bytes(compiler, run), complete) == (forced, False)


def test_a_run_that_is_not_allowed_is_an_error(compiler):
    constraint = _begun(compiler, SCHEMAS["user"], 60)
    with pytest.raises(RuntimeError, match="break the schema"):
        constraint.accept(_spelled(compiler, b'{"x'))


def test_little_room_forces_nothing_but_the_end(compiler):
    schema = schemas.part_schema(1, None)
    shortest = _smallest(compiler, schema)
    text = b'{"line":1,"met":'
    assert _begun(compiler, schema, shortest).forced()[0] == []
    opening = _begun(compiler, schema, shortest + 60).forced()[0]
    assert _begun(compiler, schema, shortest + 2).forced()[0] == opening[:2]
    for left, completed in ((5, True), (4, False)):
        constraint = _begun(compiler, schema, shortest)
        constraint.accept(_spelled(compiler, text + b"f"))
        constraint.begin(left)
        assert _bytes(compiler, constraint.forced()[0]) == (b"alse}" if completed else b"")


@pytest.mark.parametrize("rows", [1, 5])
def test_masks_of_several_answers_are_those_of_each(rows, compiler):
    """Some have all room, some are at their limit, some between."""
    names, rng = list(SCHEMAS)[:rows], np.random.default_rng(0)
    limits = [_smallest(compiler, SCHEMAS[name]) + 9 * row for row, name in enumerate(names)]
    together, alone = (
        [_begun(compiler, SCHEMAS[name], n) for name, n in zip(names, limits, strict=True)]
        for _ in range(2)
    )
    bits = np.zeros((rows, -(-compiler.vocab_size // 32)), np.int32)
    fill_masks([], bits[:0])
    complete = False
    while not complete:
        fill_masks(together, bits)
        for constraint, other, row in zip(together, alone, bits, strict=True):
            expected = np.zeros_like(row)
            fill_masks([other], expected[None])
            np.testing.assert_array_equal(row, expected)
            token = int(rng.choice(set_bits(row)))
            complete |= constraint.accept([token]) | other.accept([token])


def test_the_choices_of_a_constrained_answer(engine, checkpoint):
    """The verifier's question: where the boolean begins, its logits decide what is drawn."""
    schema = schemas.part_schema(9, None)
    tokenizer = checkpoint.tokenizer()
    words = [tokenizer.decode([token]) for token in range(checkpoint.config.vocab_size)]
    true, false = (
        [words.index(part) for end in range(1, 6) if (part := word[:end]) in words]
        for word in ("true", "false")
    )
    request = dataclasses.replace(
        _request(schema, 3, 60), report_logits_of=(*true, *false), sampling=Sampling(temperature=0)
    )
    prompts = [np.arange(i, i + 9) for i in range(12)]
    requests = [dataclasses.replace(request, tokens=p, key=(i,)) for i, p in enumerate(prompts)]
    said = set()
    for completion in engine.run(requests):
        tokens = completion.tokens.tolist()
        assert completion.reported_logits.shape == (len(tokens), len(true + false))
        answer = json.loads(tokenizer.decode(tokens))
        said.add(answer["met"])
        begin = max(i for i, token in enumerate(tokens) if words[token][0] in "tf")
        logits = completion.reported_logits[begin]
        assert answer["met"] == (logits[: len(true)].max() > logits[len(true) :].max())
    assert said == {True, False}
