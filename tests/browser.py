"""Chromium without a window, spoken to over a pipe, so that tests need nothing but the program itself."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


class Browser:
    """One page of a browser. `heard` holds the events that came in while a call was answered."""

    def __enter__(self) -> "Browser":
        (read_here, self._write), (self._read, write_there) = os.pipe(), os.pipe()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # The browser reads from its third channel and writes to its fourth.
        joined = f'exec "$0" "$@" 3<&{read_here} 4>&{write_there}'
        command = ["bash", "-c", joined, CHROMIUM, *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(read_here, write_there), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(read_here)
        os.close(write_there)
        self._buffer, self._number, self.heard, self._session = b"", 0, [], None
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_) -> None:
        with suppress(OSError, EOFError):
            self._session = None
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        os.close(self._read)
        os.close(self._write)
        self._folder.cleanup()

    def call(self, method: str, **params) -> dict:
        """Ask for something of the DevTools protocol and return the result."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            self.heard.append(message)

    def open(self, file: Path, width: int, dark: bool, height: int = 900) -> None:
        """Show a file as on a screen of that width in CSS pixels."""
        self.heard.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=Path(file).resolve().as_uri())
        while not any(message.get("method") == "Page.loadEventFired" for message in self.heard):
            self.heard.append(self._next())

    def run(self, script: str):
        """Return what a JavaScript expression, or the promise that it is, is worth on the page."""
        asked = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in asked, asked
        return asked["result"].get("value")

    def complaints(self) -> list[str]:
        """Return what the page wrote to its console or threw."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(message["params"]) for message in self.heard if message.get("method") in kinds]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for, the page's own first."""
        return [
            message["params"]["request"]["url"]
            for message in self.heard
            if message.get("method") == "Network.requestWillBeSent"
        ]

    def picture(self, file: Path, whole: bool = True) -> None:
        """Write a PNG of the page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png", **self._clip(whole))
        Path(file).write_bytes(base64.b64decode(data["data"]))

    def _clip(self, whole: bool) -> dict:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _next(self) -> dict:
        while b"\0" not in self._buffer:
            read = os.read(self._read, 1 << 20)
            if not read:
                raise EOFError("the browser is gone")
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
