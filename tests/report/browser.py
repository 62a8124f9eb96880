"""A headless Chromium, spoken to over a pipe in its DevTools protocol: no driver, no port, no library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60.0


def executable() -> str | None:
    """The browser, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One browser with one tab. Use as a context manager."""

    def __init__(self, profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        words = [
            str(executable()),
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--no-first-run",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]

        def as_the_protocol_wants() -> None:
            read, write = os.dup(to_read), os.dup(to_write)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            words,
            close_fds=False,
            preexec_fn=as_the_protocol_wants,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._count, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._read)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; events that arrive meanwhile are kept."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda found: found.get("id") == self._count)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            while b"\0" in self._rest:
                line, self._rest = self._rest.split(b"\0", 1)
                found = json.loads(line)
                if "id" not in found:
                    self.events.append(found)
                if wanted(found):
                    return dict(found)
            if select.select([self._read], [], [], 1.0)[0]:
                self._rest += os.read(self._read, 1 << 20)
        raise TimeoutError("the browser did not answer")

    def open(self, path: Path, width: int = 1000, height: int = 900, scheme: str = "light") -> None:
        """Show a file and wait until it is loaded."""
        self.resize(width, height)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._until(lambda found: found.get("method") == "Page.loadEventFired")

    def resize(self, width: int, height: int = 900) -> None:
        """The window's size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, evaluated beside the page's own policy."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened, beside itself."""
        asked = [event["params"]["request"]["url"] for event in self.events_named("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith("data:")][1:]

    def complaints(self) -> list[str]:
        """What the browser wrote to its console."""
        logged = [event["params"]["entry"]["text"] for event in self.events_named("Log.entryAdded")]
        return [*logged, *(str(event["params"]) for event in self.events_named("Runtime.consoleAPICalled"))]

    def events_named(self, name: str) -> list[dict[str, Any]]:
        """Events of one kind."""
        return [event for event in self.events if event["method"] == name]

    def picture(self, path: Path, whole: bool = True) -> Path:
        """A screenshot, as a PNG file."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def pdf(self, background: bool = True) -> bytes:
        """The page as it is printed; `background`: with colours behind words, which people have to ask for."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=background)["data"])
