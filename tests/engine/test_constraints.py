"""Answers held to a schema are complete and valid, whatever the model would rather write."""

import dataclasses
import json

import jsonschema
import numpy as np
import pytest

from trustee_jax.engine import Engine, EngineConfig, Request, RequestError
from trustee_jax.engine.constraints import ConstraintCompiler
from trustee_jax.models import Transformer
from trustee_jax.simulation import schemas
from trustee_jax.weights import open_checkpoint

CONFIG = EngineConfig(
    slots=6, max_length=400, min_cache_length=400, prefill_rows=2, prefill_chunks=(8, 32)
)
SCHEMAS = {
    "task": schemas.task_schema(("get_weather", "send_mail"), 2, 64),
    "user": schemas.user_schema(64),
    "result": schemas.result_schema(200),
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


def _request(schema, key, tokens=160):
    return Request(np.arange(7), tokens, (key,), "simulator", schema=schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_random_model_writes_valid_json(name, engine, checkpoint):
    """A random model never closes anything by itself: the ending is the engine's doing."""
    tokenizer, schema = checkpoint.tokenizer(), SCHEMAS[name]
    free = Request(np.arange(7), 30, (0,), "policy")
    completions = engine.run([_request(schema, key) for key in range(8)] + [free])
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


def test_an_unsupported_schema_is_refused(engine):
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    with pytest.raises(RequestError, match="schema"):
        engine.submit(_request(schema, 0))


@pytest.mark.parametrize("name", SCHEMAS)
def test_any_choice_of_tokens_ends_in_valid_json(name, checkpoint):
    """Without a model: 200 walks through the masks, with skewed random choices."""
    tokenizer, schema = checkpoint.tokenizer(), SCHEMAS[name]
    size = checkpoint.config.vocab_size
    compiler = ConstraintCompiler(tokenizer, size)
    rng = np.random.default_rng(0)
    for _ in range(200):
        constraint = compiler.compile(_request(schema, 0, 130))
        bits = np.zeros(-(-size // 32), np.int32)
        taste = rng.random(size) ** rng.uniform(1, 20)
        tokens, complete = [], False
        while not complete:
            assert len(tokens) < 130
            constraint.fill(bits)
            allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[:size] * taste
            tokens.append(int(rng.choice(size, p=allowed / allowed.sum())))
            complete = constraint.accept(tokens[-1])
        assert schemas.matches(json.loads(tokenizer.decode(tokens)), schema)
