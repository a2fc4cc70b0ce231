# SPDX-License-Identifier: GPL-3.0-or-later
"""A headless Chromium, spoken to over two pipes in its DevTools protocol: no driver, no library, no open port."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 60.0


class BrowserError(Exception):
    """What the browser refused, or what a script in it threw."""


class Chromium:
    """One browser with one page. `events` are all that it told since the page was opened."""

    def __init__(self) -> None:
        program = shutil.which("chromium")
        if program is None:
            raise BrowserError("There is no chromium: apt-get install chromium, or run bin/test, which does.")
        self.profile = tempfile.TemporaryDirectory(prefix="vf-chromium-", ignore_cleanup_errors=True)
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()

        def pipes() -> None:
            # The protocol is on the descriptors 3 and 4, which may be among these: out of the way first.
            reading, writing = os.dup(to_read), os.dup(to_write)
            high_reading, high_writing = 50, 51
            os.dup2(reading, high_reading)
            os.dup2(writing, high_writing)
            os.dup2(high_reading, 3, inheritable=True)
            os.dup2(high_writing, 4, inheritable=True)

        command = [program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.profile.name}"]
        command += ["--no-first-run", "--disable-gpu", "--disable-background-networking", "--disable-extensions"]
        command += ["--disable-dev-shm-usage", "--disable-component-update", "--mute-audio", "--hide-scrollbars"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")
        self._process = subprocess.Popen(
            [*command, "about:blank"], preexec_fn=pipes, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        os.set_blocking(self._from, False)
        self._left = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        self._session = ""
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self.profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result. Raises BrowserError."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self, waiting_for: str) -> dict[str, Any]:
        give_up = time.monotonic() + PATIENCE
        while b"\0" not in self._left:
            try:
                part = os.read(self._from, 1 << 20)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise BrowserError(f"Chromium said nothing for {PATIENCE:.0f} s after {waiting_for}.") from None
                time.sleep(0.005)
                continue
            if not part:
                raise BrowserError(f"Chromium ended at {waiting_for}.")
            self._left += part
        message, _null, self._left = self._left.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False) -> float:
        """Open a file; seconds until it was loaded and its script had run."""
        self.size(width, height)
        self.call(
            "Emulation.setEmulatedMedia",
            media="",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.events.clear()
        self.call("Performance.enable", timeDomain="threadTicks")
        start = time.monotonic()
        loader = self.call("Page.navigate", url=page.as_uri())["loaderId"]
        while not any(_is_load(event, loader) for event in self.events):
            self.events.append(self._next("Page.navigate"))
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
        return time.monotonic() - start

    def cpu(self) -> float:
        """Seconds of CPU that the page's main thread took, at most: busy machines do not count."""
        return float(
            {row["name"]: row["value"] for row in self.call("Performance.getMetrics")["metrics"]}["TaskDuration"]
        )

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise. Raises BrowserError."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def key(self, name: str, code: str, text: str = "") -> None:
        """Press a key and let go of it."""
        number = {"Enter": 13, "Tab": 9}.get(name, ord(text.upper()) if text else 0)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=name, code=code, windowsVirtualKeyCode=number,
                **({"text": text} if text and kind == "keyDown" else {}),
            )  # fmt: skip

    def complaints(self) -> list[str]:
        """Errors and warnings of scripts, of the content policy, and of the browser about this page."""
        found = []
        for event in self.events:
            said = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(said["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                found.append(str(said["args"]))
            elif event["method"] == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
                found.append(said["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Addresses that were asked for, but for the page itself and what lies in it."""
        asked = [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked[1:] if not url.startswith("data:")]

    def picture(self, path: Path, whole: bool = False) -> None:
        """A screenshot, of what is in the window or of the whole page."""
        parameters: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            box = self.call("Page.getLayoutMetrics")["cssContentSize"]
            height = min(box["height"], 6000)
            parameters["clip"] = {"x": 0, "y": 0, "width": box["width"], "height": height, "scale": 1}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"]))

    def paper(self, path: Path) -> None:
        """The page as it would be printed, as PDF."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF")["data"]))


def _is_load(event: dict[str, Any], loader: str) -> bool:
    said = event.get("params", {})
    return event.get("method") == "Page.lifecycleEvent" and said["name"] == "load" and said["loaderId"] == loader
