"""A real headless Chromium, told what to do over its DevTools pipe: no driver, no port, no dependency."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--no-proxy-server", "--window-size=1280,900", "--remote-debugging-pipe",
)  # fmt: skip
ANSWER_S = 30.0
POLL_S = 0.1


class PageError(Exception):
    """The page's script threw, or the browser refused a command; the text is the browser's."""


class Page:
    """One tab. ``problems`` gathers uncaught exceptions and what the content security policy blocked."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.problems: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result. Raises PageError, and TimeoutError after 30 s."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        limit = time.monotonic() + ANSWER_S
        while True:
            message = self._read(limit)
            if message.get("id") == self._number:
                break
            self._note(message)
        if "error" in message:
            raise PageError(f"{method}: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def _read(self, limit: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, limit - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser did not answer")
            data = os.read(self._answers, 1 << 16)
            if not data:
                raise PageError("the browser ended")
            self._buffer += data
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:2000])
        if message.get("method") == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.problems.append(params["entry"]["text"])

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise PageError(json.dumps(done["exceptionDetails"])[:2000])
        return done["result"].get("value")

    def shown(self) -> str:
        """The text that a reader sees: hidden parts are not in it."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def until(self, *words: str, within_s: float = 15.0) -> str:
        """What is shown once every word is; fails with what is shown instead."""
        limit = time.monotonic() + within_s
        while not all(word in (text := self.shown()) for word in words):
            if time.monotonic() > limit:
                raise AssertionError(f"not shown: {[w for w in words if w not in text]}; shown:\n{text}{self.problems}")
            time.sleep(POLL_S)
        return text

    def type(self, text: str) -> None:
        """Text and the enter key into the field that has the focus."""
        self.send("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            self.send("Input.dispatchKeyEvent", type=kind, **key)

    def picture(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Page]:
    """A fresh browser with a profile of its own in ``folder``; ended with the block."""
    ours, theirs = _pipe(), _pipe()
    # the browser reads from 3 and writes to 4; a shell moves our ends there without running Python after a fork
    argv = ["bash", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash", program, *FLAGS]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            pass_fds=(ours[0], theirs[1]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"HOME": str(folder)},
        )
    os.close(ours[0])
    os.close(theirs[1])
    try:
        yield Page(ours[1], theirs[0])
    finally:
        os.close(ours[1])  # the end of its commands makes the browser leave
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(theirs[0])


def _pipe() -> tuple[int, int]:
    """A pipe whose ends lie above 9, so that moving one to 3 or 4 cannot hit the other."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
