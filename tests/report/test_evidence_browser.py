"""The page of `trustee prove` in a real browser."""

import pathlib

import browser
import pytest
import synthetic_run
from browser import Page

from trustee_jax.evaluation.results import Record, Results, Verdict
from trustee_jax.evidence import summary
from trustee_jax.evidence.findings import Measured, find
from trustee_jax.evidence.subjects import Role, Subject
from trustee_jax.report.evidence import write_evidence
from trustee_jax.report.sweep import SweepRun

pytestmark = browser.MARKS

HOSTILE = f"<b>&{synthetic_run.INJECTION}"


def answered(right: int) -> Results:
    """Forty cases of two categories, of which the first are right."""
    records = {}
    for name in ("simple_python", "irrelevance"):
        for place in range(40):
            verdict = Verdict(place < right)
            verdicts = {"strict": verdict, "lenient": verdict}
            id = f"{name}_{place}"
            records[id] = Record(id, name, verdicts, [["words"]])
    sizes = dict.fromkeys(("simple_python", "irrelevance"), 400)
    return Results({"identity": {"bfcl_eval": "1", "model": HOSTILE}, "sizes": sizes}, records)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("prove")
    policies: list[tuple[str, Role, int]] = [
        ("base", "base", 10),
        ("trained", "trained", 30),
        ("shuffled rewards", "control", 12),
        (HOSTILE, "other", 20),
    ]
    measured, runs = [], []
    for number, (name, role, right) in enumerate(policies):
        folder, step = root / str(number), 12 if number else 0
        subject = Subject(name, role, folder, step)
        if step:
            synthetic_run.write_run(folder, steps=step, tasks=2, group=3, seed=number)
            runs.append(SweepRun(name, name, folder, "complete", step, step).read())
        measured.append(Measured(subject, answered(right), None, 3600.0, None))
    found = summary.to_json(find(measured, answered(10), {"seed 1": HOSTILE}))
    page = root / "prove.html"
    write_evidence(found, runs, page, HOSTILE)
    return page


def test_claims_figures_and_curves_are_there(page: Page) -> None:
    page.open()
    assert "4 of 4 hold" in page.text(".facts")
    claims = page.js(
        "return [...document.querySelectorAll('#claims li')].map(one => one.innerText)"
    )
    assert len(claims) == 4 and all(text.startswith("yes") for text in claims)
    assert "trained is better than base (read leniently) on calls: yes. 30 against 10" in claims[0]
    assert "Holm" in page.text("#claims .note")
    policies = page.text("#policies")
    assert "30/40 = 75%" in policies and f"not there: seed 1 ({HOSTILE})" in policies
    assert policies.count(HOSTILE) == 4  # its row, two comparisons, what is not there
    rows = page.js("return document.querySelectorAll('#categories tbody tr').length")
    assert rows == 6  # two categories and all cases, of two readings
    assert "+50.0 (+" in page.text("#categories")
    words = page.text("#sweep").lower().split()
    assert not {"null", "undefined", "nan", "[object"} & set(words)
    assert page.js("return document.querySelectorAll('.chart').length") >= 4
    legend = page.text(".chart")
    assert "trained" in legend and "shuffled rewards" in legend and HOSTILE in legend
