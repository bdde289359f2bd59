"""What the guard knows of memory, and that not knowing is no reason to refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anvil.multiplexer.guard import available_ram, budget, free_vram
from tests.unit.multiplexer.parts import row


def test_available_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       65000000 kB\nMemAvailable:   50000000 kB\n")
    assert available_ram(file) == pytest.approx(51.2)
    file.write_text("MemTotal:       65000000 kB\n")
    assert available_ram(file) is None
    assert available_ram(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("output", "code", "free"),
    [("24000\n", 0, 25.17), ("24000\n8000\n", 0, None), ("", 0, None), ("[N/A]\n", 0, None), ("9\n", 6, None)],
)
async def test_free_memory_of_the_one_card(tmp_path: Path, output: str, code: int, free: float | None) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!{sys.executable}\nprint({output!r}, end="")\nraise SystemExit({code})\n')
    program.chmod(0o755)
    found = await free_vram(None, str(program))
    assert found == (None if free is None else pytest.approx(free, abs=0.01))


async def test_the_named_card_is_asked_about(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$*" in *--id=GPU-7*) echo 1000 ;; *) echo 1; echo 2 ;; esac\n')
    program.chmod(0o755)
    assert await free_vram("GPU-7", str(program)) == pytest.approx(1.0486, abs=0.001)
    assert await free_vram(None, str(tmp_path / "none")) is None


def test_a_budget_is_known_only_when_both_parts_are() -> None:
    old = row("a")
    assert budget(10, None, None) == 10
    assert budget(10, old, 5) == 15
    assert budget(10, old, None) is None
    assert budget(None, old, 5) is None
