"""Continuous batching against transformers, against itself in company, and against a full pass."""

import dataclasses

import jax
import numpy as np
import pytest
import torch

from trustee_jax.engine import Engine, EngineConfig, Request, RequestError, Sampling
from trustee_jax.errors import NonFiniteError
from trustee_jax.models import LoRAParam

CONFIG = EngineConfig(
    slots=5,
    max_length=160,
    page_size=16,
    prefill_rows=4,
    prefill_tokens=8,
    decode_steps=4,
)
GREEDY = Sampling(temperature=0)


def _engine(tiny, model, **changes):
    return Engine(model, tiny.mesh, dataclasses.replace(CONFIG, **changes), None, seed=3)


def _prompts(count, seed=0, vocab=320):
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, vocab, 60)
    return [
        np.concatenate([shared[: rng.integers(0, 60)], rng.integers(0, vocab, rng.integers(1, 40))])
        for _ in range(count)
    ]


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scanned"])
def test_greedy_decoding_equals_generate(scan, tiny):
    kind = "qwen3-tied-1e6"
    hf = tiny.hf_model(kind)
    prompts = _prompts(16)
    engine = _engine(tiny, tiny.ours(kind, scan_layers=scan))
    requests = [
        Request(p, 12 + i, (i,), "policy" if i % 2 else "simulator", GREEDY)
        for i, p in enumerate(prompts)
    ]
    for request, completion in zip(requests, engine.run(requests), strict=True):
        prompt = torch.tensor(request.tokens)[None]
        expected = hf.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert completion.tokens.tolist() == expected[0, len(request.tokens) :].tolist()
        assert completion.finish == "length"


def test_a_sample_does_not_depend_on_its_company(tiny):
    model = tiny.ours("qwen2-tied-1e6")
    prompts = _prompts(12)
    requests = [
        Request(
            p, 20, (7, i), "policy", Sampling(1.0, top_p=0.9 if i % 3 else 1.0, top_k=i % 2 * 50)
        )
        for i, p in enumerate(prompts)
    ]
    engine = _engine(tiny, model)
    together = engine.run(requests)
    for request, expected in zip(requests[::4], together[::4], strict=True):
        engine.reset()
        (alone,) = engine.run([request])
        assert alone.tokens.tolist() == expected.tokens.tolist()
        np.testing.assert_allclose(alone.logprobs, expected.logprobs, atol=1e-5)
    engine.reset()
    (other,) = engine.run([dataclasses.replace(requests[0], key=(8, 0))])
    assert other.tokens.tolist() != together[0].tokens.tolist()


def test_logprobs_are_those_of_a_full_pass_over_turns_and_adapters(tiny):
    """Second turns continue in kept caches; adapters differ by row; groups share a prompt."""
    model = tiny.with_lora("qwen3-untied-1e4")
    engine = _engine(tiny, model)
    prompts = [prompt for prompt in _prompts(3) for _ in range(3)]
    rng = np.random.default_rng(5)

    def request(tokens, i, turn):
        role = "simulator" if i % 3 == 2 else "policy"
        return Request(tokens, 10, (i, turn), role)

    contexts = prompts
    for turn in range(3):
        requests = [request(tokens, i, turn) for i, tokens in enumerate(contexts)]
        completions = engine.run(requests)
        next_contexts = []
        for i, (r, c) in enumerate(zip(requests, completions, strict=True)):
            whole = np.concatenate([r.tokens, c.tokens])
            expected = tiny.sequence_logprobs(model, whole, use_lora=r.role == "policy")
            np.testing.assert_allclose(c.logprobs, expected[len(r.tokens) - 1 :], atol=1e-4)
            next_contexts.append(np.concatenate([whole, rng.integers(0, 320, 3 + i)]))
        contexts = next_contexts
    # 9 rows in 5 slots: some contexts were lost and computed again, most were not.
    assert engine.stats.prefilled_tokens < 0.8 * engine.stats.prompt_tokens


def test_adapter_changes_the_logits(tiny):
    model = tiny.with_lora("qwen3-untied-1e4")
    tokens = _prompts(1)[0]
    on = tiny.sequence_logprobs(model, tokens, use_lora=True)
    off = tiny.sequence_logprobs(model, tokens, use_lora=False)
    assert np.abs(on - off).max() > 0.01


def test_a_group_prefills_its_prompt_once(tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"), slots=8, page_size=32)
    prompt = np.arange(50)  # a page, and enough of the next to be copied
    engine.run([Request(prompt, 4, (i,), "policy") for i in range(8)])
    assert engine.stats.prefilled_tokens == len(prompt) - 1


def test_an_episode_goes_on_from_its_last_prompt(tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"))
    first = Request(np.arange(40), 8, (0,), "policy")
    (completion,) = engine.run([first])
    engine.run([Request(np.arange(20) + i, 4, (i,), "simulator") for i in range(3)])
    before = engine.stats.prefilled_tokens
    context = np.concatenate([first.tokens, completion.tokens, [5, 6, 7]])
    engine.run([Request(context, 4, (1,), "policy")])
    # Two pages are found. Of the third, too few tokens are known to be worth a copy; what was
    # sampled is computed as a prompt is, and the very last token is fed by decoding.
    assert engine.stats.prefilled_tokens - before == len(context) - 1 - 32


def test_reset_with_a_dispatch_in_flight(tiny):
    """The host learns of an ending one dispatch late; by then the next one is on its way."""
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"))
    request = Request(np.arange(10), 4, (0,), "policy")
    ticket, done = engine.submit(request), []
    while not done:
        done = engine.step()
    assert not engine.idle
    engine.reset()
    assert engine.idle
    (again,) = engine.run([request])
    assert (done[0][0], done[0][1].tokens.tolist()) == (ticket, again.tokens.tolist())


def test_stop_tokens_end_an_answer(tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"))
    request = Request(np.arange(10), 40, (0,), "policy")
    (free,) = engine.run([request])
    stop = int(free.tokens[7])
    (stopped,) = engine.run([dataclasses.replace(request, stop_ids=(319, stop))])
    end = free.tokens.tolist().index(stop)
    assert stopped.tokens.tolist() == free.tokens[: end + 1].tolist()
    assert stopped.finish == "stop"


def test_sampling_follows_the_distribution(tiny):
    """1,000 draws of one token against the probabilities that transformers gives."""
    kind = "qwen3-tied-1e6"
    prompt = np.arange(12)
    with torch.no_grad():
        logits = tiny.hf_model(kind)(torch.tensor(prompt)[None]).logits[0, -1].double()
    top = torch.topk(logits / 0.7, 5)
    expected = np.zeros(320)
    expected[top.indices.numpy()] = torch.softmax(top.values, 0).numpy()
    engine = _engine(tiny, tiny.ours(kind), slots=20)
    sampling = Sampling(0.7, top_k=5)
    draws = engine.run([Request(prompt, 1, (i,), "policy", sampling) for i in range(1000)])
    counts = np.bincount([int(draw.tokens[0]) for draw in draws], minlength=320) / 1000
    assert np.abs(counts - expected).max() < 5 * np.sqrt(0.25 / 1000)
    assert counts[expected == 0].sum() == 0
    full = torch.log_softmax(logits / 0.7, 0).numpy()
    for draw in draws[:20]:  # the log-prob is of the uncut distribution
        assert abs(draw.logprobs[0] - full[draw.tokens[0]]) < 1e-4


def test_top_p_keeps_the_nucleus(tiny):
    prompt = np.arange(12)
    kind = "qwen3-tied-1e6"
    with torch.no_grad():
        logits = tiny.hf_model(kind)(torch.tensor(prompt)[None]).logits[0, -1].double()
    order = torch.argsort(logits, descending=True)
    cumulative = torch.cumsum(torch.softmax(logits, 0)[order], 0)
    nucleus = set(order[: int((cumulative < 0.3).sum()) + 1].tolist())
    engine = _engine(tiny, tiny.ours(kind), slots=20)
    sampling = Sampling(1.0, top_p=0.3)
    draws = engine.run([Request(prompt, 1, (i,), "policy", sampling) for i in range(400)])
    drawn = {int(draw.tokens[0]) for draw in draws}
    assert drawn <= nucleus
    assert len(drawn) > 0.8 * len(nucleus)


def test_choice_logits_are_those_of_transformers(tiny):
    """At every place of an answer, however it is sampled, alone and in company."""
    kind = "qwen3-tied-1e6"
    hf, engine = tiny.hf_model(kind), _engine(tiny, tiny.ours(kind))
    samplings = [GREEDY, Sampling(0.3, top_k=3), Sampling(2.0, top_p=0.5)]
    requests = [
        Request(
            prompt,
            5 + i,
            (i,),
            "simulator",
            samplings[i % 3],
            report_logits_of=tuple(range(i, 320, 29)),
        )
        for i, prompt in enumerate(_prompts(9))
    ]
    requests[4] = dataclasses.replace(requests[4], report_logits_of=())
    requests[5] = dataclasses.replace(requests[5], report_logits_of=(319, 0, 319))
    for request, together in zip(requests, engine.run(requests), strict=True):
        engine.reset()
        (alone,) = engine.run([request])
        whole = np.concatenate([request.tokens, together.tokens])
        with torch.no_grad():
            logits = hf(torch.tensor(whole)[None]).logits[0].numpy()
        places = np.arange(len(request.tokens), len(whole)) - 1
        expected = logits[places][:, list(request.report_logits_of)]
        assert expected.shape == together.reported_logits.shape == alone.reported_logits.shape
        assert together.reported_logits.dtype == np.float32
        np.testing.assert_allclose(together.reported_logits, expected, atol=1e-4)
        np.testing.assert_allclose(alone.reported_logits, expected, atol=1e-4)


def test_the_likeliest_tokens_are_those_of_transformers(tiny):
    """Before any cut, at the request's temperature, and only for those that want them."""
    kind = "qwen3-tied-1e6"
    hf, engine = tiny.hf_model(kind), _engine(tiny, tiny.ours(kind), top_logprobs=6)
    samplings = [GREEDY, Sampling(0.3, top_k=3), Sampling(2.0, top_p=0.5)]
    requests = [
        Request(prompt, 5 + i, (i,), "simulator", samplings[i % 3], top_logprobs=(6, 0, 2)[i % 3])
        for i, prompt in enumerate(_prompts(9))
    ]
    plain = _engine(tiny, tiny.ours(kind)).run(
        [dataclasses.replace(request, top_logprobs=0) for request in requests]
    )
    told = [[] for _ in requests]
    tickets = [engine.submit(*one) for one in zip(requests, [t.append for t in told], strict=True)]
    done = {}
    while not engine.idle:
        done.update((tickets.index(ticket), answer) for ticket, answer in engine.step())
    for i, request in enumerate(requests):
        found = done[i]
        np.testing.assert_array_equal(found.tokens, plain[i].tokens)
        whole = np.concatenate([request.tokens, found.tokens])
        with torch.no_grad():
            logits = hf(torch.tensor(whole)[None]).logits[0, len(request.tokens) - 1 : -1]
        scaled = torch.log_softmax(logits / (request.sampling.temperature or 1.0), -1)
        expected = scaled.topk(request.top_logprobs)
        assert found.top_tokens.shape == expected.indices.shape
        np.testing.assert_allclose(found.top_logprobs, expected.values.numpy(), atol=1e-4)
        np.testing.assert_array_equal(found.top_tokens, expected.indices.numpy())
        parts = [row for part in told[i] for row in part.top_logprobs]
        np.testing.assert_array_equal(
            np.array(parts).reshape(found.top_logprobs.shape), found.top_logprobs
        )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"top_logprobs": 1}, "engine.top_logprobs"),
        ({"tokens": np.zeros(0, np.int32)}, "tokens"),
        ({"tokens": np.array([320])}, "tokens"),
        ({"tokens": np.zeros(150, np.int32)}, "max_new_tokens"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop_ids": tuple(range(9))}, "stop_ids"),
        ({"report_logits_of": (5, 320)}, "report_logits_of"),
        ({"report_logits_of": (-1,)}, "report_logits_of"),
        ({"report_logits_of": tuple(range(13))}, "report_logits_of"),
    ],
)
def test_impossible_requests_are_refused(change, field, tiny):
    engine = _engine(tiny, tiny.ours("qwen2-tied-1e6"))
    request = Request(np.arange(10), 20, (0,), "policy")
    with pytest.raises(RequestError, match=field):
        engine.submit(dataclasses.replace(request, **change))
    assert engine.idle


def test_eight_devices_sample_what_one_does(tiny):
    requests = [Request(p, 12, (i,), "policy") for i, p in enumerate(_prompts(10))]
    config = dataclasses.replace(CONFIG, slots=8)
    results = []
    for shape in ((1, 1, 1), (2, 2, 2)):
        mesh = tiny.make_mesh(*shape)
        model = tiny.ours("qwen3-untied-1e4", mesh=mesh)
        results.append(Engine(model, mesh, config, None).run(requests))
    for one, eight in zip(*results, strict=True):
        assert one.tokens.tolist() == eight.tokens.tolist()
        np.testing.assert_allclose(one.logprobs, eight.logprobs, atol=1e-4)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(1.0, top_p=0.9)])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_not_finite_end_it(broken, sampling, tiny):
    """Not with tokens that mean nothing."""
    model = tiny.with_lora("qwen2-tied-1e6")
    engine = _engine(tiny, model)
    lora = tiny.split(model, LoRAParam, ...)[1]
    engine.update(jax.tree.map(lambda x: x.at[0, 0].set(broken), lora))
    request = Request(_prompts(1)[0], 8, (0,), "policy", sampling)
    with pytest.raises(NonFiniteError, match="the policy's logits are not finite"):
        engine.run([request])
