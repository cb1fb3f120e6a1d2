"""Imported tools against their documents: what one allows or forbids, the other does too."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from import_differences import Comparison
from random_calls import Calls
from random_documents import DIALECTS, Documents, as_yaml
from reference_schemas import Reference

from trustee_jax.toolsets.importing import ImportReport, Limits, normalise, read
from trustee_jax.toolsets.schema import function_problems

LIMITS = (Limits(bytes=40_000, depth=6), Limits(bytes=40_000, depth=2), Limits())


def compared(seed: int, folder: Path, counts: Counter[str]) -> list[str]:
    """The unexplained differences of one random document, and what was counted on the way."""
    rng = random.Random(seed)
    document = Documents(rng, rng.choice(DIALECTS)).document()
    is_yaml = rng.random() < 0.5
    file = folder / ("api.yaml" if is_yaml else "api.json")
    file.write_text(as_yaml(document, rng) if is_yaml else json.dumps(document))
    limits = rng.choice(LIMITS)
    report = ImportReport()
    items = read("openapi", str(file), limits=limits)
    tools = list(normalise(items, report, limits=limits))
    counts["documents"] += 1
    assert len(tools) + report.dropped.total() == 1
    for reason in report.dropped:
        counts[f"dropped: {reason}"] += 1
    found = []
    for tool in tools:
        counts["tools"] += 1
        assert not function_problems(tool.openai()["function"]), seed
        reference = Reference(document)
        if reference.is_endless():  # which `jsonschema` cannot check
            counts["endless"] += 1
            continue
        comparison = Comparison(reference, tool, set(report.changed))
        calls = Calls(reference, rng)
        for _ in range(25):
            found += comparison.differences(calls.call())
        counts["calls"] += comparison.compared
        counts["allowed by both"] += comparison.allowed
        counts["forbidden by both"] += comparison.forbidden
        for reason, number in comparison.excused.items():
            counts[f"explained: {reason}"] += number
    return [f"seed {seed}: {difference}" for difference in found]


def test_tools_allow_what_their_documents_allow_and_no_more(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    found = [line for seed in range(150) for line in compared(seed, tmp_path, counts)]
    assert not found, "\n".join(found)
    assert counts["tools"] > 130 and counts["allowed by both"] > 800, counts
    assert counts["forbidden by both"] > 800, counts


@pytest.mark.slow
def test_thousands_of_documents(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    found = [line for seed in range(2_500) for line in compared(seed, tmp_path, counts)]
    for name, number in counts.most_common():
        print(f"{number:>7}  {name}")
    assert not found, "\n".join(found)
