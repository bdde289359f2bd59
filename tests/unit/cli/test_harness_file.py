"""A user's file is replaced whole or not at all, and stays whose it was and where it was."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from anvil.cli import harness_file
from anvil.cli.harness_place import place

NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """In a folder whose name has what shells and globs trip over."""
    folder = tmp_path / "my [home] *"
    folder.mkdir()
    found = folder / "settings.json"
    found.write_text("old")
    return found


def names(file: Path) -> list[str]:
    return sorted(each.name for each in file.parent.iterdir())


def test_a_full_disk_leaves_everything_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            harness_file.replace(file, b"old", "new")
        with pytest.raises(OSError, match="No space"):
            harness_file.replace(file.with_name("other.json"), None, "new")
    assert names(file) == ["settings.json"]
    assert file.read_text() == "old"


@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_a_file_marked_read_only_is_left_alone(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(OSError, match="read-only"):
        harness_file.replace(file, b"old", "new")
    assert names(file) == ["settings.json"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_mode_stays_also_of_the_backup(file: Path, mode: int) -> None:
    file.chmod(mode)
    backup = harness_file.replace(file, b"old", "new")
    assert backup is not None
    assert [each.stat().st_mode & 0o7777 for each in (file, backup)] == [mode, mode]
    assert (file.read_text(), backup.read_text()) == ("new", "old")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes other people's files")
def test_root_leaves_the_files_of_others_theirs(file: Path) -> None:
    for each in (file.parent, file):
        os.chown(each, NOBODY, NOBODY)
    backup = harness_file.replace(file, b"old", "new")
    folder = file.parent / "a/b"
    harness_file.make_folder(folder)
    harness_file.replace(folder / "made.json", None, "{}")
    assert backup is not None
    for each in (file, backup, folder.parent, folder, folder / "made.json"):
        assert (each.stat().st_uid, each.stat().st_gid) == (NOBODY, NOBODY), each
    assert (folder / "made.json").stat().st_mode & 0o7777 == harness_file.PRIVATE


def test_the_newest_ten_backups_stay(file: Path) -> None:
    mine = file.with_name("settings.json.anvil-of-mine")
    mine.write_text("not a backup")
    for number in range(14):
        before = file.read_bytes()
        backup = harness_file.replace(file, before, f"text {number}")
        assert backup is not None
        os.utime(backup, (number, number))
    left = {each.read_text() for each in file.parent.glob("settings.json.anvil-????????")}
    assert left == {f"text {number}" for number in range(3, 13)}
    assert mine.exists()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no file"):
        harness_file.read(pipe)
    with pytest.raises(IsADirectoryError):
        harness_file.read(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        harness_file.read(tmp_path / "loop")


def test_a_link_that_leads_nowhere_yet_is_written_through(tmp_path: Path) -> None:
    link = tmp_path / "settings.json"
    link.symlink_to("dotfiles.json")
    assert harness_file.replace(link, harness_file.read(link), "new") is None
    assert link.is_symlink()
    assert (tmp_path / "dotfiles.json").read_text() == "new"


@pytest.mark.parametrize(
    ("client", "usual", "variables", "found"),
    [
        ("claude-code", "~/.claude/settings.json", {"CLAUDE_CONFIG_DIR": "/x/c"}, "/x/c/settings.json"),
        ("codex", "~/.codex/config.toml", {"CODEX_HOME": "/my codex"}, "/my codex/config.toml"),
        ("opencode", "~/.config/opencode/opencode.json", {"XDG_CONFIG_HOME": "/x"}, "/x/opencode/opencode.json"),
        ("pi", "~/.pi/agent/models.json", {"PI_CODING_AGENT_DIR": "~/pi"}, "/home/me/pi/models.json"),
        ("openclaw", "~/.openclaw/openclaw.json", {"OPENCLAW_CONFIG_PATH": "/x/mine.json5"}, "/x/mine.json5"),
        ("openclaw", "~/.openclaw/openclaw.json", {"OPENCLAW_STATE_DIR": "/x"}, "/x/openclaw.json"),
        ("openclaw", "~/.openclaw/openclaw.json", {"OPENCLAW_HOME": "/x"}, "/x/.openclaw/openclaw.json"),
        (
            "openclaw",
            "~/.openclaw/openclaw.json",
            {"OPENCLAW_HOME": "/h", "OPENCLAW_STATE_DIR": "/s", "OPENCLAW_CONFIG_PATH": "/f"},
            "/f",
        ),
        ("codex", "~/.codex/config.toml", {"CODEX_HOME": "", "XDG_CONFIG_HOME": "/x"}, "/home/me/.codex/config.toml"),
    ],
)
def test_a_client_that_was_moved_is_found(
    client: str, usual: str, variables: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert place(client, usual, None, variables) == Path(found)
    assert place(client, usual, Path("/other"), variables) == Path("/other") / usual[2:]


def test_opencode_gives_a_jsonc_beside_its_file_the_last_word(tmp_path: Path) -> None:
    usual = "~/.config/opencode/opencode.json"
    folder = tmp_path / ".config/opencode"
    folder.mkdir(parents=True)
    assert place("opencode", usual, tmp_path) == folder / "opencode.json"
    (folder / "opencode.jsonc").write_text("{}")
    assert place("opencode", usual, tmp_path) == folder / "opencode.jsonc"
