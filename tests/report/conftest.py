"""A browser without a network, and a page in it."""

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from browser import BROWSER, DRIVER, FLAGS, WHY, Page


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="the test extra brings selenium")
    assert BROWSER and DRIVER, WHY
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    started = webdriver.Chrome(options=options, service=service)
    off = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    started.execute_cdp_cmd("Network.enable", {})
    started.execute_cdp_cmd("Network.emulateNetworkConditions", off)
    yield started
    started.quit()


@pytest.fixture
def page(driver: Any, report: pathlib.Path) -> Iterator[Page]:
    """A tab for what the module's fixture `report` has written; it must stay without errors."""
    made = Page(driver, report)
    driver.get_log("browser")
    driver.get_log("performance")
    made.emulate()
    yield made
    assert made.errors() == []
    log = [entry["message"] for entry in driver.get_log("performance")]
    requests = [message for message in log if '"Network.requestWillBeSent"' in message]
    assert requests, "the log of requests works"
    elsewhere = [m for m in requests if '"url":"http' in m or '"url":"ws' in m]
    assert elsewhere == []
