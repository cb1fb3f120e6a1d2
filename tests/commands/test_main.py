import pathlib
import subprocess
import sys

import pytest

from trustee_jax import export, run
from trustee_jax.commands import main as cli
from trustee_jax.config import Config, all_options
from trustee_jax.errors import ConfigError
from trustee_jax.training import workdir

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'configs' / 'debug.py'}"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, pathlib.Path]]:
    """The runs that were started, in place of the training itself."""
    started: list[tuple[Config, pathlib.Path]] = []
    monkeypatch.setattr(run, "train", lambda config, path: started.append((config, path)))
    return started


def test_train_passes_config_overrides_and_workdir(
    runs: list, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [
        "--config.training.steps=11",
        "--config.learner.learning_rate=1e-5",
        "--config.model.lora_targets=('q', 'v')",
        "--config.model.simulator=hub:a/b",
        "--noconfig.model.scan_layers",
    ]
    assert cli.main(["train", CONFIG, *overrides, "--workdir=runs/a"]) == 0
    ((config, path),) = runs
    assert config.training.steps == 11
    assert config.learner.learning_rate == 1e-5
    assert config.model.lora_targets == ("q", "v")
    assert config.model.simulator == "hub:a/b"
    assert config.model.scan_layers is False
    assert path == tmp_path / "runs" / "a"


def test_export_passes_its_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    calls = []
    monkeypatch.setattr(export, "export", lambda *args, **kw: calls.append((args, kw)))
    monkeypatch.chdir(tmp_path)
    chosen = ["--step=3", "--form=adapter", "--shard_size=1.5GB"]
    assert cli.main(["export", "w", "--output=/o", *chosen]) == 0
    assert cli.main(["export", "--output", "/o", "w"]) == 0
    assert cli.main(["export", "--output", "/o", "w", "--step=best", "--shard_size", "2mb"]) == 0
    paths = (tmp_path / "w", pathlib.Path("/o"))
    expected = [
        (3, "adapter", 1_500_000_000),
        (None, "merged", 5 * 10**9),
        ("best", "merged", 2 * 10**6),
    ]
    for (arguments, options), values in zip(calls, expected, strict=True):
        assert arguments == paths
        assert options == dict(zip(("step", "form", "shard_bytes"), values, strict=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["'trian'", "train, sweep, report, export"]),
        (["train"], ["--config is needed"]),
        (["train", CONFIG], ["--workdir is needed"]),
        (["train", CONFIG, "--workdri=x"], ["workdri", "workdir"]),
        (["train", CONFIG, "--workdir=x", "oops"], ["'oops'", "train --config=CONFIG --workdir="]),
        (["train", CONFIG, "--workdir="], ["--workdir is empty"]),
        (["train", CONFIG, "--workdir=x", "--config.training.setps=3"], ["training.steps"]),
        (["train", CONFIG, "--workdir=x", "--config.training.steps=3.5"], ["training.steps=3.5"]),
        (["train", CONFIG, "--workdir=x", "--config.training.steps", "x"], ["write an integer"]),
        (["train", CONFIG, "--workdir=x", "--config.training.steps=0"], ["at least 1"]),
        (["train", CONFIG, "--workdir=x", "--config.training.steps", "-1"], ["at least 1"]),
        (["train", CONFIG, "--config.model.source", "--workdir=x"], ["source lacks its value"]),
        (
            ["train", CONFIG, "--workdir=x", "--noconfig.training.prepare_tasks=1"],
            ["takes no value"],
        ),
        (["train", CONFIG, "--workdir=x", "--config.model.dtype=int8"], ["'float32'"]),
        (["train", "--config=nowhere.py", "--workdir=x"], ["nowhere.py does not exist"]),
        (["export", "--output=x"], ["RUN is missing", "trustee export RUN --output=OUTPUT"]),
        (["export", "--workdir=x", "--output=y"], ["--workdir", "trustee export RUN --output="]),
        (["export", "x", "--output=y", "--step=last"], ["step"]),
    ],
)
def test_wrong_input_is_one_message_and_status_2(
    runs: list, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("trustee: ")
    assert all(word in message for word in words), message
    assert message.count("\n") == 1
    assert not runs


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def get_config(:\n", "line 1"),
        ("def get_config():\n    return 1 / 0\n", "line 2: ZeroDivisionError"),
        (
            "from trustee_jax.config import default\ndef get_config():\n    c = default()\n"
            "    c.training.setps = 3\n    return c\n",
            "line 4",
        ),
        ("x = 1\n", "get_config"),
    ],
)
def test_a_broken_config_file_is_one_message_with_its_line(
    runs: list,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    words: str,
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    # A process loads one config file; the loader keeps names of the one before.
    sys.modules.pop("config_config", None)
    assert cli.main(["train", f"--config={path}", "--workdir=x"]) == 2
    message = capsys.readouterr().err
    assert f"config file {path}" in message
    assert words in message
    assert not runs


def test_errors_about_input_have_no_traceback_and_defects_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_with(error: BaseException) -> None:
        def train(config: Config, path: pathlib.Path) -> None:
            raise error

        monkeypatch.setattr(run, "train", train)

    fail_with(workdir.WorkdirError("that folder is taken"))
    assert cli.main(["train", CONFIG, "--workdir=x"]) == 2
    assert capsys.readouterr().err == "trustee: that folder is taken\n"
    fail_with(ConfigError("mesh.data", 3, "write 1"))
    assert cli.main(["train", CONFIG, "--workdir=x"]) == 2
    assert capsys.readouterr().err == "trustee: mesh.data = 3: write 1.\n"
    fail_with(KeyboardInterrupt())
    assert cli.main(["train", CONFIG, "--workdir=x"]) == 130
    fail_with(ValueError("a defect"))
    with pytest.raises(ValueError, match="a defect"):
        cli.main(["train", CONFIG, "--workdir=x"])


def test_overrides_may_stand_anywhere(runs: list, tmp_path: pathlib.Path) -> None:
    words = [
        "--config.training.steps",
        "7",
        "--workdir",
        str(tmp_path),
        "--config.training.prepare_tasks",
    ]
    assert cli.main(["train", *words, *CONFIG.split("="), "--config.model.source", "-1"]) == 0
    ((config, path),) = runs
    assert (config.training.steps, config.training.prepare_tasks, path) == (7, True, tmp_path)
    assert config.model.source == "-1"


def test_help_of_train_lists_every_option_with_its_choices(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    options = all_options()
    for name, value in options.items():
        assert any(line.startswith(f"  {name} = {value!r}") for line in lines), name
    assert "  training.steps = 200" in lines
    assert "  model.dtype = 'bfloat16'  (one of 'float32', 'bfloat16')" in lines
    assert "  model.simulator = None  (None, or a string)" in lines
    assert "  learner.loss = 'clip'  ('clip', 'reinforce' or path/to/file.py:function)" in lines
    assert any("environment.judge.use" in line and "'model', 'rules' or" in line for line in lines)


def test_the_console_command_and_the_module_are_one_program() -> None:
    script = [
        sys.executable,
        "-c",
        "import sys; from trustee_jax.commands.main import main; sys.exit(main())",
    ]
    for command, name in (
        (script, "trustee"),
        ([sys.executable, "-m", "trustee_jax"], "python -m trustee_jax"),
    ):
        found = subprocess.run([*command, "trian"], capture_output=True, text=True, cwd=ROOT)
        assert found.returncode == 2
        assert found.stderr == (
            f"{name}: unknown command 'trian'; close: train; "
            "there are: "
            "train, sweep, report, export, tools, audit, eval, chat, serve, prove, bench\n"
        )
        found = subprocess.run([*command, "export"], capture_output=True, text=True, cwd=ROOT)
        assert found.returncode == 2
        assert found.stderr.endswith(f"; usage: {name} export RUN --output=OUTPUT [FLAGS]\n")
        found = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT)
        assert found.returncode == 0
        assert found.stdout.startswith(f"usage: {name} COMMAND ...\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "trustee_jax", "train", "--help"]
    reading = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert reading.stdout and reading.stderr
    reading.stdout.close()
    assert reading.stderr.read() == b""
    assert reading.wait() == 141


def test_the_folder_of_an_unknown_user_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["tools", "check"], ["tools", "list"], ["report"]):
        assert cli.main([*command, "~no-such-user/file.json"]) == 2
        assert "~no-such-user/file.json" in capsys.readouterr().err


def test_a_config_file_with_an_old_name_is_told_the_new_one(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.py"
    file.write_text(
        "from trustee_jax.config import default\n\n\ndef get_config():\n    config = default()\n"
        "    config.simulation.policy.max_tokens = 64\n    return config\n"
    )
    assert cli.main(["train", f"--config={file}", f"--workdir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "line 6: simulation.policy.max_tokens is called environment.policy.max_tokens" in error
