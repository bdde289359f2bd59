"""An observer inside the router that counts its unfinished asyncio tasks whenever a caller asks for model ``COUNT``.

Metrics say what the router believes it has in flight; this says what its event loop still holds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from pathlib import Path
from typing import Any

COUNT = "soak-count"
FILE = "ANVIL_SOAK_TASKS"


def note(record: Any) -> None:
    if record.caller_model != COUNT:
        return
    gc.collect()
    tasks = [item for item in gc.get_objects() if isinstance(item, asyncio.Task) and not item.done()]
    names = sorted(getattr(task.get_coro(), "__qualname__", "?") for task in tasks)
    Path(os.environ[FILE]).write_text(json.dumps(names))
