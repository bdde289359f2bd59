"""One line of a check of a host: PASS, WARN or FAIL, and why."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["PASS", "WARN", "FAIL"]


class Line(Struct, frozen=True):
    level: Level
    check: str
    detail: str
