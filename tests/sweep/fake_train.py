"""What `trustee train` leaves in a folder, in milliseconds; the seed says what happens to it.

Seeds of 90 and more: 90 fails, 91 is killed, 92 has its parent stopped and saves when it is.
"""

import json
import os
import pathlib
import signal
import sys

command, *words = sys.argv[1:]
given = dict(word.removeprefix("--").split("=", 1) for word in words)
assert command == "train" and "config" in given
folder = pathlib.Path(given["workdir"])
seed, rate = int(given["config.seed"]), float(given["config.learner.learning_rate"])
steps = int(given["config.training.steps"])
folder.mkdir(exist_ok=True)
checkpoints = folder / "checkpoints"
first = max((int(path.name) for path in checkpoints.glob("*")), default=0) + 1
print("loading", flush=True)


def save(step: int) -> None:
    (checkpoints / str(step)).mkdir(parents=True)


for step in range(first, steps + 1):
    if seed == 90:
        sys.exit("trustee: model.source = 'x': no such file")
    line = {
        "step": step,
        "reward/mean": rate * step + 0.1 * seed,
        "curriculum/difficulty": float(step),
        "seconds/step": 2.0,
        f"only/of_{given['config.learner.learning_rate']}": 1.0,
    }
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(f"step {step}/{steps}", flush=True)
    if seed == 91 and step == 2:
        print("about to go", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 92 and step == 2:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        os.kill(os.getppid(), signal.Signals[os.environ["FAKE_SIGNAL"]])
        print(f"stopping {signal.sigwait({signal.SIGTERM, signal.SIGINT}).name}", flush=True)
        save(step)
        sys.exit(0)
    save(step)
