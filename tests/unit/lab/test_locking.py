"""One run at a time: over a folder, and over a file that several runs change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anvil.cli import recipes
from anvil.lab.locking import Busy, alone
from anvil.lab.recipes import registry


def test_a_place_is_held_until_the_block_ends(tmp_path: Path) -> None:
    with alone(tmp_path):
        with pytest.raises(Busy, match="another run"), alone(tmp_path):
            pass
        with alone(tmp_path.parent):
            pass
    with alone(tmp_path):
        pass


def test_recipes_written_at_once_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "recipes.toml"
    rows = [{"model": f"a/m{number}", "status": "unverified", "serve": {"engine": "vllm"}} for number in range(8)]

    def store(row: dict[str, object]) -> None:
        with recipes._alone(file):
            recipes._store(file, row, force=False)

    with ThreadPoolExecutor(8) as runs:
        list(runs.map(store, rows))
    assert {recipe.model for recipe in registry.read(file).recipes} == {row["model"] for row in rows}
