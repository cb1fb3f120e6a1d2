"""The paged cache: answers do not depend on it in any bit, and nothing is lost when it is full."""

import dataclasses
import itertools
import json
import threading

import jax
import jsonschema
import numpy as np
import pytest
from flax import nnx

from trustee_jax.engine import Engine, EngineConfig, Request, Sampling
from trustee_jax.engine.layouts import Vectors, XlaPages
from trustee_jax.engine.pages import PagePool
from trustee_jax.errors import NonFiniteError
from trustee_jax.models import LoRAParam, Transformer
from trustee_jax.simulator import schemas
from trustee_jax.weights import open_checkpoint

CONFIG = EngineConfig(
    slots=6, max_length=256, page_size=16, prefill_rows=4, prefill_tokens=16, decode_steps=4
)
ROLES = ("policy", "simulator")


def _engine(tiny, model, **changes):
    return Engine(model, tiny.mesh, dataclasses.replace(CONFIG, **changes), None, seed=3)


def _episodes(count, turns=3, seed=0):
    """Requests of several turns: each context goes on from a shared prompt and the answer before.

    Yields what `_play` needs: the prompt, and what is added after each answer.
    """
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, 320, 50)
    return [
        (
            np.concatenate([shared[: 50 - i % 3 * 20], rng.integers(0, 320, 1 + 3 * i % 7)]),
            [rng.integers(0, 320, 2 + (i + turn) % 5) for turn in range(turns)],
        )
        for i in range(count)
    ]


def _play(engine, episodes, between=lambda: None):
    """Answers of all turns, each turn's requests at once."""
    contexts = [prompt for prompt, _ in episodes]
    answers = []
    for turn in range(len(episodes[0][1])):
        requests = [
            Request(
                context,
                9 + i % 4,
                (i, turn),
                "simulator" if i % 3 == 2 else "policy",
                Sampling(1.0, top_p=0.95 if i % 2 else 1.0),
            )
            for i, context in enumerate(contexts)
        ]
        completions = engine.run(requests)
        answers.append([(c.tokens.tolist(), c.logprobs.tobytes()) for c in completions])
        contexts = [
            np.concatenate([request.tokens, completion.tokens, episodes[i][1][turn]])
            for i, (request, completion) in enumerate(zip(requests, completions, strict=True))
        ]
        between()
    return answers


@pytest.fixture(scope="module")
def played(tiny):
    model = tiny.with_lora("qwen3-untied-1e4")
    return model, _play(_engine(tiny, model), _episodes(7))


@pytest.mark.parametrize(
    "changes",
    [
        {"prefill_budget": 1},
        {"cache_tokens": 256},
        {"cache_tokens": 512},
    ],
    ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items()),
)
def test_answers_do_not_depend_on_budget_or_capacity(changes, played, tiny):
    model, expected = played
    engine = _engine(tiny, model, **changes)
    assert _play(engine, _episodes(7)) == expected
    if changes.get("cache_tokens") == 256:
        assert engine.stats.restarts > 0


def test_answers_do_not_depend_on_what_is_cached(played, tiny):
    model, expected = played
    engine = _engine(tiny, model)
    assert _play(engine, _episodes(7), between=engine.reset) == expected
    _play(engine, _episodes(7))
    cold = engine.stats.prefilled_tokens
    assert _play(engine, _episodes(7)) == expected
    # Of what was there before, only the ends of prompts are computed again.
    assert 0 < engine.stats.prefilled_tokens - cold < cold / 2


def test_answers_do_not_depend_on_company(tiny):
    """Not on others in the batch, nor on whether they are held to a schema or think."""
    checkpoint = open_checkpoint("random:qwen3")
    model = Transformer(checkpoint.config, rngs=nnx.Rngs(0))
    engine = Engine(model, tiny.mesh, CONFIG, checkpoint.tokenizer(), seed=3)
    free = [
        Request(np.arange(i, 40 + i), 30, (0, i), "policy", Sampling(1.0, top_k=i * 9))
        for i in range(3)
    ]
    schema = schemas.part_schema(30, None)
    held = [
        Request(np.arange(30), 80 + i, (1, i), "simulator", schema=schema)
        if i % 2
        else Request(
            np.arange(30), 150, (1, i), "simulator", schema=schema, think_end_id=5, think_budget=20
        )
        for i in range(4)
    ]
    alone = []
    for request in (*free, *held):
        engine.reset()
        alone += engine.run([request])
    engine.reset()
    together = engine.run([*free, *held])
    for one, other in zip(alone, together, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert one.logprobs.tobytes() == other.logprobs.tobytes()
    for request, completion in zip(held, together[3:], strict=True):
        answer = completion.tokens.tolist()
        if request.think_end_id is not None:
            thought = answer.index(5) if 5 in answer[:20] else 20
            assert answer[thought] == 5
            answer = answer[thought + 1 :]
        jsonschema.validate(json.loads(checkpoint.tokenizer().decode(answer)), schema)
    assert engine.stats.forced_tokens > 0


def test_tokens_are_told_as_they_come_each_once(tiny):
    """Also by a request that had to begin again."""
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"), cache_tokens=256)
    told = {}
    tickets = []
    for i in range(6):
        request = Request(np.arange(20 + i), 100, (i,), "policy")
        said = []
        tickets.append(engine.submit(request, on_tokens=said.append))
        told[tickets[-1]] = said
    done = {}
    while not engine.idle:
        done.update(engine.step())
    assert engine.stats.restarts > 0
    for ticket, parts in told.items():
        assert len(parts) > 1
        assert list(itertools.chain(*(p.tokens for p in parts))) == done[ticket].tokens.tolist()
        said = np.array([number for part in parts for number in part.logprobs], np.float32)
        np.testing.assert_array_equal(said, done[ticket].logprobs)


def test_a_cancelled_request_leaves_nothing_behind(tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"), slots=2)
    requests = [Request(np.arange(30 + i), 60, (i,), "policy") for i in range(4)]
    expected = engine.run(requests[1:2])[0].tokens.tolist()
    tickets = [engine.submit(request) for request in requests]
    engine.step()
    for i in (0, 2, 3):  # One that runs and two that wait.
        engine.cancel(tickets[i])
    done = {}
    while not engine.idle:
        done.update(engine.step())
    assert list(done) == [tickets[1]]
    assert done[tickets[1]].tokens.tolist() == expected
    assert engine.cache_use == (0, 0)
    engine.reset()


def test_the_use_may_be_read_while_rows_come_and_go(tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"), slots=2)
    engine.submit(Request(np.arange(30), 60, (0,), "policy"))
    engine.step()
    rows = engine._scheduler.rows
    (job,) = rows.values()

    class Pages(list):
        """While they are read, a step of another thread gives a second request a row."""

        def __iter__(self):
            rows[1 - job.slot] = job
            return super().__iter__()

    job.pages = Pages(job.pages)
    tokens, room = engine.cache_use
    assert 30 <= tokens <= room


def test_requests_come_from_other_threads(tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"))
    requests = [Request(np.arange(10 + i), 12, (i,), "policy") for i in range(24)]
    expected = [completion.tokens.tolist() for completion in engine.run(requests)]
    tickets = {}

    def submit(numbers):
        for i in numbers:
            tickets[engine.submit(requests[i])] = i

    threads = [threading.Thread(target=submit, args=(range(t, 24, 3),)) for t in range(3)]
    for thread in threads:
        thread.start()
    done = {}
    while len(done) < 24:
        done.update(engine.step())
    for thread in threads:
        thread.join()
    assert {tickets[t]: c.tokens.tolist() for t, c in done.items()} == dict(enumerate(expected))


def test_a_full_cache_makes_requests_wait(tiny):
    """Short and long ones, many more than fit; the pages in use are nearly full of tokens."""
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"), slots=16, cache_tokens=512)
    rng = np.random.default_rng(0)
    requests = [
        Request(rng.integers(0, 320, 4 + 11 * i % 200), 5 + 7 * i % 40, (i,), "policy")
        for i in range(32)
    ]
    expected = _engine(tiny, tiny.ours("qwen2-tied-1e6"), slots=16).run(requests)
    tickets = [engine.submit(request) for request in requests]
    done, used, allocated = {}, 0, 0
    while not engine.idle:
        done.update(engine.step())
        tokens, room = engine.cache_use
        assert room <= 512
        used, allocated = used + tokens, allocated + room
    assert [done[t].tokens.tolist() for t in tickets] == [c.tokens.tolist() for c in expected]
    assert used / allocated > 0.8


def test_new_weights_forget_the_policy_alone(tiny):
    model = tiny.with_lora("qwen3-untied-1e4")
    engine = _engine(tiny, model)
    lora = tiny.split(model, LoRAParam, ...)[1]
    requests = [Request(np.arange(81), 4, (i,), role) for i, role in enumerate(ROLES)]
    engine.run(requests)
    assert engine.stats.prefilled_tokens == 2 * 80
    engine.update(jax.tree.map(lambda x: x * 2, lora))
    engine.run(requests)
    assert engine.stats.prefilled_tokens == 3 * 80
    before = engine.run(requests)
    engine.release()
    after = engine.run(requests)
    assert [c.logprobs.tobytes() for c in after] == [c.logprobs.tobytes() for c in before]


def test_a_pool_forgets_what_was_unused_for_longest():
    pool = PagePool(4, 2)
    contexts = [np.array(tokens, np.int32) for tokens in ([1, 2, 3, 4], [1, 2, 5], [7, 8])]
    held = []
    for tokens in contexts:
        found = list(pool.match("policy", tokens).pages)
        pool.hold(found)
        pages = found + pool.allocate(-(-len(tokens) // 2) - len(found))
        pool.share("policy", pages, tokens)
        for page in pages:
            page.computed = True
        held.append(pages)
    assert pool.available == 0
    assert pool.allocate(1) is None
    assert held[0][0] is held[1][0]
    for pages in held:
        pool.release(pages)
    assert pool.available == 4
    assert [pool.match("policy", tokens).length for tokens in contexts] == [4, 3, 2]
    assert pool.match("simulator", contexts[0]).length == 0
    pool.hold(pool.match("policy", contexts[0]).pages)  # Used again: the other two are older.
    taken = pool.allocate(2)
    assert [pool.match("policy", tokens).length for tokens in contexts] == [4, 2, 0]
    assert pool.allocate(1) is None
    with pytest.raises(RuntimeError, match="needed"):
        pool.forget("policy")
    pool.release(taken)
    pool.release(held[0])
    pool.forget("policy")
    assert len({page.index for page in pool.allocate(4)}) == 4


def test_an_int8_cache_rounds_each_vector_by_its_own_scale():
    rng = np.random.default_rng(0)
    new = rng.normal(size=(5, 3, 2, 8)) * 10.0 ** rng.integers(-3, 4, (5, 3, 2, 1))
    new[0, 0] = 0
    empty = Vectors(jax.numpy.zeros((4, 2, 16, 8), "int8"), jax.numpy.zeros((4, 2, 16, 1)))
    which = np.array([[0, 0, 1], [1, 3, 3], [0, 1, 3], [4, 4, 4], [3, 1, 0]])
    slots = np.arange(15).reshape(5, 3)
    new32 = jax.numpy.asarray(new, "float32")
    pages = XlaPages(empty, empty).store(which, slots, new32, -new32)
    found, values = (np.asarray(x)[0] for x in pages.load(np.arange(4)[None], np.float32))
    np.testing.assert_array_equal(values, -found)
    scale = np.abs(new).max(-1, keepdims=True) / 127
    for row, column in np.ndindex(which.shape):
        if which[row, column] < 4:
            loaded = found[:, which[row, column] * 16 + slots[row, column]]
            error = np.abs(loaded - new[row, column])
            assert (error <= scale[row, column] * 0.5001).all()
    # Page 4 does not exist: what goes there goes nowhere.
    assert np.count_nonzero(found.any(-1)) == 2 * (15 - 3 - 1)


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scanned"])
def test_an_int8_cache_answers_nearly_as_a_full_one(scan, tiny):
    model = tiny.with_lora("qwen3-untied-1e4", scan_layers=scan)
    episodes = _episodes(5, turns=2)
    engine = _engine(tiny, model, cache_dtype="int8")
    answers = _play(engine, episodes)
    # What differs is rounding of the cache alone, which no capacity changes.
    assert _play(_engine(tiny, model, cache_dtype="int8", cache_tokens=256), episodes) == answers
    small, large = (
        sum(x.nbytes for x in jax.tree.leaves(e._programs.cache.zeros()))
        for e in (engine, _engine(tiny, model))
    )
    dim = model.config.head_dim
    assert small / large == engine.config.vector_bytes(dim, 4) / CONFIG.vector_bytes(dim, 4)
    contexts = [prompt for prompt, _ in episodes]
    requests = [Request(c, 20, (i,), "policy") for i, c in enumerate(contexts)]
    for request, completion in zip(requests, engine.run(requests), strict=True):
        whole = np.concatenate([request.tokens, completion.tokens])
        expected = tiny.sequence_logprobs(model, whole, use_lora=True)[len(request.tokens) - 1 :]
        difference = np.abs(completion.logprobs - expected)
        assert 1e-5 < difference.max() < 0.1


def test_a_prompt_that_begins_as_another_fits_a_cache_of_one_request(tiny):
    """What it shares and what it must compute do not fit beside each other."""
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"), cache_tokens=256)
    first = Request(np.arange(244), 8, (0,), "policy")
    other = np.concatenate([np.arange(236), np.arange(9)])
    requests = [first, Request(other, 8, (1,), "policy")]
    (expected,) = _engine(tiny, tiny.ours("qwen2-tied-1e6")).run(requests[1:])
    engine.run(requests[:1])
    (answer,) = engine.run(requests[1:])
    assert answer.tokens.tolist() == expected.tokens.tolist()


def test_a_common_beginning_does_not_keep_requests_in_one_part(tiny):
    """The rows and pages of a mesh are divided; a system prompt is then computed in each part."""
    mesh = tiny.make_mesh(2, 2, 2)
    model = tiny.ours("qwen3-untied-1e4", mesh=mesh)
    engine = Engine(model, mesh, dataclasses.replace(CONFIG, slots=8), None)
    prompts = [np.concatenate([np.arange(40), [i]]) for i in range(8)]
    engine.run([Request(prompts[0], 4, (9,), "policy")])
    for i, prompt in enumerate(prompts):
        engine.submit(Request(prompt, 40, (i,), "policy"))
    engine.step()
    assert len(engine._scheduler.running) == 8


def test_a_cancel_that_follows_at_once_is_heard(tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"))
    engine.cancel(engine.submit(Request(np.arange(9), 4, (0,), "policy")))
    assert engine.step() == []
    assert engine.idle


def test_damaged_weights_leave_nothing_in_the_cache(tiny):
    model = tiny.with_lora("qwen3-untied-1e4")
    engine = _engine(tiny, model)
    lora = tiny.split(model, LoRAParam, ...)[1]
    request = Request(np.arange(30), 8, (0,), "policy")
    expected = engine.run([request])[0].tokens.tolist()
    good = jax.tree.map(np.asarray, lora)  # An update may change it in place.
    engine.update(jax.tree.map(lambda x: x.at[0, 0].set(np.nan), lora))
    with pytest.raises(NonFiniteError):
        engine.run([request])
    engine.cancel()
    engine.update(jax.tree.map(jax.numpy.asarray, good))
    assert engine.run([request])[0].tokens.tolist() == expected
