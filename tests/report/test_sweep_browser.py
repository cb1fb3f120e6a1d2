"""The page of a sweep in a real browser."""

import pathlib

import browser
import pytest
import synthetic_run
from browser import Page
from rich.console import Console

from trustee_jax.config import all_options
from trustee_jax.report.sweep import SweepRun, write_sweep

pytestmark = browser.MARKS

HOSTILE = f"<b>&{synthetic_run.INJECTION}"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("sweep")
    runs = []
    for number, rate in enumerate((0.1, 0.5)):
        for seed in range(3):
            name = f"learner.learning_rate={rate},seed={seed}"
            steps = 12 - 4 * (seed == 2)
            synthetic_run.write_run(root / name, steps=steps, tasks=1, group=2, seed=number + seed)
            variant, state = f"learner.learning_rate={rate}", "complete" if seed < 2 else "failed"
            note = HOSTILE if seed == 2 else ""
            runs.append(SweepRun(name, variant, root / name, state, steps, 12, note))
    runs.append(SweepRun("base", HOSTILE, root / "base", "new", 0, 12))
    return write_sweep(
        [run.read() for run in runs],
        root,
        base="configs/debug.py",
        file="sweeps/my_sweep.py",
        defaults=all_options(),
        console=Console(quiet=True),
    )


def test_the_tables_and_the_way_to_a_run(page: Page) -> None:
    page.open()
    assert "4 of 7 complete" in page.text(".facts")
    rows = "return [...document.querySelectorAll('#variants tbody tr')].map(row => row.innerText)"
    variants = page.js(rows)
    assert len(variants) == 3 and HOSTILE in variants[2]
    assert all("2/3" in row and "±" in row for row in variants[:2]) and "±" not in variants[2]
    runs = page.text("#runs")
    assert "failed 8/12" in runs and "new 0/12" in runs and HOSTILE in runs
    words = page.text("#sweep").lower().split()
    assert not {"null", "undefined", "nan", "[object"} & set(words)
    assert page.js("return document.querySelectorAll('#runs tbody a').length") == 6
    page.find("#runs tbody a").click()
    page.until("return document.querySelector('#overview')?.innerText.includes('Mean reward')")
    assert page.text("#run-name") == "learner.learning_rate=0.1,seed=0"


def test_a_curve_has_the_band_of_its_runs(page: Page) -> None:
    page.open()
    assert page.js("return document.querySelectorAll('.chart').length") >= 4
    # From the least to the most at each of the 12 steps, and back.
    outline = page.js("return document.querySelector('.chart .band').getAttribute('d')")
    assert outline.count("L") == 23 and outline.endswith("z") and "NaN" not in outline
    inside = page.js(
        "const chart = document.querySelector('.chart');"
        "const dots = [...chart.querySelectorAll('.dot.c0')].map(d => +d.getAttribute('cy'));"
        "const edge = chart.querySelector('.band.c0').getAttribute('d').slice(1, -1).split('L')"
        ".map(point => +point.split(' ')[1]);"
        "return dots.length === 12 && dots.every((y, i) =>"
        " y <= edge[i] + 0.1 && y >= edge[edge.length - 1 - i] - 0.1)"
    )
    assert inside
    page.js("document.querySelector('.chart svg').focus()")
    page.press("End")
    tip = page.until("const t = document.querySelector('.tip:not([hidden])'); return t?.innerText")
    assert tip.startswith("Step 12") and " to " in tip and "Click" not in tip
    page.press("Enter")
    assert page.js("return location.hash") == ""


def test_all_other_metrics_unfold(page: Page) -> None:
    page.open()
    page.js("document.querySelector('details.group').open = true")
    page.until(
        "return [...document.querySelectorAll('details.group .plot')].length > 20 &&"
        "[...document.querySelectorAll('details.group .plot')].every(p => p.querySelector('svg'))"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    page.emulate(width=width, dark=width == 390)
    page.open()
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")
