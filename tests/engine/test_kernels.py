"""Every kernel stores and attends as XLA does, interpreted, and says where it does not fit."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import pallas

from trustee_jax import build
from trustee_jax.commands import main as cli
from trustee_jax.engine import Engine, EngineConfig, Request, Sampling, kernels
from trustee_jax.engine.cache import CacheSpec, copy_pages
from trustee_jax.engine.programs import Programs
from trustee_jax.errors import ConfigError
from trustee_jax.models import MeshRules, ModelConfig, Transformer
from trustee_jax.models.sharding import ENGINE_RULES

MODEL = ModelConfig("qwen3", 320, 64, 2, 8, 2, 128, 96)
ENGINE = EngineConfig(slots=16, max_length=2048)
BFLOAT16 = jnp.dtype("bfloat16")
MESHES = {"one": (1, 1, 1), "four": (1, 2, 2)}


@pytest.fixture
def interpreted(monkeypatch):
    """Runs kernels for accelerators on a CPU."""
    from jax._src import literals

    call = functools.partial(pallas.pallas_call, interpret=True)
    monkeypatch.setattr(pallas, "pallas_call", call)
    # jax 0.10's interpreter asks an index that is a plain number for its shape.
    monkeypatch.setattr(literals.TypedInt, "shape", (), raising=False)


def _spec(kernel, mesh, heads=(8, 2), stacked=True, dtype="float32"):
    config = dataclasses.replace(MODEL, num_heads=heads[0], num_kv_heads=heads[1])
    rules = MeshRules.create(mesh, ENGINE_RULES)
    return CacheSpec(config, 6, 16, jnp.dtype(dtype), stacked, rules, kernel)


def _everything(spec, cache):
    """Keys and values of every page."""
    pages = np.arange(spec.pages * spec.parts * (2 if spec.stacked else 1))
    return [np.asarray(x) for layer in cache.layers for x in layer.load(pages[None], jnp.float32)]


def _random(spec):
    """A cache full of numbers that do not depend on where they lie."""
    cache, shape = spec.zeros(), (2, spec.config.num_kv_heads, spec.config.head_dim)
    pages = spec.pages * spec.parts * (2 if spec.stacked else 1)
    at = np.indices((pages, spec.page_size))
    new = np.random.default_rng(1).normal(size=(*at.shape[1:], *shape)).astype(np.float32)
    layers = tuple(x.store(*at, new[:, :, 0], new[:, :, 1]) for x in cache.layers)
    return jax.device_put(dataclasses.replace(cache, layers=layers), spec.sharding)


# It takes seconds to compile the interpreter's program.
KERNELS = [pytest.param("ragged", marks=pytest.mark.slow), "paged"]


def _compute(kernel, mesh, heads, wrap=jax.jit):
    """Outputs, and what is stored: pieces of prompts with padding, then decoding; second layer."""
    rng = np.random.default_rng(0)
    tables = jnp.array([[4, 2, 0], [4, 2, 0], [3, 1, 5], [5, 0, 0]])

    def new(length):
        return [
            rng.normal(size=(4, length, count, 128)).astype(np.float32)
            for count in (heads[0], heads[1], heads[1])
        ]

    calls = [
        # Two pieces of one prompt, a shorter one, and nothing.
        (new(16), np.array([0, 16, 0, 0]), np.array([16, 10, 5, 0])),
        # Decoding: nothing, in a page's middle, at its end, and a first token.
        (new(1), np.array([40, 26, 15, 0]), np.array([0, 1, 1, 1])),
    ]
    spec = _spec(kernel, mesh, heads)

    @wrap
    def run(cache, inputs, offsets, counts):
        return spec.attention(tables, offsets, counts)(*inputs, cache, jnp.int32(1))

    cache, outputs = _random(spec), []
    for inputs, offsets, counts in calls:
        inputs = [jnp.asarray(x) for x in inputs]
        out, cache = run(cache, inputs, *map(jnp.int32, (offsets, counts)))
        assert np.isfinite(out).all()
        outputs.append(np.asarray(out)[np.arange(out.shape[1]) < counts[:, None]])
    return outputs, _everything(spec, cache)


def _assert_same(computed, expected):
    for a, b in zip(computed[0], expected[0], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    for a, b in zip(computed[1], expected[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("heads", [(32, 8), (4, 1)], ids=["32-8", "4-1"])
def test_a_kernel_computes_what_xla_does(kernel, mesh, heads, interpreted, tiny):
    mesh = tiny.make_mesh(*MESHES[mesh])
    _assert_same(_compute(kernel, mesh, heads), _compute("xla", mesh, heads))


@pytest.mark.parametrize("heads", [(32, 8), (4, 1)], ids=["32-8", "4-1"])
def test_the_tpu_kernel_is_asked_for_what_xla_computes(heads, monkeypatch, tiny):
    """By the reference that is beside it, which wants no compiling."""
    from jax.experimental.pallas.ops.tpu import ragged_paged_attention as ragged
    from jax.experimental.pallas.ops.tpu.ragged_paged_attention import kernel

    def reference(*arguments, num_kv_pages_per_block, num_queries_per_block, **options):
        return kernel.ref_ragged_paged_attention(*arguments, **options)

    monkeypatch.setattr(ragged, "ragged_paged_attention", reference)
    computed = _compute("ragged", tiny.mesh, heads, wrap=lambda run: run)
    _assert_same(computed, _compute("xla", tiny.mesh, heads))


@pytest.mark.parametrize("kernel", ["xla", "ragged", "paged"])
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("stacked", [True, False], ids=["scanned", "unrolled"])
def test_pages_are_copied_in_every_layout(kernel, mesh, stacked, tiny):
    spec = _spec(kernel, tiny.make_mesh(*MESHES[mesh]), stacked=stacked)
    cache = _random(spec)
    before = _everything(spec, cache)
    # The third pair is none.
    sources = np.array([[0, 5, 1], [2, 1, 1]], np.int32)[: spec.parts]
    targets = np.array([[3, 0, -1], [4, 5, -1]], np.int32)[: spec.parts]
    copied = _everything(
        spec, jax.jit(functools.partial(copy_pages, spec))(cache, sources, targets)
    )
    for a, b in zip(before, copied, strict=True):
        shape = (2, spec.parts, -1, spec.pages, 16, 128)  # heads, parts, layers, pages
        expected, found = (x[0].reshape(shape) for x in (a, b))
        expected = expected.copy()
        for part in range(spec.parts):
            at = targets[part, :2], sources[part, :2]
            expected[:, part, :, at[0]] = expected[:, part, :, at[1]]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["ragged", "paged"])
def test_an_engine_answers_by_a_kernel_as_by_xla(kernel, interpreted, monkeypatch, tiny):
    monkeypatch.setattr(kernels, "misfit", lambda *_: None)
    config = EngineConfig(
        slots=2, max_length=96, page_size=32, prefill_rows=2, prefill_tokens=16, decode_steps=4
    )
    model = Transformer(MODEL, rngs=nnx.Rngs(0), scan_layers=True)
    shared = np.arange(40)
    requests = [
        Request(np.append(shared[: 40 - 13 * i], i), 6 + i, (i,), "policy", Sampling(0.0))
        for i in range(3)
    ]
    answers = []
    for name in ("xla", kernel):
        changed = dataclasses.replace(config, attention=name)
        answers.append(Engine(model, tiny.mesh, changed, None).run(requests))
    for a, b in zip(*answers, strict=True):
        assert a.tokens.tolist() == b.tokens.tolist()
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "platform", "changes", "words"),
    [
        ("ragged", "tpu", {}, None),
        ("paged", "gpu", {}, None),
        ("ragged", "cpu", {}, "it needs a TPU, not a CPU"),
        ("paged", "tpu", {}, "it needs a GPU, not a TPU"),
        ("ragged", "tpu", {"cache_dtype": "int8"}, "engine.cache_dtype is int8"),
        ("paged", "gpu", {"cache_dtype": "int8"}, "engine.cache_dtype is int8"),
        ("ragged", "tpu", {"head_dim": 64}, "the model's have 64"),
        ("ragged", "tpu", {"head_dim": 256}, "the model's have 256"),
        ("ragged", "tpu", {"dtype": jnp.dtype("float16")}, "model.dtype is float16"),
        ("ragged", "tpu", {"num_heads": 9, "num_kv_heads": 3}, "9 query and 3 key/value heads"),
        ("ragged", "tpu", {"slots": 1024, "max_length": 24576}, "raise engine.page_size"),
        ("ragged", "tpu", {"page_size": 4096}, "lower engine.page_size = 4096"),
        ("paged", "gpu", {"page_size": 48}, "engine.page_size is 48"),
        ("paged", "gpu", {"head_dim": 96}, "head_dim is 96"),
        ("paged", "gpu", {"page_size": 256}, "engine.page_size = 256 and bfloat16 they are 64"),
        ("paged", "gpu", {"dtype": jnp.dtype("float32")}, "float32 they are 64"),
    ],
)
def test_a_kernel_that_does_not_fit_says_why(kernel, platform, changes, words, monkeypatch, tiny):
    monkeypatch.setattr(MeshRules, "platform", platform)
    dtype = changes.get("dtype", BFLOAT16)
    names = {field.name for field in dataclasses.fields(EngineConfig)}
    engine = dataclasses.replace(ENGINE, **{k: v for k, v in changes.items() if k in names})
    config = dataclasses.replace(
        MODEL, **{k: v for k, v in changes.items() if k not in names and k != "dtype"}
    )
    arguments = (config, dtype, engine, MeshRules.create(tiny.mesh, ENGINE_RULES))
    reason = kernels.misfit(kernel, *arguments)
    assert reason is None if words is None else words in reason
    own = None if changes else {"tpu": "ragged", "gpu": "paged"}.get(platform)
    assert kernels.choose(*arguments) == (own or "xla")
    model = Transformer(config, rngs=None, dtype=dtype)
    if words is not None:
        wanted = dataclasses.replace(engine, attention=kernel)
        with pytest.raises(ConfigError, match=r"engine\.attention.*write \"auto\" or \"xla\"") as e:
            Programs.create(model, tiny.mesh, wanted)
        assert words in str(e.value)


@pytest.mark.parametrize(("kernel", "platform"), [("ragged", "tpu"), ("paged", "gpu")])
@pytest.mark.parametrize("module", ["jax.experimental.pallas.gone", "jax.experimental.gone.ops"])
def test_a_kernel_that_jax_has_no_more_is_not_chosen(kernel, platform, module, monkeypatch, tiny):
    monkeypatch.setattr(MeshRules, "platform", platform)
    monkeypatch.setitem(kernels._MODULES, kernel, module)
    arguments = (MODEL, BFLOAT16, ENGINE, MeshRules.create(tiny.mesh, ENGINE_RULES))
    assert "has it no more" in kernels.misfit(kernel, *arguments)
    assert kernels.choose(*arguments) == "xla"


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_tiles_are_as_the_kernel_wants_them(dtype):
    from jax.experimental.pallas.ops.tpu.ragged_paged_attention import kernel

    dtype = jnp.dtype(dtype)
    for kv_heads, groups in np.ndindex(40, 10):
        kv_heads, groups = int(kv_heads) + 1, int(groups) + 1
        heads = kv_heads * groups
        try:
            at_once, _ = kernel.get_min_heads_per_blk(heads, 2 * kv_heads, dtype, dtype)
            fits = at_once == heads or at_once % 8 == 0
        except ValueError:
            fits = False
        assert kernels._tiled(heads, kv_heads, dtype) == fits, (heads, kv_heads)


@pytest.mark.parametrize("mesh", MESHES)
def test_the_gpu_kernel_lowers_for_a_gpu(mesh, monkeypatch, tiny):
    monkeypatch.setattr(MeshRules, "platform", "gpu")
    spec = _spec("paged", tiny.make_mesh(*MESHES[mesh]), dtype="bfloat16")
    arguments = [jnp.zeros((4, 1, count, 128), jnp.bfloat16) for count in (8, 2, 2)]
    row = jnp.zeros(4, jnp.int32)

    @jax.jit
    def run(cache, inputs):
        return spec.attention(jnp.zeros((4, 6), jnp.int32), row, row)(*inputs, cache, jnp.int32(1))

    lowered = run.trace(spec.abstract(), arguments).lower(lowering_platforms=("cuda",))
    assert "triton" in lowered.as_text().lower()


def test_it_is_refused_before_a_weight_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(build, "load", None)
    debug = pathlib.Path(__file__).parents[2] / "configs" / "debug.py"
    arguments = ["train", f"--workdir={tmp_path / 'run'}", f"--config={debug}"]
    for name, words in (("paged", "it needs a GPU, not a CPU"), ("flash", "'ragged', 'paged'")):
        assert cli.main([*arguments, f"--config.engine.attention={name}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"engine.attention = '{name}'" in error
        assert words in error
