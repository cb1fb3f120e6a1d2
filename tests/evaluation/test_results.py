"""A folder of results belongs to one evaluation."""

import json

import pytest

from trustee_jax.evaluation import results
from trustee_jax.evaluation.results import (
    Record,
    ResultsError,
    ResultsFolder,
    Verdict,
    read_results,
)
from trustee_jax.jsonl import LogError

IDENTITY = {"bfcl_eval": "1", "model": "m", "step": 3, "sampling": {"temperature": 0.0}}
RIGHT = Record("simple_java_0", "simple_java", {"strict": Verdict(True)}, [["é"]], 4)


def fill(folder, identity=IDENTITY):
    with ResultsFolder(folder, identity, {"commit": "c"}) as opened:
        opened.add_category("simple_java", 100)
        opened.add(RIGHT)


def test_what_is_written_is_read(tmp_path):
    fill(tmp_path)
    found = read_results(tmp_path)
    assert found.records == {"simple_java_0": RIGHT}
    assert found.meta.pop("seconds") >= 0
    assert found.meta == {"identity": IDENTITY, "commit": "c", "sizes": {"simple_java": 100}}


def test_the_seconds_of_all_parts_are_added_up(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(results.time, "monotonic", lambda: now[0])
    for spent in (40.0, 2.5):
        with ResultsFolder(tmp_path, IDENTITY, {}) as folder:
            now[0] += spent
        assert "seconds" not in folder.meta  # or a summary would tell when it was cut
        now[0] += 1000.0
    assert read_results(tmp_path).meta["seconds"] == 42.5


def test_results_of_some_categories(tmp_path):
    fill(tmp_path)
    found = read_results(tmp_path)
    assert found.only(["simple_java", "multiple"]).records == found.records
    assert found.only(["multiple"]).records == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bfcl_eval", "2"),
        ("model", "n"),
        ("step", 4),
        ("step", None),
        ("sampling", {"temperature": 0.5}),
        ("lenient", True),
    ],
)
def test_another_evaluation_is_refused_in_one_line(tmp_path, field, value):
    fill(tmp_path)
    with pytest.raises(ResultsError) as caught:
        fill(tmp_path, IDENTITY | {field: value})
    message = str(caught.value)
    old = IDENTITY.get(field, "(nothing)")
    assert f"another {field}: {old!r} there, {value!r} given" in message
    assert "\n" not in message
    assert read_results(tmp_path).records == {"simple_java_0": RIGHT}


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot be the folder"):
        ResultsFolder(tmp_path / "file", IDENTITY, {})
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(ResultsError, match=r"no meta\.json that says whose"):
        ResultsFolder(tmp_path, IDENTITY, {})
    with pytest.raises(ResultsError, match="holds no results of an evaluation"):
        read_results(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    for open_folder in (read_results, lambda path: ResultsFolder(path, IDENTITY, {})):
        with pytest.raises(ResultsError, match=r"meta\.json is damaged"):
            open_folder(tmp_path)


def test_damage_is_named_and_not_overwritten(tmp_path):
    fill(tmp_path)
    lines = tmp_path / "results.jsonl"
    lines.write_text("{}\n" + lines.read_text())
    with pytest.raises(LogError, match="line 1"):
        ResultsFolder(tmp_path, IDENTITY, {})
    with pytest.raises(ResultsError, match=r"results\.jsonl cannot be read"):
        read_results(tmp_path)
    assert json.loads(lines.read_text().splitlines()[1])["id"] == "simple_java_0"
