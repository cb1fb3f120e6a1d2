import json
import pathlib
import subprocess
import sys
from dataclasses import asdict

import pytest

from trustee_jax.config import Config, parse
from trustee_jax.run import read_config
from trustee_jax.training.workdir import CHANGEABLE, Workdir, WorkdirError


def _changed(**sections: dict) -> Config:
    return parse(sections)


def _record(path: pathlib.Path, config: Config) -> None:
    with Workdir(path, asdict(config), primary=True) as workdir:
        workdir.record()


def test_a_claim_alone_binds_no_options(tmp_path: pathlib.Path) -> None:
    Workdir(tmp_path, asdict(_changed(seed=1)), primary=True).close()
    _record(tmp_path, _changed(seed=2))
    assert read_config(tmp_path).seed == 2


def test_a_new_folder_holds_the_config(tmp_path: pathlib.Path) -> None:
    config = _changed(training={"steps": 7}, model={"lora_targets": ("q",)})
    with Workdir(tmp_path / "a" / "b", asdict(config), primary=True) as workdir:
        assert not workdir.resumed
        workdir.record()
        assert json.loads(workdir.layout.config.read_text())["training"]["steps"] == 7
    assert read_config(tmp_path / "a" / "b") == config


def test_the_same_run_goes_on_and_may_change_what_computes_nothing(tmp_path: pathlib.Path) -> None:
    _record(tmp_path, Config())
    longer = _changed(
        training={"steps": 999, "checkpoint_every": 1, "keep_last": 9, "keep_best": 0},
        mesh={"data": 2, "fsdp": 2, "tensor": 2},
        # What half the devices have no memory for.
        engine={"slots": 8, "prefill_budget": 512, "prefill_rows": 1},
        learner={"rows_per_micro_batch": 4, "logprob_chunk": 256},
        model={"remat": "dots"},
    )
    with Workdir(tmp_path, asdict(longer), primary=True) as workdir:
        assert workdir.resumed
        workdir.record()
    assert read_config(tmp_path) == longer


def test_another_run_is_refused_and_every_difference_named(tmp_path: pathlib.Path) -> None:
    _record(tmp_path, Config())
    other = _changed(seed=5, training={"steps": 9, "group_size": 4}, model={"simulator": "x"})
    with pytest.raises(WorkdirError) as caught:
        Workdir(tmp_path, asdict(other), primary=True)
    message = str(caught.value)
    assert "seed: 0 there, 5 given" in message
    assert "training.group_size: 8 there, 4 given" in message
    assert "model.simulator: None there, 'x' given" in message
    refused, _, changeable = message.partition("What may change: ")
    assert "training.steps" not in refused
    assert changeable.split(", ") == [name.replace("mesh.", "mesh.*") for name in CHANGEABLE]
    assert str(tmp_path) in message
    # Neither the config nor the claim is touched.
    assert read_config(tmp_path) == Config()
    Workdir(tmp_path, asdict(Config()), primary=True).close()


def test_a_run_of_another_version_is_refused(tmp_path: pathlib.Path) -> None:
    options = asdict(Config())
    options["learner"]["entropy"] = options["learner"].pop("kl_coef")
    (tmp_path / "config.json").write_text(json.dumps(options))
    with pytest.raises(WorkdirError) as caught:
        Workdir(tmp_path, asdict(Config()), primary=True)
    assert "learner.kl_coef: '(no such option)' there" in str(caught.value)
    assert "learner.entropy: 0.001 there, '(no such option)' given" in str(caught.value)


def test_what_may_change_are_real_options() -> None:
    options = asdict(Config())
    for name in CHANGEABLE:
        section, _, field = name.partition(".")
        assert not field or field in options[section]


def test_checkpoints_without_their_options_are_not_gone_on_with(tmp_path: pathlib.Path) -> None:
    _record(tmp_path, Config())
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    (tmp_path / "config.json").unlink()
    with pytest.raises(WorkdirError, match=r"no config\.json that says which options"):
        Workdir(tmp_path, asdict(Config()), primary=True)


def test_two_live_runs_cannot_share_a_workdir(tmp_path: pathlib.Path) -> None:
    claim = (
        "import sys; from dataclasses import asdict; from trustee_jax.config import Config; "
        "from trustee_jax.training.workdir import Workdir; "
        "w = Workdir(sys.argv[1], asdict(Config()), primary=True); "
        "print('claimed', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", claim, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "claimed\n"
    with pytest.raises(WorkdirError, match="still going on"):
        Workdir(tmp_path, asdict(Config()), primary=True)
    # Other processes of the same run only look.
    Workdir(tmp_path, asdict(Config()), primary=False).close()
    # A claim ends with its process, also when that is killed.
    other.kill()
    other.communicate()
    Workdir(tmp_path, asdict(Config()), primary=True).close()


def test_only_the_primary_process_writes(tmp_path: pathlib.Path) -> None:
    with Workdir(tmp_path, asdict(Config()), primary=False) as workdir:
        assert not workdir.resumed
        workdir.record()
    assert not list(tmp_path.iterdir())


def test_folders_that_hold_no_run_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(WorkdirError, match="holds no run"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WorkdirError, match="not JSON"):
        read_config(tmp_path)
    with pytest.raises(WorkdirError, match="cannot be a workdir"):
        Workdir(tmp_path / "config.json", asdict(Config()), primary=True)
