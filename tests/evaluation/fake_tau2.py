"""Stands in for tau2-bench's command line: asks both models once a trial, and keeps its results."""

import argparse
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request


def ask(model, options):
    body = {"model": model.removeprefix("openai/"), **json.loads(options)}
    body["messages"] = [{"role": "user", "content": os.environ.get("FAKE_TAU2_SAYS", "Hi")}]
    del body["timeout"]
    request = urllib.request.Request(
        f"{os.environ['OPENAI_API_BASE']}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def play(task, trial, arguments):
    known = {"task_id": task, "trial": trial, "termination_reason": "user_stop", "info": None}
    try:
        said = [ask(arguments.agent_llm, arguments.agent_llm_args)]
        said.append(ask(arguments.user_llm, arguments.user_llm_args))
    except urllib.error.HTTPError as error:
        reason = json.load(error)["error"]["message"]
        lost = {"termination_reason": "infrastructure_error", "info": {"error": reason}}
        return {**known, **lost, "reward_info": None}
    return {**known, "reward_info": {"reward": 1.0 - trial % 2}, "messages": said}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    for name in ("domain", "agent-llm", "user-llm", "agent-llm-args", "user-llm-args", "save-to"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("num-trials", "max-steps", "seed", "max-concurrency"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--auto-resume", action="store_true", required=True)
    parser.add_argument("--task-ids", nargs="+", required=True)
    arguments = parser.parse_args()
    assert pathlib.Path(os.environ["TAU2_DATA_DIR"], "tau2/domains", arguments.domain).is_dir()
    if os.environ.get("FAKE_TAU2_SAYS") == "fail":
        sys.exit("the sky fell")
    file = pathlib.Path(arguments.save_to) / "results.json"
    done = json.loads(file.read_text())["simulations"] if file.exists() else []
    done = [one for one in done if one["termination_reason"] != "infrastructure_error"]
    keys = {(one["task_id"], one["trial"]) for one in done}
    for trial in range(arguments.num_trials):
        for task in arguments.task_ids:
            if (task, trial) not in keys:
                done.append(play(task, trial, arguments))
                file.with_suffix(".new").write_text(json.dumps({"simulations": done}))
                file.with_suffix(".new").rename(file)
            if os.environ.get("FAKE_TAU2_SAYS") == "hang":
                time.sleep(600)


main()
