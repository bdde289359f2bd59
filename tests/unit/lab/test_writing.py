from __future__ import annotations

import os
from pathlib import Path

import pytest

from anvil.lab.writing import WriteRefused, check_target, write_whole


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


def test_a_link_stays_a_link_and_a_private_file_private(tmp_path: Path) -> None:
    real, link = tmp_path / "elsewhere" / "topology.toml", tmp_path / "topology.toml"
    real.parent.mkdir()
    real.write_bytes(b"1")
    real.chmod(0o600)
    link.symlink_to("elsewhere/topology.toml")
    write_whole(link, b"2", force=True)
    assert (link.is_symlink(), real.read_bytes(), real.stat().st_mode & 0o777) == (True, b"2", 0o600)
    assert [p.name for p in real.parent.iterdir()] == ["topology.toml"]


def test_what_is_no_plain_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, Path("/dev/null")):
        with pytest.raises(WriteRefused, match="no plain file"):
            check_target(target, force=True)
