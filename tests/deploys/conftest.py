"""Fixtures of the operation tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on @local that stands for a machine's root."""
    return tmp_path
