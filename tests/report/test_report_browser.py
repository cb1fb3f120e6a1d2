"""The page in a real browser: opened from disk, with the network off."""

import base64
import json
import pathlib
from collections.abc import Callable
from typing import Any

import browser
import pytest
import synthetic_run
from browser import Page
from rich.console import Console

from trustee_jax.config import all_options
from trustee_jax.report.write import write_report

pytestmark = browser.MARKS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = synthetic_run.write_run(tmp_path_factory.mktemp("run"), steps=25, tasks=5, group=8)
    # A step's episodes stand in the file as they ended, which is any order.
    file = folder / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for i in range(0, 1000, 40) for line in lines[i : i + 40][::-1]))
    return folder


@pytest.fixture(scope="module")
def report(run: pathlib.Path) -> pathlib.Path:
    write_report(run, run / "report.html", defaults=all_options(), console=Console(quiet=True))
    return run / "report.html"


def test_overview_shows_curves_and_accounting(page: Page) -> None:
    page.open()
    # Every chart that is not folded away has drawn something at its own width.
    drawn = page.js(
        "return [...document.querySelectorAll('.group .charts .chart')].map(chart =>"
        "[chart.querySelector('h4').innerText,"
        " chart.querySelectorAll('.curve, .bar').length,"
        " [...chart.querySelectorAll('.curve, .bar')].some(p => p.getAttribute('d').length > 20)])"
    )
    assert len(drawn) > 25
    assert [title for title, shapes, long in drawn if not shapes or not long] == []
    titles = [title for title, *_ in drawn]
    for title in ("Mean reward", "Validity by cause", "Tasks rejected", "Frontier tools",
                  "KL to the initial policy", "Gradient norm", "Tokens per second"):  # fmt: skip
        assert title in titles
    words = page.text("#overview").lower().split()
    assert not {"null", "undefined", "nan", "[object"} & set(words)
    accounting = page.text("#accounting")
    assert "1,000 episodes played" in accounting
    assert "near copy" in accounting
    assert "hub:Qwen/Qwen3-8B" in page.text(".facts")
    assert "25 of 25" in page.text(".facts")


def test_a_chart_answers_keyboard_and_mouse(page: Page) -> None:
    page.open()
    page.js("document.querySelector('.chart svg').focus()")
    page.press("End")
    tip = page.until("const t = document.querySelector('.tip:not([hidden])'); return t?.innerText")
    assert tip.startswith("Step 25")
    page.press("ArrowLeft")
    page.until(
        "return document.querySelector('.tip:not([hidden])').innerText",
        what=lambda text: text.startswith("Step 24"),
    )
    page.press("Enter")
    page.found("40 of 1,000 episodes")
    assert {key.split("-")[0] for key in page.listed()} == {"24"}


def test_the_value_of_a_point_is_where_the_axis_says(page: Page) -> None:
    page.open()
    # The mean reward's axis reaches from -1 to 1 whatever the values.
    got = page.js(
        "const svg = document.querySelector('.chart svg');"
        "const labels = [...svg.querySelectorAll('.tick')].filter(t => +t.getAttribute('x') < 46);"
        "const at = text => labels.find(t => t.textContent === text).getAttribute('y') - 3.5;"
        "const dot = svg.querySelectorAll('circle')[24];"
        "return [at('\u22121'), at('1'), +dot.getAttribute('cy')]"
    )
    low, high, y = got
    value = -1 + 2 * (low - y) / (low - high)
    shown = page.js(
        "const d = document.querySelector('.chart .values'); d.open = true;"
        "d.dispatchEvent(new Event('toggle'));"
        "return d.querySelector('tbody tr:last-child td').innerText.replace('\u2212', '-')"
    )
    assert value == pytest.approx(float(shown), abs=0.02)


def test_filters_change_the_list(page: Page, run: pathlib.Path) -> None:
    records = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]

    def expect(wanted: Callable[[dict[str, Any]], bool], **filters: str) -> None:
        page.js("document.querySelector('.filters').reset()")
        page.found("1,000 episodes")
        for name, value in filters.items():
            page.choose(name, value)
        number = sum(map(wanted, records))
        assert 0 < number < 1000
        page.found(f"{number:,} of 1,000 episodes")

    page.open("#view=episodes")
    page.found("1,000 episodes")
    assert len(page.listed()) == 50
    expect(lambda e: e["reward"] == 1, reward="1")
    expect(lambda e: e["reward"] == -1, reward="-1")
    expect(lambda e: not e["valid"], cause="invalid")
    expect(lambda e: e["cause"] == "world_conflict", cause="world_conflict")
    expect(
        lambda e: 3 <= e["step"] <= 4 and e["reward"] == 0, reward="0", **{"from": "3", "to": "4"}
    )
    expect(lambda e: e["ended"] == "length", ended="length")
    expect(lambda e: e["task"]["category"] == "music", category="music")
    tools = [(e, [t["name"] for t in e["task"]["tools"]]) for e in records]
    offered = {id(e) for e, names in tools if "find_music" in names}
    called = {
        id(e)
        for e in records
        for call in e["messages"][2].get("tool_calls", ())
        if call["function"]["name"] == "find_music"
    }
    expect(lambda e: id(e) in offered | called, tool="find_music")
    expect(lambda e: id(e) in called, tool="find_music", use="called")
    unmet = [e for e in records if e["verdict"] and not e["verdict"]["criteria"]["intent_met"]]
    expect(lambda e: e in unmet, unmet="intent_met")
    vetoed = [e for e in records if e["verdict"] and e["verdict"]["vetoes"]]
    expect(lambda e: e in vetoed, **{"with": "vetoed"})
    expect(lambda e: e["counts"]["unmarked_calls"] > 0, **{"with": "unmarked"})
    # Free text goes through the compressed episodes, injected markup included.
    for words in (["</SCRIPT>", "right-to-left"], ["invented_id", "r77"], ["1-0-3"]):

        def has_all(episode: dict[str, Any], words: list[str] = words) -> bool:
            text = "-".join(map(str, episode["key"])) + json.dumps(episode)
            return all(word.lower() in text.lower() for word in words)

        expect(has_all, text="  ".join(words))


def test_the_list_sorts_and_turns_pages(page: Page) -> None:
    page.open("#view=episodes")
    page.found("1,000 episodes")
    page.find(".list thead th:nth-child(9) button").click()  # tokens
    page.until("return location.hash.includes('sort=tokens')")
    tokens = "return [...document.querySelectorAll('[data-label=Tokens]')].map(e => +e.innerText)"
    ascending = page.until(tokens, what=lambda values: values == sorted(values))
    page.find(".list thead th:nth-child(9) button").click()
    page.until(tokens, what=lambda v: v == sorted(v, reverse=True) and v[0] > ascending[-1])
    assert page.find(".list thead th:nth-child(9)").get_attribute("aria-sort") == "descending"
    page.open("#view=episodes")
    page.js(
        "[...document.querySelectorAll('.pager button')].find(b => b.innerText === 'Next').click()"
    )
    page.until("return document.querySelector('.pager').innerText.includes('page 2 of 20')")
    assert page.listed()[0] == "2-1-2"


def test_an_episode_shows_all_its_parts(page: Page) -> None:
    page.open("#episode=12-0-0")
    page.episode("12-0-0")
    task = page.text("#part-task")
    for words in ("Query", "Intent", "The card ends in 4417", "Persona", "Expected calls",
                  "difficulty 19", "tools"):  # fmt: skip
        assert words in task
    dialogue = page.text("#part-dialogue")
    for words in ("Private reasoning", "malformed call", "no closing </tool_call>", "returns"):
        assert words in dialogue
    page.open("#episode=12-0-1")
    page.episode("12-0-1")
    dialogue = page.text("#part-dialogue")
    assert dialogue.index("malformed call") < dialogue.index("calls ")
    page.open("#episode=12-0-2")
    page.episode("12-0-2")
    assert "it is read as text" in page.text(".unmarked")
    page.open("#episode=12-0-0")
    page.episode("12-0-0")
    shown = page.find(".siblings").get_attribute("innerHTML")
    places = [shown.index(f"12-0-{number}") for number in range(1, 8)]
    assert places == sorted(places)
    world = "return [...document.querySelectorAll('.records tr.%s')].map(e => e.innerText)"
    assert "r2" in page.js(world % "changed")[0]
    assert "r5" in page.js(world % "removed")[0]
    assert "r9" in page.js(world % "added")[0]
    assert page.js("return document.querySelectorAll('.records tr.changed del').length") > 0
    trained = page.js(
        "return [...document.querySelectorAll('.tokens .trained')].map(e=>e.innerText)"
    )
    assert len(trained) == 2
    assert "412 tokens of context" in page.text("#part-tokens")
    assert "p(met)" in page.text("#part-verdict")
    # A tool's schema unfolds.
    page.js("const tool = document.querySelector('.tool-schema'); tool.open = true")
    page.until(
        "return document.querySelector('.tool-schema')?.innerText.includes('How many people')"
    )


def test_several_judges_are_shown_one_by_one(page: Page, tmp_path: pathlib.Path) -> None:
    folder = synthetic_run.write_run(tmp_path / "run", steps=1, tasks=1, group=1)
    file = folder / "episodes.jsonl"
    record = json.loads(file.read_text())
    violation = {"criterion": "intent_met", "check": "expected_call", "reason": "not carried out"}
    part = {"criterion": "intent_met", "met": True, "probability": None, "line": None}
    rules = {
        "mode": "rules",
        "parts": [part],
        "vetoes": [violation],
        "criteria": {"intent_met": False},
    }
    mine = {"mode": "python", "parts": [], "vetoes": [], "criteria": {}, "score": 0.5}
    judges = [
        {"judge": "rules", "weight": 3.0, "reward": -1.0, **rules},
        {"judge": "my_judge.py:grade", "weight": 1.0, "reward": 0.5, **mine},
    ]
    verdict = {"mode": "weighted", "parts": [], "vetoes": [], "criteria": {"intent_met": False}}
    record |= {
        "reward": -0.625,
        "cause": None,
        "valid": True,
        "verdict": verdict | {"judges": judges},
    }
    file.write_text(json.dumps(record) + "\n")
    output = tmp_path / "report.html"
    write_report(folder, output, defaults=all_options(), console=Console(quiet=True))
    page.url = output.as_uri()
    page.open(f"#episode={'-'.join(map(str, record['key']))}")
    page.until("return document.querySelector('#part-verdict')")
    text = page.text("#part-verdict").replace("\u2212", "-")
    for shown in ("rules -1 weight 3", "my_judge.py:grade +0.5 weight 1", "given as a number"):
        assert shown in text
    assert "overruled" not in text and "not carried out" in text
    assert "1 veto" in page.text("#episode") and "\u22120.625" in page.text("#episode")


def test_a_verdict_leads_to_the_line_it_cites(page: Page) -> None:
    page.open("#episode=12-0-1")
    page.episode("12-0-1")
    cited = page.find("#part-verdict .cited")
    number = cited.get_attribute("data-line")
    cited.click()
    page.until("return document.querySelector('.cited-now')?.id", what=f"line-{number}".__eq__)
    assert page.js("const b = document.querySelector('.cited-now').getBoundingClientRect();"
                   "return b.top >= 0 && b.top < innerHeight")  # fmt: skip
    assert f"line={number}" in page.js("return location.hash")


def test_next_and_previous_follow_the_filtered_list(page: Page) -> None:
    page.open("#view=episodes&from=3&to=3")
    page.found("40 of 1,000 episodes")
    page.find(".list tbody a").click()
    page.episode("3-0-0")
    page.press("j")
    page.episode("3-0-1")
    page.press("ArrowRight")
    page.episode("3-0-2")
    page.press("k")
    page.episode("3-0-1")
    assert "2 of 40 listed" in page.text(".crumbs")
    page.driver.back()
    page.episode("3-0-2")
    page.press("Escape")
    page.until("return !document.getElementById('episodes').hidden")
    page.found("40 of 1,000 episodes")


def test_hostile_text_stays_text(page: Page) -> None:
    page.open("#episode=1-0-0")
    page.episode("1-0-0")
    assert "owned" not in page.js("return document.title")
    assert (
        page.js("return document.querySelectorAll('main img, main script, main b b').length") == 0
    )
    dialogue = page.text("#part-dialogue")
    assert synthetic_run.INJECTION in dialogue
    # What cannot be seen is spelled out.
    for code in ("U+D800", "U+202E", "U+0000"):
        assert code in dialogue
    # A line of a megabyte is cut until it is asked for.
    assert len(dialogue) < 100_000
    assert "Show all 1,000,005 characters" in dialogue
    page.js("document.querySelector('#part-dialogue .more').click()")
    assert len(page.text("#part-dialogue")) > 1_000_000


def test_a_link_to_no_episode_says_so(page: Page) -> None:
    page.open("#episode=<img src=x>")
    assert "No episode <img src=x> is in this file" in page.text("#notice")
    page.go("#episode=2-0-1")
    page.episode("2-0-1")
    assert page.js("return document.getElementById('notice').hidden")


def test_config_can_be_searched(page: Page) -> None:
    page.open("#view=config")
    page.find("#config-search").send_keys("lora")
    shown = page.js("return [...document.querySelectorAll('.options tbody tr:not([hidden])')]"
                    ".map(row => row.innerText)")  # fmt: skip
    assert [text.split() for text in shown] == [["model.lora_rank", "16", "32"]]


def luminance(color: str) -> float:
    """Relative luminance of "rgb(r, g, b)", as WCAG 2.2 defines it."""
    parts = [int(float(part)) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


CONTRASTS = """
const behind = (e) => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return null; };
const walker = document.createTreeWalker(document.querySelector('body'), NodeFilter.SHOW_TEXT);
const found = {};
for (let node; (node = walker.nextNode());) {
  const e = node.parentElement;
  if (!node.data.trim() || !e.checkVisibility() || e.closest('svg, script, :disabled')) continue;
  const pair = getComputedStyle(e).color + '|' + behind(e);
  found[pair] ??= e.className + ': ' + node.data.slice(0, 30);
}
return found;
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("hash", ["", "#view=episodes", "#episode=12-0-0", "#view=config"])
def test_text_can_be_read_in_light_and_dark(dark: bool, hash: str, page: Page) -> None:
    page.emulate(dark=dark)
    page.open(hash)
    background = page.js("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(background) < 0.1) == dark
    for pair, where in page.js(CONTRASTS).items():
        first, second = sorted(map(luminance, pair.split("|")))
        assert (second + 0.05) / (first + 0.05) >= 4.5, (pair, where)


@pytest.mark.parametrize("width", [1280, 820, 390])
@pytest.mark.parametrize("hash", ["", "#view=episodes", "#episode=12-0-0", "#view=config"])
def test_nothing_is_wider_than_the_screen(width: int, hash: str, page: Page) -> None:
    page.emulate(width=width)
    page.open(hash)
    page.until("return document.documentElement.scrollWidth", what=lambda w: w <= width)


def test_controls_have_names(page: Page) -> None:
    for hash in ("", "#view=episodes", "#episode=12-0-0", "#view=config"):
        page.open(hash)
        nameless = page.js(
            "return [...document.querySelectorAll('button, input, select, a, meter, svg[role]')]"
            ".filter(e => !e.closest('[hidden]') && !(e.innerText || '').trim() &&"
            " !e.getAttribute('aria-label') && !e.labels?.length).map(e => e.outerHTML)"
        )
        assert nameless == []


def test_a_run_that_has_just_begun(page: Page, tmp_path: pathlib.Path) -> None:
    (tmp_path / "episodes.jsonl").write_text('{"step": 1, "ke')
    write_report(
        tmp_path, tmp_path / "empty.html", defaults=all_options(), console=Console(quiet=True)
    )
    empty = Page(page.driver, tmp_path / "empty.html")
    empty.open()
    assert "No step is complete yet" in empty.text("#overview")
    empty.go("#view=episodes")
    empty.until("return document.getElementById('episodes').innerText.includes('No episode')")


def test_what_was_left_out_is_said(page: Page, run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_report(
        run,
        tmp_path / "few.html",
        most_episodes=10,
        defaults=all_options(),
        console=Console(quiet=True),
    )
    few = Page(page.driver, tmp_path / "few.html")
    few.open("#view=episodes")
    assert "990 earlier episodes of this run are not in this file" in few.text("#left-out")
    assert len(few.listed()) == 10


def test_it_prints(page: Page) -> None:
    page.open("#episode=12-0-0")
    page.episode("12-0-0")
    pdf = page.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(pdf).startswith(b"%PDF")
