"""Where the committed evaluation lies, and a copy of it to break."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

EVALS = Path(__file__).parents[3] / "corpus" / "evals"
PLANNING = EVALS / "2026-06-20-planning-capability"


def copy(folder: Path, name: str = PLANNING.name) -> Path:
    shutil.copytree(PLANNING, folder / name)
    return folder / name


def edit(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
