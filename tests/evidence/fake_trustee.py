"""What `trustee train` and `trustee eval` leave in folders, in milliseconds.

Of 40 cases of simple_python the base has 10 right, 16 if read leniently; seed 0 of the method 30,
seed 1 as many in other places, shuffled rewards 12. Irrelevance: the base 20 of 40, the others 18.
The folder named by FAKE_DIES breaks off in the middle, the first time.
"""

import json
import os
import pathlib
import sys

SIZE = 40


def train(given: dict[str, str]) -> None:
    folder, like = pathlib.Path(given["workdir"]), pathlib.Path(given["config"])
    options = json.loads((like / "config.json").read_text())
    options["seed"] = int(given.get("config.seed", options["seed"]))
    shuffled = given.get("config.training.shuffle_rewards")
    options["training"]["shuffle_rewards"] = shuffled == "True"
    steps = int(given["config.training.steps"])
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(options))
    for step in range(1, steps + 1):
        line = {"step": step, "reward/mean": 0.1 * step, "seconds/step": 36.0}
        line |= {"episodes/played": 8, "engine/episodes_sampled_tokens": 100}
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    (folder / "checkpoints" / str(steps)).mkdir(parents=True)


def right(run: pathlib.Path, step: int, category: str) -> list[tuple[bool, bool]]:
    options = json.loads((run / "config.json").read_text())
    if category == "irrelevance":
        return [(place < (18 if step else 20),) * 2 for place in range(SIZE)]
    if not step:
        return [(place < 10, place < 16) for place in range(SIZE)]
    if options["training"]["shuffle_rewards"]:
        return [(place < 12,) * 2 for place in range(SIZE)]
    first = 0 if options["seed"] == 0 else 10
    return [(first <= place < first + 30,) * 2 for place in range(SIZE)]


def bfcl(run: pathlib.Path, given: dict[str, str]) -> None:
    step, folder = int(given["step"]), pathlib.Path(given["output"])
    folder.mkdir(parents=True, exist_ok=True)
    limit, names = int(given["limit"]), given["categories"].split(",")
    identity = {"bfcl_eval": "1", "model": "m", "step": step, "weights": f"{run.name}{step}"}
    identity["max_tokens"] = int(given["max_tokens"])
    identity["call_syntax"] = os.environ.get("FAKE_SYNTAX", "json") if step else "json"
    meta = {"identity": identity, "sizes": dict.fromkeys(names, SIZE), "seconds": 360.0}
    (folder / "meta.json").write_text(json.dumps(meta))
    results = folder / "results.jsonl"
    first = not results.exists()
    if folder.name == os.environ.get("FAKE_REFUSES"):
        sys.exit("trustee: out of luck")
    with results.open("w") as file:
        for name in names:
            for place, valid in enumerate(right(run, step, name)[:limit]):
                if first and place == 20 and os.environ.get("FAKE_DIES") == folder.name:
                    sys.exit("trustee: the power is out")
                kinds = zip(("strict", "lenient"), valid, strict=True)
                verdicts = {kind: {"valid": one, "reason": ""} for kind, one in kinds}
                # Asked with another number of slots, one case is answered in other words.
                words = "other" if "slots" in given and place == 0 else "words"
                line = {"id": f"{name}_{place}", "category": name, "verdicts": verdicts}
                line |= {"step": step, "texts": [[words]], "tokens": 1, "error": ""}
                file.write(json.dumps(line) + "\n")


def simulated(run: pathlib.Path, given: dict[str, str]) -> None:
    step, folder = int(given["step"]), pathlib.Path(given["output"])
    folder.mkdir(parents=True, exist_ok=True)
    about, *tasks = map(json.loads, pathlib.Path(given["tasks"]).read_text().splitlines())
    identity = {"model": "m", "tasks": about["sha256"]}
    (folder / "meta.json").write_text(json.dumps({"identity": identity, "seconds": 36.0}))
    with (folder / "results.jsonl").open("w") as file:
        for place, task in enumerate(tasks):
            success = place < (len(tasks) - 2 if step else 2)
            line = {"step": step, "id": f"{place}.0", "reward": 1.0 if success else -1.0}
            line |= {"success": success, "cause": None, "difficulty": 1.0, "valid_calls": 1}
            line |= {"aspects": task["aspects"], "malformed_calls": 0}
            file.write(json.dumps(line) + "\n")


command, *words = sys.argv[1:]
flags = [word.removeprefix("--").split("=", 1) for word in words if word.startswith("--")]
if command == "train":
    train(dict(flags))
else:
    kind, folder = words[:2]
    {"bfcl": bfcl, "simulated": simulated}[kind](pathlib.Path(folder), dict(flags))
