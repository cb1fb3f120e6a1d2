"""Whole runs of `trustee train` on a tiny random model, most of them in processes of their own."""

import dataclasses
import functools
import itertools
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import rewarded_run
from jax.experimental.compilation_cache import compilation_cache
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.layout_pb2 import Layout

from trustee_jax import build as building
from trustee_jax import run as running
from trustee_jax.commands import main as cli
from trustee_jax.config import Config
from trustee_jax.curriculum import ASPECTS, Curriculum
from trustee_jax.engine import Request
from trustee_jax.progress import Progress
from trustee_jax.run import read_config
from trustee_jax.simulator import CRITERIA
from trustee_jax.toolsets import load_repository
from trustee_jax.training import loop
from trustee_jax.training.checkpoint import Checkpointer
from trustee_jax.training.summary import CAUSES, LAYOUT
from trustee_jax.training.workdir import Workdir
from trustee_jax.weights import open_checkpoint

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'configs' / 'debug.py'}"
LENGTH = 640
OPTIONS = (
    # Short prompts and episodes: `rewarded_run` makes up the verdicts.
    "--config.model.source=random:qwen3",
    "--config.environment.policy.max_tokens=16",
    "--config.curriculum.tools.low=1",
    "--config.curriculum.criteria.low=1",
    "--config.training.steps=4",
    "--config.training.keep_last=9",
    # Enough for groups whose rewards differ in every step.
    "--config.training.tasks_per_step=3",
    "--config.training.group_size=6",
    "--config.learner.updates_per_step=2",
    "--config.learner.rows_per_micro_batch=2",
    "--config.curriculum.initial=10",  # has room to fall
    # It moves after every step but one whose rewards happen to have this mean.
    "--config.curriculum.lower_at=0.2",
    "--config.curriculum.raise_at=0.21",
    "--config.curriculum.system_prompt.low=3",
    "--config.simulator.task.max_tokens=192",
    "--config.simulator.world.max_tokens=128",
    "--config.simulator.world.think_budget=0",
    "--config.environment.world.collections=1",
    "--config.environment.world.records=1",
    "--config.environment.world.fields=1",
    "--config.training.refill_groups=1",
    f"--config.engine.max_length={LENGTH}",
    f"--config.learner.row_length={LENGTH}",
    f"--config.learner.logprob_chunk={LENGTH // 2}",
)
# Prompts of some ten words: the time of a random model goes into reading them.
PROMPTS = {
    "task": "{{ tools | json }}",
    "world": "{{ tools | json }}",
    "user": "{% for line in history %}{{ line }}{% endfor %}",
}
TOOLS = [
    {
        "name": name,
        "description": f"{verb} a thing",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
    }
    for name, verb in (("find_thing", "Finds"), ("buy_thing", "Buys"))
]


@dataclasses.dataclass
class Run:
    """A `trustee train` in a process of its own."""

    folder: pathlib.Path
    process: subprocess.Popen

    @property
    def tokens(self) -> dict[tuple[int, ...], list[int]]:
        lines = (self.folder / "tokens.jsonl").read_text().splitlines()
        return {tuple(record["key"]): record["tokens"] for record in map(json.loads, lines)}

    def wait_until_paused(self) -> None:
        deadline = time.monotonic() + 300
        while not (self.folder / "paused").exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=500)
        assert self.process.returncode == 0, output
        return output


class Runs:
    """Starts runs that share a compilation cache."""

    def __init__(self, root: pathlib.Path):
        self.compiled = root / "compiled"
        self._root = root
        self._numbers = itertools.count()
        prompts, tools = root / "prompts", root / "tools.json"
        prompts.mkdir()
        for name, request in PROMPTS.items():
            (prompts / f"{name}.jinja").write_text(
                "{% block instructions %}Write JSON{% endblock %}"
                f"{{% block request %}}{request}{{% endblock %}}"
            )
        tools.write_text(json.dumps(TOOLS))
        self.options = (
            *OPTIONS,
            f"--config.simulator.prompts={prompts}",
            f"--config.tools={tools}",
        )

    def start(
        self,
        workdir: pathlib.Path,
        *options: str,
        pause: str = "",
        devices: int = 1,
        config: str = CONFIG,
    ) -> Run:
        folder = self._root / f"run{next(self._numbers)}"
        folder.mkdir()
        command = [sys.executable, rewarded_run.__file__, str(folder), pause, "train"]
        environment = {
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        process = subprocess.Popen(
            [*command, f"--workdir={workdir}", config, *self.options, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Run(folder, process)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def straight(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Run]:
    """Four steps without interruption."""
    workdir = tmp_path_factory.mktemp("straight")
    run = runs.start(workdir)
    run.finish()
    return workdir, run


@pytest.fixture(scope="module")
def resumed(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Killed between the two updates of step 3, then resumed up to step 4."""
    workdir = tmp_path_factory.mktemp("resumed")
    _kill_after_step_2(runs.start(workdir, pause="3:learning"), workdir)
    # What it wrote of step 3 has to be written again.
    assert {line["step"] for line in _lines(workdir / "episodes.jsonl")} == {1, 2, 3}
    assert {line["step"] for line in _lines(workdir / "metrics.jsonl")} == {1, 2}
    again = sum(line["step"] == 3 for line in _lines(workdir / "episodes.jsonl"))
    output = runs.start(workdir).finish()
    assert "going on after step 2" in output
    assert f"{again} recorded episodes are of steps that are run again" in output
    return workdir


def _kill_after_step_2(run: Run, workdir: pathlib.Path) -> None:
    """Kills a run where it pauses, once the checkpoint of step 2 is complete."""
    run.wait_until_paused()
    deadline = time.monotonic() + 60
    while not (workdir / "checkpoints" / "2").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.process.send_signal(signal.SIGKILL)
    assert run.process.wait() == -signal.SIGKILL


def _lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _metrics(workdir: pathlib.Path) -> list[dict]:
    """Without what a clock has measured."""
    return [
        {
            name: value
            for name, value in line.items()
            if not name.startswith(("seconds/", "tokens_per_second/"))
        }
        for line in _lines(workdir / "metrics.jsonl")
    ]


def _saved(workdir: pathlib.Path, step: int) -> tuple[dict, dict, dict]:
    """Parameters, optimizer state and host state of a checkpoint, as orbax reads them."""
    folder = workdir / "checkpoints" / str(step)
    with warnings.catch_warnings(), ocp.PyTreeCheckpointer() as reader:
        warnings.simplefilter("ignore")
        params, optimizer = (
            jax.tree.map(np.asarray, ocp.tree.to_flat_dict(reader.restore(folder / name), "."))
            for name in ("params", "optimizer")
        )
    return params, optimizer, json.loads((folder / "host" / "metadata").read_text())


def _steps(workdir: pathlib.Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def _assert_same(a: pathlib.Path, b: pathlib.Path) -> None:
    """Equal bit for bit after step 4."""
    (params_a, optimizer_a, host_a), (params_b, optimizer_b, host_b) = _saved(a, 4), _saved(b, 4)
    for left, right in ((params_a, params_b), (optimizer_a, optimizer_b)):
        assert left.keys() == right.keys()
        for name, array in left.items():
            assert array.dtype == right[name].dtype
            assert array.tobytes() == right[name].tobytes(), name
    assert host_a == host_b
    assert host_a["step"] == 4
    assert _metrics(a) == _metrics(b)
    assert (a / "episodes.jsonl").read_bytes() == (b / "episodes.jsonl").read_bytes()


def test_a_killed_run_goes_on_bit_for_bit(
    straight: tuple[pathlib.Path, Run], resumed: pathlib.Path
) -> None:
    workdir, _ = straight
    _assert_same(workdir, resumed)
    # The comparison is worth something: all that could differ has moved.
    metrics = _metrics(workdir)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4]
    assert sum(line["learner/updates"] for line in metrics) >= 4
    assert len({line["curriculum/difficulty"] for line in metrics}) > 1
    before, after = _saved(workdir, 3)[0], _saved(workdir, 4)[0]
    assert all(np.any(before[name] != after[name]) for name in before)


STALE = ("--config.training.max_staleness=1", "--config.learner.tis_cap=2.0")


@pytest.fixture(scope="module")
def stale(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Run]:
    """Four steps without interruption, each played while the one before it is learnt from."""
    workdir = tmp_path_factory.mktemp("stale")
    run = runs.start(workdir, *STALE)
    run.finish()
    return workdir, run


def test_a_run_that_plays_ahead_goes_on_bit_for_bit(
    runs: Runs,
    straight: tuple[pathlib.Path, Run],
    stale: tuple[pathlib.Path, Run],
    tmp_path: pathlib.Path,
) -> None:
    # Killed when the first episode of step 4 is over, while step 3 is learnt from.
    _kill_after_step_2(runs.start(tmp_path, *STALE, pause="4:episodes"), tmp_path)
    assert {line["step"] for line in _lines(tmp_path / "metrics.jsonl")} == {1, 2}
    output = runs.start(tmp_path, *STALE).finish()
    assert "going on after step 2" in output
    workdir, run = stale
    _assert_same(workdir, tmp_path)
    # The comparison is worth something: weights that were one step old have played.
    metrics = _metrics(workdir)
    assert [line["learner/staleness"] for line in metrics] == [0, 1, 1, 1]
    assert sum(line["learner/updates"] for line in metrics) >= 4
    first, *later = (line["learner/logprob_difference_max"] for line in metrics)
    assert first < 1e-4 < 1e-3 < min(later)
    fresh = straight[1].tokens
    assert {key: tokens for key, tokens in run.tokens.items() if key[0] == 1} == {
        key: tokens for key, tokens in fresh.items() if key[0] == 1
    }
    assert any(tokens != fresh[key] for key, tokens in run.tokens.items() if key in fresh)


@pytest.mark.slow
def test_a_cold_start_goes_on_bit_for_bit(
    runs: Runs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed in its last step; what it knows by then decides how step 4 is played."""
    options = [
        f"--config.training.{option}"
        for option in ("probe_turns=4", "cold_start.steps=3", "cold_start.threshold=1.0")
    ]
    whole, killed = (tmp_path_factory.mktemp(name) for name in ("whole", "killed"))
    run = runs.start(whole, *options)
    run.finish()
    _kill_after_step_2(runs.start(killed, *options, pause="3:episodes"), killed)
    assert "going on after step 2" in runs.start(killed, *options).finish()
    _assert_same(whole, killed)
    metrics = _metrics(whole)
    assert [line.get("cold_start/demonstrations") for line in metrics] == [3, 2, 0, None]
    assert len({line["curriculum/difficulty"] for line in metrics}) == 1


@pytest.mark.slow
def test_a_run_that_plays_ahead_is_stopped_and_made_longer(
    runs: Runs, stale: tuple[pathlib.Path, Run], tmp_path: pathlib.Path
) -> None:
    # Without the signal nothing would be saved before step 3, its last one at first.
    options = (*STALE, "--config.training.checkpoint_every=100")
    stopped = runs.start(tmp_path, *options, pause="3:episodes")
    stopped.wait_until_paused()
    stopped.process.send_signal(signal.SIGTERM)
    (stopped.folder / "go").touch()
    # Step 2 was being learnt from: that is completed, what was played of step 3 is not kept.
    assert "stopped after step 2" in stopped.finish()
    runs.start(tmp_path, *options, "--config.training.steps=3").finish()
    assert _steps(tmp_path) == [2, 3]
    runs.start(tmp_path, *options).finish()
    _assert_same(stale[0], tmp_path)


def test_tasks_that_are_prepared_are_those_that_would_be_written_later(
    runs: Runs, straight: tuple[pathlib.Path, Run], tmp_path: pathlib.Path
) -> None:
    runs.start(tmp_path, "--config.training.prepare_tasks=false").finish()
    _assert_same(straight[0], tmp_path)


@pytest.mark.slow
def test_an_ablation_runs(runs: Runs, tmp_path: pathlib.Path) -> None:
    file = ROOT / "configs" / "ablations" / "reference.py"
    config = f"--config={file}:debug"
    options = ("--config.training.steps=2", "--config.curriculum.rule=frontier")
    runs.start(tmp_path, *options, config=config).finish()
    assert read_config(tmp_path).learner.zero_variance_groups == "keep"
    first, second = _metrics(tmp_path)
    frontiers = [name for name in first if name.startswith("curriculum/frontier_")]
    assert any(first[name] != second[name] for name in frontiers)


@pytest.mark.slow
def test_signals_save_the_last_complete_step_and_the_run_goes_on(
    runs: Runs, straight: tuple[pathlib.Path, Run], tmp_path: pathlib.Path
) -> None:
    # Without the signals nothing would be saved before step 4.
    seldom = "--config.training.checkpoint_every=100"
    for number, complete in ((signal.SIGTERM, 1), (signal.SIGINT, 2)):
        run = runs.start(tmp_path, seldom, pause=f"{complete + 1}:episodes")
        run.wait_until_paused()
        run.process.send_signal(number)
        (run.folder / "go").touch()
        output = run.finish()
        assert f"stopping ({number.name})" in output
        assert f"stopped after step {complete}" in output
        assert _steps(tmp_path)[-1] == complete
        assert {line["step"] for line in _lines(tmp_path / "metrics.jsonl")} == set(
            range(1, complete + 1)
        )
    runs.start(tmp_path, seldom).finish()
    assert _steps(tmp_path) == [1, 2, 4]
    _assert_same(straight[0], tmp_path)


def _gradients(workdir: pathlib.Path, b1: float = 0.9) -> list[dict[str, np.ndarray]]:
    """Each step's mean gradient (after clipping), worked out from Adam's first moments."""
    found = []
    before: dict[str, np.ndarray] = {}
    for line in _metrics(workdir)[:3]:
        _, optimizer, _ = _saved(workdir, line["step"])
        moments = {name: array for name, array in optimizer.items() if ".mu." in name}
        kept = b1 ** line["learner/updates"]
        if kept < 1:
            found.append(
                {
                    name: (array - kept * before.get(name, 0)) / (1 - kept)
                    for name, array in moments.items()
                }
            )
        before = moments
    return found


def _difference(a: dict, b: dict) -> float:
    assert a.keys() == b.keys()
    return max(float(np.max(np.abs(a[name] - b[name]))) for name in a)


@pytest.mark.slow
def test_eight_devices_compute_what_one_does(
    runs: Runs, straight: tuple[pathlib.Path, Run], tmp_path: pathlib.Path
) -> None:
    workdir, one = straight
    eight = runs.start(
        tmp_path,
        "--config.training.steps=3",
        "--config.mesh.data=2",
        "--config.mesh.fsdp=2",
        "--config.mesh.tensor=2",
        "--config.learner.rows_per_micro_batch=4",
        devices=8,
    )
    eight.finish()
    expected = {key: tokens for key, tokens in one.tokens.items() if key[0] <= 3}
    assert eight.tokens == expected
    gradients = list(zip(_gradients(workdir), _gradients(tmp_path), strict=True))
    losses = [
        abs(a["learner/loss"] - b["learner/loss"])
        for a, b in zip(_metrics(workdir)[:3], _metrics(tmp_path), strict=True)
        if a["learner/updates"]
    ]
    differences = {
        "loss": max(losses),
        "gradients": max(_difference(a, b) for a, b in gradients),
        "parameters": _difference(_saved(workdir, 3)[0], _saved(tmp_path, 3)[0]),
    }
    tokens = sum(map(len, expected.values()))
    print(f"\n8 devices against 1, 3 steps: {tokens} sampled tokens equal; {differences}")
    assert len(losses) >= 2
    assert max(np.abs(array).max() for array in gradients[-1][0].values()) > 1e-2
    assert max(differences.values()) < 1e-4


@pytest.fixture
def one_device(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs in this process, on its first device, with the compilation cache of the others."""
    mesh = functools.partial(building.make_mesh, devices=jax.devices()[:1])
    monkeypatch.setattr(building, "make_mesh", mesh)
    options = {
        "jax_compilation_cache_dir": str(runs.compiled),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for values in (options, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is options:
            yield


def test_the_exported_policy_has_the_engines_logits(
    straight: tuple[pathlib.Path, Run], tmp_path: pathlib.Path, one_device: None
) -> None:
    import torch
    import transformers

    workdir, _ = straight
    output = tmp_path / "exported"
    assert cli.main(["export", str(workdir), f"--output={output}"]) == 0

    config = read_config(workdir)
    system = building.build(config)
    trainer = loop.Trainer(
        config.training,
        system,
        Curriculum(config.curriculum),
        load_repository(config.tools),
        Progress(4, enabled=False),
        lambda: False,
        config.seed,
    )
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        trainer.restore(checkpointer)
    assert trainer.step == 4
    system.refresh_policy()
    messages = [
        [{"role": "user", "content": text}] for text in ("Hello", "What is the weather in Rome?")
    ]
    prompts = [system.environment.policy_format.prompt(message) for message in messages]
    answers = {
        role: system.engines[role].run(
            [Request(p, 24, key=(i,), role=role) for i, p in enumerate(prompts)]
        )
        for role in ("policy", "simulator")
    }

    model = transformers.AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    differences, trained = [], []
    for message, prompt, answer, base in zip(
        messages, prompts, answers["policy"], answers["simulator"], strict=True
    ):
        rendered = tokenizer.apply_chat_template(
            message, add_generation_prompt=True, return_dict=False
        )
        assert rendered == prompt.tolist()
        tokens = torch.tensor(np.concatenate([prompt, answer.tokens])[None])
        with torch.no_grad():
            logprobs = model(tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        found = logprobs[range(len(answer.tokens)), answer.tokens].numpy()
        differences.append(np.max(np.abs(found - answer.logprobs)))
        # Up to the first token that training has changed, the contexts are the same.
        same = np.cumprod(answer.tokens[: len(base.tokens)] == base.tokens[: len(answer.tokens)])
        shared = int(same.sum())
        trained += np.abs(answer.logprobs[:shared] - base.logprobs[:shared]).tolist()
    print(f"\ntransformers against the engine: {max(differences)}; adapter: {max(trained)}")
    assert max(differences) < 1e-4
    assert max(trained) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "simulator"), [(0, None), (0, "random:llama"), (4, "random:llama")]
)
def test_other_arrangements_of_the_models_learn_too(
    rank: int,
    simulator: str | None,
    runs: Runs,
    tmp_path: pathlib.Path,
    one_device: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rewarded_run.Rewarded(tmp_path).install(monkeypatch.setattr)
    workdir = tmp_path / "run"
    options = [
        "--config.training.steps=2",
        "--config.learner.kl_coef=0.01",
        f"--config.model.lora_rank={rank}",
        *([f"--config.model.simulator={simulator}"] if simulator else []),
    ]
    assert cli.main(["train", f"--workdir={workdir}", CONFIG, *runs.options, *options]) == 0
    first, second = _metrics(workdir)
    assert first["learner/updates"] and second["learner/updates"]
    # The engine sampled the second step with what the first one learnt, the reference stayed.
    assert second["learner/logprob_difference_max"] < 1e-4
    assert second["learner/kl"] > 1e-5
    params, _, _ = _saved(workdir, 2)
    earlier, _, _ = _saved(workdir, 1)
    assert all(np.any(params[name] != earlier[name]) for name in params)
    if not rank:
        base = open_checkpoint("random:qwen3").read("model.norm.weight", (slice(None),))
        assert 0 < np.max(np.abs(params["final_norm.scale.value"] - base)) < 0.1


# Bad input.


def _checkpoint(folder: pathlib.Path, *, without: str) -> pathlib.Path:
    from safetensors.numpy import save_file

    source = open_checkpoint("random:qwen3")
    folder.mkdir()
    tensors = {
        name: np.ascontiguousarray(source.read(name, (slice(None),) * len(source.shape(name))))
        for name in source.names() - {without}
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(source.config.to_hf()))
    source.tokenizer().save_pretrained(folder)
    return folder


_TENSOR = "model.layers.1.mlp.up_proj.weight"
_TOOL = {"name": "find", "description": "Finds", "parameters": {"type": "string"}}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("training.setps=3", ["training.setps", "training.steps"]),
        ("training.steps=3.5", ["training.steps=3.5", "write an integer"]),
        ("tools={tools}", ["{tools}", "'find'", "parameters", '"object"']),
        ("model.source={checkpoint}", ["{checkpoint}", _TENSOR, "get the complete checkpoint"]),
        ("model.simulator={checkpoint}", ["{checkpoint}", _TENSOR, "get the complete checkpoint"]),
        ("model.source=random:gpt", ["random:gpt", "llama, qwen2, qwen3"]),
        ("engine.max_length=4097", ["engine.max_length = 4097", "4096", "lower it"]),
        ("engine.max_length=200", ["simulator.task.max_tokens = 256", "lower it"]),
        ("engine.max_length=300", ["engine.max_length = 300", "raise it"]),
        ("mesh.tensor=3", ["mesh = ", "'tensor': 3", "multiply to 8"]),
        ("simulator.prompts=nowhere", ["simulator.prompts = 'nowhere'", "existing folder"]),
        ("seed=1", ["{taken}", "seed: 0 there, 1 given", "another workdir"]),
    ],
)
def test_wrong_input_is_one_message_before_anything_is_computed(
    option: str,
    words: list[str],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def step(engine: object) -> None:
        raise AssertionError("something is computed")

    monkeypatch.setattr("trustee_jax.engine.Engine.step", step)
    names = {name: tmp_path / name for name in ("tools", "checkpoint", "taken")}
    names["tools"].write_text(json.dumps([{"type": "function", "function": _TOOL}]))
    if "{checkpoint}" in option:
        _checkpoint(names["checkpoint"], without=_TENSOR)
    option, *words = (text.format_map(names) for text in (option, *words))
    fits = ["--config.learner.row_length=4608"]
    arguments = ["train", f"--workdir={names['taken']}", CONFIG, *fits]
    if "seed" in option:
        with monkeypatch.context() as patch:
            patch.setattr(running, "train", _record)
            assert cli.main(arguments) == 0
    assert cli.main([*arguments, f"--config.{option}"]) == 2
    message = capsys.readouterr().err
    assert message.count("trustee: ") == 1
    assert "Traceback" not in message
    assert all(word in message for word in words), message
    # The corrected options may use the folder.
    assert "seed" in option or not (names["taken"] / "config.json").exists()


def _record(config: Config, workdir: pathlib.Path) -> None:
    with Workdir(workdir, dataclasses.asdict(config), primary=True) as claimed:
        claimed.record()


# What a run leaves for TensorBoard.


def _events(folder: pathlib.Path) -> Iterator[Event]:
    """The events of all files, in the order of TensorBoard (length, crc, event, crc)."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def test_tensorboard_shows_everything_once(resumed: pathlib.Path) -> None:
    shown: dict[tuple[str, int], float | str] = {}
    for event in _events(resumed / "tensorboard"):
        if event.session_log.status == SessionLog.START:
            shown = {key: value for key, value in shown.items() if key[1] < event.step}
        for value in event.summary.value:
            if value.tag == "custom_scalars__config__":
                layout = Layout.FromString(value.tensor.string_val[0])
            elif value.HasField("simple_value"):
                assert (value.tag, event.step) not in shown
                shown[value.tag, event.step] = value.simple_value
            else:
                shown[value.tag, event.step] = value.tensor.string_val[0].decode()

    assert [category.title for category in layout.category] == [*LAYOUT]
    metrics = _lines(resumed / "metrics.jsonl")
    scalars = {key: value for key, value in shown.items() if isinstance(value, float)}
    assert scalars == {
        (name, line["step"]): pytest.approx(value, rel=1e-6, abs=1e-30)
        for line in metrics
        for name, value in line.items()
        if name != "step"
    }

    learning = next(line for line in metrics if line["learner/updates"])
    limits = "user_turns assistant_turns tool_turns"
    expected = {
        *(f"groups/{name}" for name in ("trainable", "zero_variance", "insufficient", "refills")),
        *(f"tasks/{name}" for name in ("written", "draws", "failed", "rejected")),
        *(f"reward/{name}" for name in ("mean", "positive", "zero", "negative", "no_call")),
        f"reward/{CRITERIA[0]}",
        *(f"curriculum/{name}" for name in ("difficulty", *(aspect.name for aspect in ASPECTS))),
        "episodes/valid",
        *(f"counts/{name}" for name in limits.split()),
        *(f"counts/{name}" for name in ("calls", "valid_calls", "malformed_calls")),
        *(f"counts/{name}" for name in ("policy_tokens", "context_tokens", "simulator_tokens")),
        *(f"learner/{name}" for name in ("loss", "kl", "clip_fraction", "ratio", "grad_norm")),
        *(f"learner/{name}" for name in ("logprob_difference", "logprob_difference_max")),
        *(f"seconds/{name}" for name in ("tasks", "episodes", "learning", "step")),
        *(f"tokens_per_second/{name}" for name in ("tasks", "episodes", "learning")),
    }
    assert expected <= learning.keys()
    # A cause is there from the first step on in which it occurred, and none that never did.
    causes = {name for line in metrics for name in line if name.startswith(CAUSES)}
    assert "episodes/invalid_verifier_malformed" in causes
    for cause in causes:
        values = [line[cause] for line in metrics if cause in line]
        assert values[0] > 0
        assert cause in metrics[-1]
        assert len(values) == len(metrics) - next(i for i, m in enumerate(metrics) if cause in m)

    texts = {key: value for key, value in shown.items() if isinstance(value, str)}
    for step in range(1, 5):
        for name in ("best", "worst"):
            text = texts[f"episode/{name}/text_summary", step]
            assert "intent:" in text
            assert "verdict:" in text
    configs = [text for (tag, _), text in texts.items() if tag == "config/text_summary"]
    assert configs
    assert all("| training.steps | `4` |" in text for text in configs)
