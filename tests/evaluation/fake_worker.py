"""Stands in for bfcl_worker.py: three small cases of a category, some of which break it."""

import json
import os
import sys
import time

VERSION = "2026.3.23"
TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
BOOK = {"type": "function", "function": {**TOOL["function"], "name": "book"}}
CALL = [{"find": '{"city": "Lyon"}'}]


def describe():
    return {"version": VERSION, "step_limit": 2, "added_tools_text": "And now?"}


def load(category):
    if category == "parallel":
        raise FileNotFoundError("no such data")
    turns = [[{"role": "user", "content": "Where?"}]]
    tools = {"0": [TOOL]}
    if category.startswith("multi_turn"):
        turns += [[], [{"role": "user", "content": "Thanks."}]]
        tools["1"] = [TOOL, BOOK]
    names = {"multiple": ("good", "die", "hang", "raise", "last")}.get(category, "abcdefgh")
    return [
        {"id": f"{category}_{name}", "turns": turns, "tools": tools, "answer": None}
        for name in names
    ]


def check(case, result):
    if case.endswith("die"):
        print("to nobody", flush=True)
        os._exit(3)
    if case.endswith("hang"):
        time.sleep(60)
    if case.endswith("raise"):
        raise RuntimeError("checker is confused")
    return {"valid": result == CALL, "reason": "" if result == CALL else "other: call"}


def execute(case, steps):
    return [json.dumps([case, len(steps), name]) for call in steps[-1] for name in call]


def check_conversation(case, result):
    return {"valid": [len(turn) for turn in result] == [2, 1, 1], "reason": json.dumps(result)}


def echo(value):
    return value


def main():
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"result": globals()[request["method"]](**request["parameters"])}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"id": request["id"], **reply}), file=replies, flush=True)


if __name__ == "__main__":
    main()
