"""Observers for the tests: one that notes ids in the file OBSERVED names, then fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def note(record: Any) -> None:
    with Path(os.environ["OBSERVED"]).open("a") as file:
        file.write(record.id + "\n")
    raise RuntimeError("an observer's own trouble")
