"""A run that was saved on eight devices goes on with four and with two."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import rewarded_run
from scripted_step import Script

from trustee_jax.chat import TokenSequence
from trustee_jax.rl import Learner, LearnerConfig, Sample, pack
from trustee_jax.training.checkpoint import Checkpointer

ROOT = pathlib.Path(__file__).parents[2]
KIND = "qwen3-untied-1e4"
CONFIG = LearnerConfig(row_length=64, logprob_chunk=32, learning_rate=1e-3, kl_coef=0.01)


def _groups(seed):
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, 320, 9) for _ in range(5)]
    return [[_sample(rng, prompt, advantage) for advantage in (-1, 1, 2)] for prompt in prompts]


def _sample(rng, prompt, advantage):
    tokens = np.concatenate([prompt, rng.integers(0, 320, 7)]).astype(np.int32)
    sampled = np.arange(len(tokens)) >= len(prompt)
    logprobs = np.where(sampled, rng.normal(-5, 0.1, len(tokens)), 0).astype(np.float32)
    return Sample(TokenSequence(tokens, sampled, logprobs), float(advantage))


def _update(learner, seed):
    metrics = learner.update(pack(_groups(seed), CONFIG.row_length, learner.rows))
    return [float(metrics[name]) for name in ("loss", "kl", "grad_norm", "update_norm")]


def test_the_learner_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    def trainer(devices):
        mesh = tiny.make_mesh(1, devices, 1)
        made = Script(monkeypatch, lambda key: 0.0).trainer()
        made._system.learner = Learner(tiny.with_lora(KIND, mesh=mesh), mesh, CONFIG)
        assert made._system.learner.rows == devices
        return made, made._system.learner

    with Checkpointer(tmp_path) as checkpointer:
        run, learner = trainer(8)
        for seed in range(2):
            _update(learner, seed)
        run.step = 2
        run.save(checkpointer, None)
        checkpointer.wait()
        undisturbed = [_update(learner, seed) for seed in (2, 3)]
        for devices in (4, 2):
            run, other = trainer(devices)
            run.restore(checkpointer)
            assert run.step == 2
            found = [_update(other, seed) for seed in (2, 3)]
            np.testing.assert_allclose(found, undisturbed, rtol=1e-4)
            leaves = (jax.tree.leaves(x.state) for x in (other, learner))
            for a, b in zip(*leaves, strict=True):
                np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)


def _train(workdir, devices, steps):
    folder = workdir.with_name(workdir.name + "_notes")
    folder.mkdir(exist_ok=True)
    command = [sys.executable, rewarded_run.__file__, str(folder), "", "train"]
    command += [f"--workdir={workdir}", f"--config={ROOT / 'configs' / 'debug.py'}"]
    command += [f"--config.training.steps={steps}", "--config.learner.updates_per_step=2"]
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(workdir.with_name("compiled")),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return done.stdout + done.stderr, {line["step"]: line for line in lines}


@pytest.mark.slow
def test_a_whole_run_goes_on_where_it_was(tmp_path):
    """The same command; sampled tokens, episodes and losses are those of an undisturbed run."""
    workdir = tmp_path / "8"
    _train(workdir, 8, 2)
    for devices in (4, 2):
        shutil.copytree(workdir, tmp_path / str(devices))
    _, undisturbed = _train(workdir, 8, 5)
    assert all(undisturbed[step]["learner/updates"] for step in (3, 4, 5))
    for devices in (4, 2):
        output, found = _train(tmp_path / str(devices), devices, 5)
        assert "going on after step 2" in output
        for step in (3, 4, 5):
            print(devices, step, found[step]["learner/loss"], undisturbed[step]["learner/loss"])
            for name in ("reward/mean", "learner/tokens", "learner/updates"):
                assert found[step][name] == undisturbed[step][name]
            for name in ("learner/loss", "learner/kl", "learner/grad_norm"):
                assert found[step][name] == pytest.approx(undisturbed[step][name], rel=1e-3)
