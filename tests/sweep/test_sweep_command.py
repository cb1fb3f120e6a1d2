"""`trustee sweep`: what is refused, run, skipped, continued, printed and shown."""

import base64
import dataclasses
import gzip
import json
import pathlib
import re
import shlex
import signal
import subprocess
import sys
from typing import Any

import pytest

from trustee_jax import processes
from trustee_jax.commands import config_flag
from trustee_jax.commands import main as cli
from trustee_jax.config import parse
from trustee_jax.report.figures import interval

ROOT = pathlib.Path(__file__).parents[2]
DEBUG = ROOT / "configs" / "debug.py"
FAKE = pathlib.Path(__file__).with_name("fake_train.py")
RATE = "learner.learning_rate"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, str(FAKE)))


def write(folder: pathlib.Path, entries: list[dict[str, Any]], base: object = DEBUG) -> str:
    file = folder / "my_sweep.py"
    file.write_text(f"BASE = {str(base)!r}\n\ndef sweep():\n    return {entries!r}\n")
    return str(file)


def entry(rate: float, seed: int, steps: int = 4, **more: Any) -> dict[str, Any]:
    return {RATE: rate, "training.steps": steps, "seed": seed, **more}


def name(rate: float, seed: int, steps: int = 4) -> str:
    return f"{RATE}={rate},training.steps={steps},seed={seed}"


def summary_of(root: pathlib.Path) -> dict[str, Any]:
    page = (root / "sweep.html").read_text()
    (block,) = re.findall(r'<script type="application/gzip" id="summary">([^<]*)</script>', page)
    return json.loads(gzip.decompress(base64.b64decode(block)))


def sweep(file: str, root: pathlib.Path, *flags: str) -> int:
    return cli.main(["sweep", file, f"--workdir={root}", *flags])


def test_all_runs_are_trained_compared_and_then_left_alone(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [(rate, seed) for rate in (0.25, 0.5) for seed in (0, 1, 2)]
    file, root = write(tmp_path, [entry(*run) for run in runs]), tmp_path / "runs"
    assert sweep(file, root) == 0
    summary = summary_of(root)
    assert [run["name"] for run in summary["runs"]] == [name(*run) for run in runs]
    assert {run["state"] for run in summary["runs"]} == {"complete"}
    assert all((root / run["report"].replace("%3D", "=").replace("%2C", ",")).is_file()
               for run in summary["runs"])  # fmt: skip
    # Four steps: the last of them is the end. 0.25 * 4 + 0.1 * seed has the mean 1.1 and the
    # deviation 0.1; the quantile of t with two degrees of freedom is 4.3027.
    place = summary["figures"].index("reward, end")
    cells = [variant["cells"][place] for variant in summary["variants"]]
    assert cells[0] == pytest.approx([1.1, 4.3027 * 0.1 / 3**0.5], rel=1e-4)
    assert cells[1] == pytest.approx([2.1, 4.3027 * 0.1 / 3**0.5], rel=1e-4)
    assert [run["cells"][place] for run in summary["runs"]] == pytest.approx(
        [1.0, 1.1, 1.2, 2.0, 2.1, 2.2]
    )
    metrics = summary["metrics"]
    assert metrics["steps"] == [1, 2, 3, 4]
    assert metrics["values"]["reward/mean#0"] == pytest.approx([0.35, 0.6, 0.85, 1.1])
    low, high = metrics["bands"]["reward/mean#0"]
    assert (low, high) == (
        pytest.approx([0.25, 0.5, 0.75, 1]),
        pytest.approx([0.45, 0.7, 0.95, 1.2]),
    )
    # A metric that one variant alone has is one curve.
    charts = {panel["title"]: panel["series"] for g in summary["groups"] for panel in g["panels"]}
    assert len(charts["reward/mean"]) == 2
    assert [one["metric"] for one in charts["only/of_0.5"]] == ["only/of_0.5#1"]
    out = capsys.readouterr().out
    assert "1.1 ± 0.25" in out and "4/4" in out and f"wrote {root / 'sweep.html'}" in out

    before = {path: path.stat().st_mtime_ns for path in root.glob("*/*")}
    assert sweep(file, root) == 0
    assert {path: path.stat().st_mtime_ns for path in root.glob("*/*")} == before


def test_a_run_that_fails_costs_itself_alone(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = (90, 91, 1)
    file, root = write(tmp_path, [entry(0.5, seed) for seed in seeds]), tmp_path / "runs"
    assert sweep(file, root) == 2
    captured = capsys.readouterr()
    failed = f"2 of 3 runs failed: {name(0.5, 90)} {name(0.5, 91)}; "
    assert captured.err.startswith(f"trustee: {failed}") and captured.err.count("\n") == 1
    assert f"{name(0.5, 90)}: trustee: model.source = 'x': no such file" in captured.out
    states = {run["name"]: run for run in summary_of(root)["runs"]}
    assert states[name(0.5, 90)]["state"] == "failed"
    assert states[name(0.5, 90)]["note"] == "trustee: model.source = 'x': no such file"
    assert states[name(0.5, 91)]["note"] == "SIGKILL; about to go"
    assert (states[name(0.5, 91)]["step"], states[name(0.5, 1)]["state"]) == (1, "complete")
    assert "about to go" in (root / name(0.5, 91) / "log.txt").read_text()
    # What others have to do with it is not known any more, only how far it is.
    assert sweep(file, root, "--report") == 0
    states = {run["name"]: run["state"] for run in summary_of(root)["runs"]}
    assert states[name(0.5, 90)] == "new" and states[name(0.5, 91)] == "unfinished"


@pytest.mark.parametrize(
    ("sent", "got"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM")]
)
def test_a_signal_stops_after_saving_and_the_same_command_goes_on(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: str,
    got: str,
) -> None:
    monkeypatch.setenv("FAKE_SIGNAL", sent)
    entries = [entry(0.5, seed) for seed in (0, 92, 1)]
    file, root = write(tmp_path, entries), tmp_path / "runs"
    # Whoever runs the tests may ignore it.
    before = signal.signal(signal.Signals[sent], signal.SIG_DFL)
    try:
        assert sweep(file, root) == 0
        assert signal.getsignal(signal.Signals[sent]) == signal.SIG_DFL
    finally:
        signal.signal(signal.Signals[sent], before)
    assert "stopped; the same command goes on" in capsys.readouterr().out
    states = [(run["state"], run["step"]) for run in summary_of(root)["runs"]]
    assert states == [("complete", 4), ("unfinished", 2), ("new", 0)]
    assert f"stopping {got}" in (root / name(0.5, 92) / "log.txt").read_text()
    assert not (root / name(0.5, 1)).exists()
    assert sweep(file, root) == 0
    states = [(run["state"], run["step"]) for run in summary_of(root)["runs"]]
    assert states == [("complete", 4)] * 3
    steps = [line["step"] for line in map(json.loads, (
        root / name(0.5, 92) / "metrics.jsonl").read_text().splitlines())]  # fmt: skip
    assert steps == [1, 2, 3, 4]


def test_what_nohup_started_goes_on_after_a_hangup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with processes.Runner() as running:
            signal.raise_signal(signal.SIGHUP)
            assert not running.stopped
            signal.raise_signal(signal.SIGTERM)
            assert running.stopped
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_printed_commands_train_what_the_file_says(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "name": "all",  # or their folder's name would be too long
        "learner.learning_rate": 3e-07,
        "model.lora_targets": ("q", "v"),
        "environment.judge.rules": True,
        "training.prepare_tasks": False,
        "model.simulator": "a 'quoted' name",
        "learner.tis_cap": None,
        "environment.judge.weights": (1.0,),
        "curriculum.increase": 2,
        "seed": 3,
    }
    file, root = write(tmp_path, [values, entry(0.5, 0)]), tmp_path / "a b"
    assert sweep(file, root, "--print") == 0
    assert not root.exists(), "nothing is made"
    commands = capsys.readouterr().out.splitlines()
    program, command, *words = shlex.split(commands[0])
    assert (program, command) == ("trustee", "train")
    (workdir,) = [word for word in words if word.startswith("--workdir=")]
    assert pathlib.Path(workdir.removeprefix("--workdir=")).parent == root
    config = parse(config_flag.read([word for word in words if word != workdir]))
    assert config.learner.learning_rate == 3e-07
    assert config.model.lora_targets == ("q", "v")
    assert config.environment.judge.rules and not config.training.prepare_tasks
    assert config.model.simulator == "a 'quoted' name" and config.learner.tis_cap is None
    assert (config.environment.judge.weights, config.curriculum.increase) == ((1.0,), 2.0)
    assert config.seed == 3
    # A complete one is not printed.
    (root / name(0.5, 0) / "checkpoints" / "4").mkdir(parents=True)
    assert sweep(file, root, "--print") == 0
    assert capsys.readouterr().out.splitlines() == commands[:1]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"learner.learning_rat": 1.0}], ["learner.learning_rat = 1.0", "learner.learning_rate"]),
        (
            [{"learner": {"learning_rate": 1.0}}],
            ["learner = {", "a section", "learner.learning_rate"],
        ),
        ([entry(0.5, 0), entry("fast", 1)], ["seed=1", "learning_rate=fast", "write a number"]),
        ([{"training.steps": 0}], ["training.steps = 0", "at least 1"]),
        ([{"training.steps": 2.5}], ["training.steps=2.5", "write an integer"]),
        ([{"training.steps": "3"}], ["training.steps = '3'", "write an integer"]),
        ([{"training.max_staleness": 1}], ["learner.tis_cap", "give a cap"]),
        ([{"tools": None}], ["tools = None", "which no flag takes back"]),
        ([{"model.dtype": "int8"}], ["model.dtype = 'int8'", "'float32'"]),
    ],
)
def test_wrong_options_are_one_line_before_anything_runs(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    entries: list[dict[str, Any]],
    words: list[str],
) -> None:
    file, root = write(tmp_path, entries), tmp_path / "runs"
    assert sweep(file, root) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"trustee: {file}, run ") and error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not root.exists()


def test_a_folder_with_another_run_and_other_wrong_input(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = write(tmp_path, [entry(0.5, 0), entry(0.5, 1)]), tmp_path / "runs"
    folder = root / name(0.5, 1)
    folder.mkdir(parents=True)
    config = parse(config_flag.read([f"--config={DEBUG}", "--config.seed=1"]))
    # As a run records it, on a platform that decides these.
    model = config.model.resolved("tpu")

    def record(**changes: Any) -> None:
        learner = dataclasses.replace(config.learner, learning_rate=0.5, **changes)
        saved = dataclasses.replace(config, model=model, learner=learner)
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(saved)))

    record(kl_coef=0.125)
    assert sweep(file, root) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name(0.5, 1) in error and "learner.kl_coef: 0.125 there, " in error
    assert not (root / name(0.5, 0)).exists() and not (folder / "log.txt").exists()
    record()
    assert sweep(file, root) == 0
    capsys.readouterr()

    for flags, words in (
        (["--print", "--report"], ["give one of them"]),
        ([f"--workdir={file}"], ["--workdir=", "choose another"]),
    ):
        assert sweep(file, root, *flags) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and all(word in error for word in words), error
    for base in ("nowhere.py", f"{DEBUG}:parameter"):
        file = write(tmp_path, [entry(0.5, 0)], base)
        assert sweep(file, root) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"trustee: {file}: BASE: ") and error.count("\n") == 1


def test_nothing_is_asked_of_the_device_that_the_runs_will_need(tmp_path: pathlib.Path) -> None:
    file, root = write(tmp_path, [entry(0.5, 0)]), tmp_path / "runs"
    code = (
        "import sys; from trustee_jax.commands.main import main; from trustee_jax import "
        f"processes; processes.PROGRAM = (sys.executable, {str(FAKE)!r}); "
        f"assert main(['sweep', {file!r}, '--workdir={root}']) == 0; "
        "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (root / "sweep.html").is_file()


def test_an_interval_is_students() -> None:
    # Table of t at 0.975: 12.706 with one degree of freedom, 2.7764 with four.
    found = interval([1.0, 3.0])
    assert found is not None and found.margin == pytest.approx(12.706, rel=1e-4)
    found = interval([1.0, None, 2.0, 3.0, 4.0, 5.0])
    assert found is not None and (found.mean, found.count) == (3.0, 5)
    assert found.margin == pytest.approx(2.7764 * (2.5 / 5) ** 0.5, rel=1e-4)
    single = interval([None, 2.0])
    assert single is not None and (single.mean, single.margin) == (2.0, None)
    assert interval([None]) is None and interval([]) is None
