"""What goes into the page: reading, normalising, packing, counting. No browser."""

import base64
import gzip
import json
import pathlib
import re
from typing import Any

import pytest
import synthetic_run
from absl import flags
from rich.console import Console

from trustee_jax.commands.report import REPORT
from trustee_jax.config import all_options
from trustee_jax.curriculum import Aspects
from trustee_jax.environment import (
    INVALID_CAUSES,
    Change,
    CriterionVerdict,
    Episode,
    JudgeVerdict,
    RuleViolation,
    Task,
    Verdict,
)
from trustee_jax.report import accounting, panels
from trustee_jax.report.archive import Index, compress, pack
from trustee_jax.report.episodes import normalise
from trustee_jax.report.run import ReportError, open_run
from trustee_jax.report.write import write_report
from trustee_jax.simulator.transcript import transcript
from trustee_jax.toolsets import Tool


def unpack(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def blocks(page: str) -> dict[str, Any]:
    """The page's data, as a browser finds it."""
    found = re.findall(r'<script type="application/gzip" id="([^"]+)">([^<]*)</script>', page)
    return {name: unpack(text) for name, text in found}


def written(folder: pathlib.Path, **options: Any) -> str:
    output = folder / "report.html"
    write_report(folder, output, defaults=all_options(), console=Console(quiet=True), **options)
    return output.read_text(encoding="utf-8")


def test_every_episode_of_a_run_is_in_the_page(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=3, tasks=2, group=4)
    data = blocks(written(tmp_path))
    index = data["summary"]["index"]
    assert index["columns"]["key"] == [
        f"{step}-{task}-{number}" for step in (1, 2, 3) for task in (0, 1) for number in range(4)
    ]
    assert len(index["chunks"]) > 1, "the megabyte of the first episode fills a chunk"
    raw = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    row = 0
    for number, size in enumerate(index["chunks"]):
        chunk = data[f"chunk-{number}"]
        assert len(chunk["episodes"]) == size
        for episode in chunk["episodes"]:
            task = chunk["tasks"][episode["task"]]
            assert [chunk["tools"][i] for i in task["tools"]] == raw[row]["task"]["tools"]
            assert task["world"] == raw[row]["task"]["world"]
            assert [m["content"] for m in episode["messages"]] == [
                m["content"] for m in raw[row]["messages"]
            ]
            assert episode["changes"] == raw[row]["changes"]
            assert episode["segments"] == raw[row]["segments"]
            row += 1
    # Four episodes of a task share it.
    assert sum(len(data[f"chunk-{n}"]["tasks"]) for n in range(len(index["chunks"]))) <= 8
    offered = [index["names"]["tool"][place] for place in index["columns"]["offered"][0]]
    assert offered == [tool["name"] for tool in raw[0]["task"]["tools"]]


def test_limit_keeps_the_most_recent_and_says_so(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=2, tasks=1, group=4)
    summary = blocks(written(tmp_path, most_episodes=3))["summary"]
    assert summary["index"]["columns"]["key"] == ["2-0-1", "2-0-2", "2-0-3"]
    assert summary["run"]["left_out"] == 5
    assert summary["metrics"]["steps"] == [1, 2]
    assert blocks(written(tmp_path, most_episodes=0))["summary"]["index"]["chunks"] == []


def test_hostile_text_stays_inside_its_block(tmp_path: pathlib.Path) -> None:
    folder = synthetic_run.write_run(tmp_path / "<b>&run", steps=1, tasks=1, group=2)
    page = written(folder)
    assert page.count("<script") == 4, "two chunks, the summary, the program"
    assert "onerror" not in page
    assert "<b>" not in page
    assert "<title>&lt;b&gt;&amp;run · trustee report</title>" in page
    assert blocks(page)["chunk-0"]["episodes"][0]["messages"][2]["content"] == synthetic_run.STRANGE


def test_the_page_names_nothing_outside_itself(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=1, tasks=1, group=1)
    page = re.sub(r'gzip" id="[^"]+">[^<]*<', "", written(tmp_path))
    urls = set(re.findall(r"\w+://[^\s\"'`)]+", page))
    assert urls == {"http://www.w3.org/2000/svg"}, "a namespace, never fetched"
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", page)
    assert "default-src &#x27;none&#x27;" in page


@pytest.mark.parametrize(
    "text",
    ["\ud800", "a\\\ud800b", '\\\udfff"\n', "ok \U0001f600", "\x00\u2028</script>", "\ud83d"],
)
def test_any_string_survives_compression(text: str) -> None:
    assert unpack(compress({text: [text]})) == {text: [text]}


def test_numbers_that_json_lacks_become_null() -> None:
    assert unpack(compress([float("nan"), float("inf"), 1.5])) == [None, None, 1.5]


def test_line_numbers_are_those_of_the_verifiers_transcript(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=1, tasks=1, group=6)
    for record in open_run(tmp_path).read_episodes():
        lines = transcript(record["messages"])
        episode = normalise(record, 1)
        shown = []
        for message in episode["messages"]:
            if message["line"]:
                content = message["content"]
                escaped = json.dumps(content, ensure_ascii=False)
                shown.append((message["line"], content if message["role"] == "tool" else escaped))
            calls = message.get("calls", [])
            shown += [(call["line"], f"{call['name']}({call['arguments']})") for call in calls]
            for call in message.get("malformed", []):
                shown.append((call["line"], json.dumps(call["text"], ensure_ascii=False)))
        assert sorted(number for number, _ in shown) == list(range(1, len(lines) + 1))
        for number, text in shown:
            assert text in lines[number - 1]
    assert any(
        malformed["line"] < call["line"]
        for record in open_run(tmp_path).read_episodes()
        for message in normalise(record, 1)["messages"]
        for malformed in message.get("malformed", ())
        for call in message.get("calls", ())
    )


def test_an_older_record_has_every_field() -> None:
    old = {
        "step": 1, "key": [1, 0, 2], "reward": -1.0, "valid": True, "cause": None, "detail": "",
        "ended": "length", "verdict": {"reasoning": "why", "criteria": {"intent_met": False}},
        "task": {"category": "c", "tools": [], "aspects": {"difficulty": 1.0}, "persona": "p",
                 "intent": "i", "expected_calls": [], "query": "q"},
        "messages": [{"role": "user", "content": None}], "counts": {"calls": 0},
    }  # fmt: skip
    episode = normalise(old, 1)
    assert episode["world"] is None and episode["task"]["world"] is None
    assert episode["segments"] is None and episode["changes"] == []
    assert episode["verdict"]["parts"] == [
        {"criterion": "intent_met", "met": False, "probability": None, "line": None,
         "reasoning": "", "recites": False}
    ]  # fmt: skip
    assert episode["verdict"]["reasoning"] == "why"


def test_what_the_simulation_writes_is_read() -> None:
    names = ("tools", "calls", "persona", "ambiguity", "turns", "criteria", "system_prompt",
             "user_turns", "assistant_turns", "tool_turns")  # fmt: skip
    task = Task(
        tools=(Tool("find", "Finds.", {"type": "object"}, "hotels"),),
        aspects=Aspects(difficulty=4.0, **dict.fromkeys(names, 1)),
        persona="p",
        intent="i",
        expected_calls=("find",),
        query="q",
        expected_values=({"id": "r1"},),
        world={"rooms": [{"id": "r1"}]},
    )
    part = CriterionVerdict("intent_met", True, 0.9, 1, "seen")
    played = Episode(
        task=task,
        key=(1, 2, 3),
        messages=({"role": "user", "content": "q"},),
        calls=(),
        sequences=(),
        ended="user",
        verdict=Verdict("reasoned", (part,), (RuleViolation("intent_met", "check", "why"),)),
        reward=-1.0,
        world={"rooms": []},
        changes=(Change("find({})", "remove", "rooms", "r1", {"id": "r1"}),),
        segments=(((5, None), (2, "hi")),),
    )
    written = json.loads(json.dumps({"step": 1, **played.to_json()}))
    episode = normalise(written, 1)
    assert episode["key"] == "1-2-3" and episode["cause"] is None and episode["ended"] == "user"
    aspects = {k: v for k, v in written["task"]["aspects"].items() if v is not None}
    assert episode["task"] == written["task"] | {"aspects": aspects}
    for name in ("reward", "world", "changes", "segments", "counts"):
        assert episode[name] == written[name]
    assert episode["verdict"] == written["verdict"] | {"reasoning": ""}
    assert [message["line"] for message in episode["messages"]] == [1]


def test_a_verdict_of_several_judges_is_kept(tmp_path: pathlib.Path) -> None:
    violation = RuleViolation("intent_met", "check", "why")
    model = Verdict("reasoned", (CriterionVerdict("intent_met", True, 0.9, 1, "s"),), (violation,))
    several = (
        JudgeVerdict("model", 0.5, model),
        JudgeVerdict("my.py:f", 2, Verdict("python", score=0.25)),
    )
    written = json.loads(json.dumps(Verdict("weighted", judges=several).to_json()))
    found = normalise({**_some_record(), "verdict": written}, 1)
    judges = [one | {"reasoning": ""} for one in written["judges"]]
    assert found["verdict"] == written | {"reasoning": "", "judges": judges}
    assert found["verdict"]["parts"] == []
    index = Index()
    list(pack([found], index))
    columns = index.to_json()["columns"]
    assert columns["vetoed"] == [True] and len(columns["unmet"][0]) == 1


@pytest.mark.parametrize(
    "junk", [None, 7, "text", [], [1], [None], {}, {"a": 1}, True, float("nan")]
)
def test_a_record_may_hold_anything(junk: Any) -> None:
    whole = json.loads(json.dumps(_some_record()))
    one = {"judge": "mine", "weight": 1.0, "reward": 0.5, "score": 0.5, **whole["verdict"]}
    whole["verdict"]["judges"] = [one]
    for path in _paths(whole):
        record = json.loads(json.dumps(whole))
        *parents, last = path
        inner = record
        for step in parents:
            inner = inner[step]
        inner[last] = junk
        (chunk,) = pack([normalise(record, 1)], Index())
        assert unpack(chunk)["episodes"]


def _some_record() -> dict[str, Any]:
    import random

    rng = random.Random(0)
    task = synthetic_run._task(rng, 1)
    return synthetic_run._episode(rng, (1, 0, 1), 2, task, False)


def _paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in items:
        found.append((*prefix, key))
        if isinstance(item, dict | list):
            found += _paths(item, (*prefix, key))
    return found


def test_keys_that_repeat_or_lack_stay_apart() -> None:
    index = Index()
    records = [{"key": [1, 0]}, {"key": [1, 0]}, {}]
    list(pack((normalise(record, n) for n, record in enumerate(records, start=1)), index))
    assert index.to_json()["columns"]["key"] == ["1-0", "1-0.2", "line3"]


def test_a_run_in_progress(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=2, tasks=1, group=2)
    for name in ("metrics.jsonl", "episodes.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write('{"step": 3, "ke')
    summary = blocks(written(tmp_path))["summary"]
    assert summary["metrics"]["steps"] == [1, 2]
    assert len(summary["index"]["columns"]["key"]) == 4
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).unlink()
    summary = blocks(written(tmp_path))["summary"]
    assert summary["options"] == [] and summary["metrics"]["steps"] == []
    (tmp_path / "episodes.jsonl").write_text("")
    assert blocks(written(tmp_path))["summary"]["index"]["columns"] == {}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.json", "{", ["config.json", "restore"]),
        ("config.json", "[]", ["config.json", "not an object"]),
        ("metrics.jsonl", "oops\n", ["metrics.jsonl", "line 1"]),
        ("episodes.jsonl", '{"step": 1}\noops\n', ["episodes.jsonl", "line 2"]),
    ],
)
def test_a_broken_file_is_one_clear_error(
    name: str, text: str, words: list[str], tmp_path: pathlib.Path
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "report.html").write_text("the old one")
    with pytest.raises(ReportError) as error:
        written(tmp_path)
    assert all(word in str(error.value) for word in words)
    assert (tmp_path / "report.html").read_text() == "the old one"
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_that_is_no_run(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ReportError, match="holds no run"):
        REPORT("trustee", [str(tmp_path)])
    with pytest.raises(ReportError, match="is no folder"):
        REPORT("trustee", [str(tmp_path / "absent")])
    synthetic_run.write_run(tmp_path, steps=1, tasks=1, group=1)
    with pytest.raises(ReportError, match="cannot be written"):
        REPORT("trustee", [str(tmp_path), f"--output={tmp_path}"])
    for arguments in ([], ["--episodes=-1", "x"], ["a", "b"], ["--episode=1", "x"]):
        with pytest.raises(flags.Error):
            REPORT("trustee", arguments)


def test_the_command_writes_where_it_is_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    run = synthetic_run.write_run(tmp_path / "run", steps=1, tasks=1, group=2)
    REPORT("trustee", [str(run), f"--output={tmp_path / 'new' / 'r.html'}", "--episodes=1"])
    assert "1 steps, 1 episodes" in capsys.readouterr().out
    assert (tmp_path / "new" / "r.html").is_file()
    REPORT("trustee", [str(run)])
    assert (run / "report.html").is_file()
    REPORT("trustee", ["--help"])
    assert "--episodes" in capsys.readouterr().out


def test_no_metric_is_hidden(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=4, tasks=1, group=4)
    metrics = {
        step: {
            **values,
            "new/metric": 1.0,
            "loose": 2.0,
            "episodes/new": 1.0,
            "curriculum/frontier/calls": 0.5,
        }
        for step, values in open_run(tmp_path).metrics.items()
    }
    groups = panels.groups(panels.derive(metrics))
    shown = {s["metric"] for g in groups for panel in g["panels"] for s in panel["series"]}
    counted = ("episodes/invalid_", "episodes/played", "episodes/valid", "tasks/failed")
    for name in next(iter(metrics.values())):
        assert name in shown or name.startswith(counted), name
    for group in groups:
        titles = [panel["title"] for panel in group["panels"]]
        assert len(titles) == len(set(titles))


def test_shares_by_cause_add_up_to_one() -> None:
    step = {"episodes/played": 8.0, "episodes/valid": 0.5, "episodes/invalid_a": 3.0,
            "episodes/invalid_b": 1.0}  # fmt: skip
    derived = panels.derive({1: step})[1]
    shares = [value for name, value in derived.items() if name.startswith("share/")]
    assert sorted(shares) == [0.125, 0.375, 0.5]
    assert panels.derive({1: {"episodes/played": 0.0, "episodes/invalid_a": 0.0}})[1] == {
        "episodes/played": 0.0,
        "episodes/invalid_a": 0.0,
    }


def test_a_cause_that_a_step_does_not_have_did_not_occur_in_it() -> None:
    metrics = {
        1: {"episodes/played": 4.0, "reward/mean": 1.0},
        2: {"episodes/played": 4.0, "episodes/invalid_a": 1.0, "ended/user": 0.5},
    }
    first = panels.derive(metrics)[1]
    absent = {"episodes/invalid_a": 0.0, "share/invalid_a": 0.0, "ended/user": 0.0}
    assert first == metrics[1] | absent
    # Of anything else, nothing is known.
    assert "reward/mean" not in panels.derive(metrics)[2]


def test_accounting_counts_what_the_episodes_say(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=12, tasks=2, group=4)
    run = open_run(tmp_path)
    causes = [record["cause"] for record in run.read_episodes()]
    table = accounting.tables(run.metrics)[0]
    assert table["total"] == len(causes) == 96
    counts = {row["label"]: row["count"] for row in table["rows"]}
    assert counts.pop("valid") == causes.count(None)
    assert counts == {cause: causes.count(cause) for cause in set(causes) - {None}}
    assert set(table["never"]) == set(INVALID_CAUSES) - set(causes) != set()
    recent = causes[-80:]
    for row in table["rows"][1:]:
        assert row["share"] == pytest.approx(causes.count(row["label"]) / 96)
        assert row["recent"] == pytest.approx(recent.count(row["label"]) / 80)


def test_accounting_counts_calls_that_were_written_as_text(tmp_path: pathlib.Path) -> None:
    synthetic_run.write_run(tmp_path, steps=3, tasks=2, group=4)
    run = open_run(tmp_path)
    records = list(run.read_episodes())
    valid = [record["counts"] for record in records if record["valid"]]
    (table,) = (t for t in accounting.tables(run.metrics) if t["title"] == "Calls written")
    kinds = {"well-formed": "calls", "malformed": "malformed_calls", "unmarked": "unmarked_calls"}
    assert {row["label"].partition(",")[0]: row["count"] for row in table["rows"]} == {
        label: sum(counts[name] for counts in valid) for label, name in kinds.items()
    }
    assert table["rows"][-1]["count"] > 0
    index = Index()
    list(pack((normalise(record, 1) for record in records), index))
    unmarked = [bool(record["counts"]["unmarked_calls"]) for record in records]
    assert index.to_json()["columns"]["unmarked"] == unmarked


def test_accounting_of_a_run_where_all_failed() -> None:
    metrics = {1: {"tasks/written": 0.0, "tasks/failed_too_long": 3.0, "episodes/played": 0.0}}
    (table,) = accounting.tables(metrics)
    assert [(row["label"], row["share"]) for row in table["rows"]] == [
        ("written", 0.0),
        ("too_long", 1.0),
    ]
