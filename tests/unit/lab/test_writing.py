from __future__ import annotations

from pathlib import Path

import pytest

from anvil.lab.writing import WriteRefused, write_whole


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_whole(target, b"1")
    with pytest.raises(WriteRefused, match="--force"):
        write_whole(target, b"2")
    assert target.read_bytes() == b"1"
    write_whole(target, b"2", force=True)
    assert target.read_bytes() == b"2"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_missing_folder_needs_mkdir(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    with pytest.raises(WriteRefused, match="--mkdir"):
        write_whole(target, b"1")
    assert not target.parent.exists()
    write_whole(target, b"1", mkdir=True)
    assert target.read_bytes() == b"1"
