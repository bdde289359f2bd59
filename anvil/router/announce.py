"""Lines of the main process on stderr: it forks workers, so it has no log thread (contract 3.4)."""

from __future__ import annotations

import sys
import time
from typing import Literal

import msgspec

from anvil.router.decisions.record import timestamp
from anvil.router.redact import Scrubber

Level = Literal["info", "warning", "error"]
Format = Literal["text", "json"]

_scrub = Scrubber().scrub


def say(message: str, *, level: Level = "info", format: Format = "text") -> None:
    """One scrubbed line: ``anvil: message``, or JSON of the same members as the worker's own lines."""
    clean = _scrub(message)
    if format == "json":
        members = {"ts": timestamp(time.time()), "level": level, "message": clean}
        sys.stderr.write(msgspec.json.encode(members).decode() + "\n")
    else:
        sys.stderr.write(f"anvil: {clean}\n")
    sys.stderr.flush()
