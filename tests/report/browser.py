"""A browser that has a page open, for the tests that look at it as a reader does."""

import os
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
REQUIRED = os.environ.get("TRUSTEE_BROWSER") == "required"
WHY = "needs a browser: apt-get install chromium chromium-driver"
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER) and not REQUIRED, reason=WHY),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
]


class Page:
    """A browser tab that has a report open."""

    def __init__(self, driver: Any, file: pathlib.Path) -> None:
        self.driver = driver
        self.url = file.as_uri()

    def open(self, hash: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(self.url + hash)
        self.until("return document.documentElement.dataset.ready !== undefined")
        # Charts are drawn when they know their width.
        self.until(
            "return [...document.querySelectorAll('.plot')]"
            ".every(plot => !plot.checkVisibility() || plot.querySelector('svg'))"
        )

    def go(self, hash: str) -> None:
        self.js("location.hash = arguments[0]", hash)

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *arguments: Any, what: Callable[[Any], bool] = bool) -> Any:
        end = time.monotonic() + 30
        while True:
            value = self.js(script, *arguments)
            if what(value):
                return value
            assert time.monotonic() < end, f"{script}: {value!r}\n{self.errors()}"
            time.sleep(0.02)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return self.js("return document.querySelector(arguments[0]).innerText", selector)

    def choose(self, name: str, value: str) -> None:
        self.js(
            "const control = document.querySelector(`.filters [name=${arguments[0]}]`);"
            "control.value = arguments[1];"
            "control.dispatchEvent(new Event('input', {bubbles: true}))",
            name,
            value,
        )

    def found(self, text: str) -> None:
        self.until("return document.getElementById('found').innerText", what=text.__eq__)

    def listed(self) -> list[str]:
        return self.js(
            "return [...document.querySelectorAll('.list tbody th')].map(e=>e.innerText)"
        )

    def episode(self, key: str) -> None:
        self.until(
            "return document.querySelector('#episode h2')?.innerText",
            what=f"Episode {key}".__eq__,
        )

    def press(self, key: str) -> None:
        self.js(
            "document.activeElement.dispatchEvent("
            "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))",
            key,
        )

    def emulate(self, *, dark: bool = False, width: int = 1280) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]
