"""A headless Chromium without a network, and a server on this machine for what must come over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

LIMIT_S = 120
"""For one script in a page."""


@contextmanager
def chromium(width: int = 1600, height: int = 1500) -> Iterator[Chrome]:
    """Debian's Chromium. It finds no name and no address but this machine's own."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    # root has no sandbox; the pages are ours
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_script_timeout(LIMIT_S)
    try:
        yield driver
    finally:
        driver.quit()


def console(driver: Chrome) -> list[str]:
    """What the page said on its console, errors and warnings included."""
    return [entry["message"] for entry in _log(driver, "browser")]


def _log(driver: Chrome, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = driver.get_log(name)  # type: ignore[no-untyped-call]
    return entries


def requests(driver: Chrome) -> list[str]:
    """Every address that the page has asked for."""
    events = [json.loads(entry["message"])["message"] for entry in _log(driver, "performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def ask(driver: Chrome, script: str, *arguments: Any) -> Any:
    """The value of an async function's body; what it throws is raised here."""
    wrapped = f"""const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);
        (async (...given) => {{ {script} }})(...given).then((v) => done([v, null]), (e) => done([null, e.stack]));"""
    value, error = driver.execute_async_script(wrapped, *arguments)
    assert error is None, error
    return value


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, while it is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
