"""What must be right on the controller before a deploy is worth running (contract lab.md 3). Looks, never changes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["PASS", "WARN", "FAIL"]


class Check(Struct, frozen=True):
    """One line of the report."""

    level: Level
    name: str
    detail: str
