"""`trustee bench` on a tiny random model, its figures against counts of another kind."""

import contextlib
import dataclasses
import io
import json

import jax
import pytest

from trustee_jax import build as building
from trustee_jax.bench import machine
from trustee_jax.commands.main import main
from trustee_jax.engine import Engine
from trustee_jax.models import make_mesh
from trustee_jax.rl import Learner
from trustee_jax.weights import open_checkpoint

CONFIG = "--config=configs/debug.py"
ROWS, GROUP = 2, 2


@dataclasses.dataclass
class Seen:
    """What passed through engine and learner while the command ran."""

    requests: list = dataclasses.field(default_factory=list)
    completions: list = dataclasses.field(default_factory=list)
    batches: list = dataclasses.field(default_factory=list)
    prefilled: int = 0


def watch(patch, seen):
    submit, step, reset, update = Engine.submit, Engine.step, Engine.reset, Learner.update

    def watched_step(engine):
        before = engine.stats.prefilled_tokens
        completed = step(engine)
        seen.prefilled += engine.stats.prefilled_tokens - before
        seen.completions += [completion for _, completion in completed]
        return completed

    def forgetting(engine):
        """Empty caches begin the episodes, and everything else that is counted."""
        seen.requests, seen.completions, seen.prefilled = [], [], 0
        reset(engine)

    patch.setattr(
        Engine, "submit", lambda e, request: seen.requests.append(request) or submit(e, request)
    )
    patch.setattr(Engine, "step", watched_step)
    patch.setattr(Engine, "reset", forgetting)
    patch.setattr(
        Learner, "update", lambda e, batch: seen.batches.append(batch) or update(e, batch)
    )


@contextlib.contextmanager
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
        patch.setattr(building, "mesh_of", lambda config: mesh)
        patch.setattr(machine.jax, "device_count", lambda: 1)
        yield patch


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """Prompts of some words: the time of a tiny model goes into reading them."""
    folder = tmp_path_factory.mktemp("prompts")
    block = "{% block instructions %}Write JSON{% endblock %}{% block request %}"
    for name in ("task", "world", "user", "tool", "verifier"):
        (folder / f"{name}.jinja").write_text(block + "Do it.{% endblock %}")
    return folder


@dataclasses.dataclass
class Bench:
    """A call of the command: what it wrote and printed, and what passed through."""

    report: dict
    printed: str
    traces: list
    seen: Seen


@pytest.fixture(scope="module")
def bench(tmp_path_factory, prompts):
    folder, seen, printed = tmp_path_factory.mktemp("bench"), Seen(), io.StringIO()
    words = (
        "bench",
        CONFIG,
        "--runs=1",
        f"--output={folder / 'bench.json'}",
        f"--trace={folder / 'traces'}",
        # The episodes are the last, so that what is seen at the end is theirs.
        "--only=prefill,decode,update,step,episodes",
        f"--config.engine.slots={ROWS}",
        "--config.training.tasks_per_step=1",
        f"--config.training.group_size={GROUP}",
        "--config.training.refill_groups=0",
        "--config.environment.world.enabled=false",
        f"--config.simulator.prompts={prompts}",
    )
    with one_device() as patch, contextlib.redirect_stdout(printed):
        watch(patch, seen)
        assert main(words) == 0
    report = json.loads((folder / "bench.json").read_text())
    return Bench(report, printed.getvalue(), list(folder.rglob("*.xplane.pb")), seen)


def costs_by_hand(options):
    """Parameters of a block's products and of the output, and those of all adapters."""
    model = open_checkpoint(options["model.source"]).config
    query, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    d, hidden = model.embed_dim, model.mlp_dim
    kernels = [(d, query), (d, kv), (d, kv), (query, d), (d, hidden), (d, hidden), (hidden, d)]
    rank = options["model.lora_rank"]
    blocks = model.num_layers * sum(a * b for a, b in kernels)
    adapters = model.num_layers * sum(rank * (a + b) for a, b in kernels)
    return model, blocks, adapters, model.vocab_size * d


def medians(case):
    return {name: figure["median"] for name, figure in case["figures"].items()}


def test_the_report_says_what_was_measured_where(bench):
    report = bench.report
    assert report["device"] | {"processor": ""} == {
        "kind": jax.devices()[0].device_kind,
        "platform": "cpu",
        "count": 1,
        "processor": "",
    }
    assert report["versions"]["jax"] == jax.__version__
    assert {"jaxlib", "trustee-jax", "python"} <= set(report["versions"])
    assert report["options"]["engine.slots"] == ROWS
    assert report["options"]["learner.learning_rate"] == 1e-3
    assert list(report["measurements"]) == ["prefill", "decode", "update", "step", "episodes"]
    for cases in report["measurements"].values():
        assert [case["compilations"] for case in cases] == [0] * len(cases)


def test_decoding(bench):
    report = bench.report
    cases = report["measurements"]["decode"]
    combinations = {(c["rows"], c["context"] < 200, c["temperature"]) for c in cases}
    assert len(cases) == len(combinations) == 8
    assert {rows for rows, _, _ in combinations} == {1, ROWS}
    model, blocks, adapters, output = costs_by_hand(report["options"])
    peak = report["machine"]
    for case in cases:
        found, rows = medians(case), case["rows"]
        assert found["tokens_per_second"] * found["ms_per_step"] == pytest.approx(1e3 * rows, 1e-4)
        products = 2 * (blocks + adapters + output)
        flops = found["flops_per_step"]
        attended = 4 * model.num_layers * model.num_heads * model.head_dim
        context = (flops / rows - products) / attended
        # In the middle of what is timed of the 48 tokens.
        assert case["context"] + 8 < context < case["context"] + 40
        cached = rows * context * 2 * model.num_layers * model.num_kv_heads * model.head_dim * 4
        norms = model.num_layers * (2 * model.embed_dim + 2 * model.head_dim) + model.embed_dim
        read = 4 * (blocks + adapters + output + norms) + cached
        assert found["bytes_per_step"] == pytest.approx(read, rel=1e-3)
        limit = max(
            flops / peak["flops_per_second"]["median"], read / peak["bytes_per_second"]["median"]
        )
        assert found["limit_ms_per_step"] == pytest.approx(1e3 * limit, rel=1e-3)
        assert found["of_limit"] * found["ms_per_step"] == pytest.approx(1e3 * limit, rel=1e-3)


def test_prefill(bench):
    report = bench.report
    model, blocks, adapters, output = costs_by_hand(report["options"])
    for case in report["measurements"]["prefill"]:
        found, rows, length = medians(case), case["rows"], case["prompt"]
        per_second = found["tokens_per_second"]
        assert per_second * found["seconds"] == pytest.approx(rows * length, 1e-4)
        pairs = sum(range(1, length + 1))
        flops = 2 * length * (blocks + adapters) + 2 * output
        flops += 4 * model.num_layers * model.num_heads * model.head_dim * pairs
        assert found["flops"] == pytest.approx(rows * flops, rel=1e-4)
        peak = report["machine"]["flops_per_second"]["median"]
        assert found["utilisation"] == pytest.approx(rows * flops / found["seconds"] / peak, 1e-3)


def test_an_update(bench):
    report, seen = bench.report, bench.seen
    (case,) = report["measurements"]["update"]
    found, batch = medians(case), seen.batches[0]
    model, blocks, adapters, output = costs_by_hand(report["options"])
    tokens, trained = int((batch.segments > 0).sum()), int(batch.loss_mask.sum())
    assert (case["tokens"], case["trained_tokens"]) == (tokens, trained)
    assert case["sequences"] == GROUP and 0 < trained < tokens
    pairs = sum(
        int(position) + 1
        for position, segment in zip(batch.positions.flat, batch.segments.flat, strict=True)
        if segment
    )
    attention = 4 * model.num_layers * model.num_heads * model.head_dim * pairs
    # Forward, and backward without the gradients of frozen weights; the reference once more.
    flops = (2 + 2 + 2) * (blocks * tokens + output * trained) + 3 * 2 * adapters * tokens
    flops += (3 + 1) * attention
    assert found["flops"] == pytest.approx(flops, rel=1e-5)
    assert found["tokens_per_second"] * found["seconds"] == pytest.approx(tokens, rel=1e-4)
    assert found["peak_memory_bytes"] > 1e8


def test_episodes(bench):
    (case,), seen = bench.report["measurements"]["episodes"], bench.seen
    found = medians(case)
    # The last run is the traced one; all runs are the same.
    prompt = sum(len(request.tokens) for request in seen.requests)
    assert {request.role for request in seen.requests} == {"policy", "simulator"}
    assert found["episodes"] == GROUP
    assert found["prompt_tokens"] == prompt
    assert found["prefilled_share"] == pytest.approx(seen.prefilled / prompt, rel=1e-5)
    assert 0 < found["prefilled_share"] < 1
    emitted = sum(len(completion.tokens) for completion in seen.completions)
    assert found["emitted_tokens"] == emitted > 0
    assert found["sampled_share"] == pytest.approx(found["sampled_tokens"] / emitted, rel=1e-5)
    assert 0 < found["sampled_share"] <= 1
    assert 0 <= found["device_idle_share"] < 1 and 0 < found["host_share"] < 1


def test_a_whole_step(bench):
    (case,) = bench.report["measurements"]["step"]
    found = medians(case)
    phases = ("tasks", "episodes", "learning", "other")
    total = sum(found[f"{name}_seconds"] for name in phases)
    assert found["seconds"] == pytest.approx(total, rel=1e-4)
    assert found["tasks_seconds"] > 0 and found["episodes_seconds"] > 0


def test_tables_and_traces(bench):
    measured = list(bench.report["measurements"])
    assert [line.strip() for line in bench.printed.splitlines() if line.strip() in measured] == (
        measured
    )
    assert "GFLOP/s" in bench.printed
    # FOLDER/MEASUREMENT/plugins/profile/DATE/HOST.xplane.pb
    assert sorted(file.parents[3].name for file in bench.traces) == sorted(measured)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "--config is needed"),
        ((CONFIG, "--only=decode,flying"), "--only: there is no 'flying'; there are: decode, pre"),
        ((CONFIG, "--only="), "--only: name at least one of decode"),
        ((CONFIG, "--runs=0"), "runs"),
        ((CONFIG, "--output=/none/bench.json"), "/none/bench.json cannot be written; name a file"),
        ((CONFIG, "--output=configs"), "configs cannot be written"),
        ((CONFIG, "--trace=README.md"), "README.md cannot be made"),
        ((CONFIG, "--config.engine.slot=3"), "slot"),
        ((CONFIG, "--config.model.source=random:bert"), "random:bert"),
        ((CONFIG, "--config.tools=none.json"), "none.json"),
    ],
)
def test_wrong_input_is_one_error_before_compute(capsys, monkeypatch, arguments, what):
    monkeypatch.setattr(machine, "measure_roofline", lambda *_: pytest.fail("computed"))
    assert main(["bench", *arguments]) == 2
    out, error = capsys.readouterr()
    assert what in error and out == "" and "Traceback" not in error
