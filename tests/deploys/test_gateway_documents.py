"""What an operator's document may be like when a sync meets it: joined, or left as it is with a word on what to do.

The production editor, the real write, and an owner for whom permissions count.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anvil.deploys.gateway_document import joined, judge
from anvil.harness import openclaw
from anvil.harness.json5_document import MAX_BYTES, parse
from anvil.harness.openclaw_features import Features
from anvil.harness.refusal import Refusal
from anvil.hosts.json_file import Edit, json_file
from tests.deploys import sshd
from tests.deploys.play import Run, play
from tests.unit.harness.samples import FIVE

OWNED = openclaw.document(FIVE)
# Every key that is not ours is wrong to this one, wherever it stands.
STRICT = """#!/bin/sh
[ "$*" = "config validate --json" ] || exit 64
grep -q agents_typo "$OPENCLAW_CONFIG_PATH" && typo='{"path":"agents_typo","message":"Unrecognized key"}'
grep -q "$NEW_PROBLEM" "$OPENCLAW_CONFIG_PATH" && new='{"path":"models","message":"Unrecognized key"}'
echo "[plugins] chatter"
echo "a slow database" >&2
if [ -n "$typo$new" ]; then
  echo "{\\"valid\\": false, \\"issues\\": [$typo${typo:+${new:+,}}$new]}"
  exit 1
fi
echo '{"valid": true, "warnings": []}'
"""


class Owner:
    """A folder with a document, and somebody it belongs to who is not root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "openclaw.json"

    def write(self, content: bytes, mode: int = 0o640) -> bytes:
        self.config.write_bytes(content)
        self.config.chmod(mode)
        sshd.own(self.config)
        return content

    def sync(self, edit: Any = None, judged: Any = lambda on, candidate, live: (), **run: Any) -> Run:
        who = {"_su_user": sshd.user(), "_su_shell": "/bin/sh"} if os.getuid() == 0 else {}
        arguments = {"path": str(self.config), "edit": edit or editor(), "judge": judged, **who}
        return play((json_file, arguments), **run)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def editor(features: Features | None = None, rewrite: bool = False) -> Any:
    return lambda content: joined(content, OWNED, features or Features(), rewrite=rewrite)


@pytest.fixture
def owner(caplog: pytest.LogCaptureFixture) -> Iterator[Owner]:
    caplog.set_level("INFO")
    made = Path(tempfile.mkdtemp(prefix="anvil-document-", dir="/tmp"))
    made.chmod(0o755)
    yield Owner(sshd.own(made))
    shutil.rmtree(made)


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"{\n  // mine\n  gateway: {port: 1}, /* two */\n}", ["// mine\n", "gateway: {port: 1}", "/* two */"]),
        (b'{"gateway": {"port": 1,},}', ['"gateway": {"port": 1,}']),
        (b'{"gateway": {"port": 1}, "nobody_knows": {"deep": [1, {"x": null}]}}', ["nobody_knows", '"x": null']),
        (b'\xef\xbb\xbf{"gateway": {"port": 1}}', ['"port": 1']),
        (b'{"agents": {"defaults": {"model": "openai/gpt-5.5"}}}', ['"model": "openai/gpt-5.5"']),
        (b'{"models": null, "gateway": 1}', ['"gateway": 1']),
        (b'{"name": "\\ud83d\\ude00 \xc3\xa9"}', ["\U0001f600 é"]),
        (b" \n", []),
        (b"", []),
    ],
)
def test_it_is_joined_backed_up_and_then_in_step(owner: Owner, content: bytes, kept: list[str]) -> None:
    original = owner.write(content)
    assert owner.sync().changed() == [True]
    text = owner.config.read_text(encoding="utf-8")
    assert all(part in text for part in kept), text
    assert text.endswith("\n")
    document, _ = parse(text.encode())
    assert document["models"]["providers"]["anvil"] == OWNED["models"]["providers"]["anvil"]
    (backup,) = (path for path in owner.folder.iterdir() if path != owner.config)
    assert (backup.read_bytes(), stat.S_IMODE(backup.stat().st_mode)) == (original, 0o640)
    assert (owner.config.owner(), stat.S_IMODE(owner.config.stat().st_mode)) == (sshd.user(), 0o640)
    assert editor()(owner.config.read_bytes()).text is None


COMMENT_IN_OURS = b"{models: {providers: {anvil: {models: [{id: 'gone', /* why */ name: 'x'}]}}}}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (COMMENT_IN_OURS, "line 1: its comment would be lost; move it out of our part, or allow plain JSON"),
        (COMMENT_IN_OURS, "--data allow_rewrite=true); by hand, this must change:\n--- document (live)"),
        (b"[]", "top level is an array, an object is needed; mend it on the gateway"),
        (b'{"gateway": {"port"', "line 1 column 20: unexpected eof, expected COLON"),
        (b'{"gateway": {"port"', "mend it on the gateway, or move it away for a new one"),
        (b'{"a": 1, "a": 2}', "key 'a' stands twice in one object; delete one of the two"),
        (b'{"x": "' + b"y" * (MAX_BYTES - 8) + b'"}', "5242881 bytes, more than 5242880"),
        (b'{"x": "\xff"}', "line 1 column 8: not UTF-8"),
        (b'{"$include": "./base.json"}', "$include: our part may lie in the included file; write it out here first"),
        (b'{"models": {"$include": "./m.json"}}', "models.$include: our part may lie in the included file"),
        (b'{"models": []}', "models is an array, an object is needed; correct it by hand"),
        (b'{"agents": {"defaults": 3}}', "agents.defaults is a number, an object is needed; correct it by hand"),
    ],
)
def test_it_is_refused_with_what_to_do(content: bytes, problem: str) -> None:
    with pytest.raises(Refusal) as refused:
        editor()(content)
    assert problem in str(refused.value)


@pytest.mark.parametrize("content", [COMMENT_IN_OURS, b'{"gateway": {"port"', b'{"$include": "./base.json"}'])
def test_what_is_refused_is_left_as_it_is(owner: Owner, content: bytes) -> None:
    owner.write(content)
    run = owner.sync()
    assert run.error.startswith(f"{owner.config}: ")
    assert owner.config.read_bytes() == content
    assert owner.names == ["openclaw.json"]


def test_allowing_a_rewrite_keeps_the_pristine_text_in_the_backup(owner: Owner) -> None:
    original = owner.write(COMMENT_IN_OURS)
    assert owner.sync(editor(rewrite=True)).changed() == [True]
    json.loads(owner.config.read_bytes())
    assert [path.read_bytes() for path in owner.folder.glob("*.anvil-*")] == [original]


def test_no_secret_is_in_what_a_person_must_change_by_hand(owner: Owner) -> None:
    owner.write(b"{models: {providers: {anvil: {apiKey: 'canary-7c1e', models: [{id: 'x', /* why */ name: 'x'}]}}}}")
    error = owner.sync().error
    assert "+" in error
    assert "canary-7c1e" not in error


def test_a_file_that_may_not_be_read_is_never_taken_for_absent(owner: Owner) -> None:
    original = owner.write(b'{"mine": 1}', 0o000)
    assert "cannot be read" in (error := owner.sync().error)
    assert "Permission denied" in error
    assert owner.config.read_bytes() == original


def test_a_folder_that_may_not_be_written_is_told_before_anything_is_tried(owner: Owner) -> None:
    original = owner.write(b"{}")
    owner.folder.chmod(0o555)
    assert "its folder is not writable for this user; make it so" in owner.sync().error
    assert owner.config.read_bytes() == original
    owner.folder.chmod(0o755)
    assert owner.sync().changed() == [True]
    owner.folder.chmod(0o555)
    assert owner.sync().changed() == [False]
    owner.folder.chmod(0o755)


def test_links_are_followed_but_not_in_circles(owner: Owner) -> None:
    real = owner.folder / "real.json"
    owner.config.symlink_to("real.json")
    real.write_text("{}")
    sshd.own(real)
    assert owner.sync().changed() == [True]
    assert owner.config.is_symlink()
    assert "anvil" in real.read_text()
    real.unlink()
    real.symlink_to("openclaw.json")
    assert "its links go in a circle" in owner.sync().error


def test_an_edit_by_somebody_else_during_the_run_stands(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    owner.write(b"{}")

    def meanwhile(on: Any, candidate: str, live: str) -> tuple[str, ...]:
        owner.write(b'{"operator": true}')
        return ()

    assert owner.sync(judged=meanwhile).error
    assert "changed meanwhile, nothing was written: run again" in caplog.text
    assert owner.config.read_bytes() == b'{"operator": true}'
    assert owner.names == ["openclaw.json"]


def test_another_run_at_the_same_time_is_noticed(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    original = owner.write(b"{}")

    def meanwhile(on: Any, candidate: str, live: str) -> tuple[str, ...]:
        Path(candidate).write_text('{"theirs": 1}\n')
        return ()

    assert owner.sync(judged=meanwhile).error
    assert "another run writes" in caplog.text
    assert owner.config.read_bytes() == original


def test_without_a_backup_nothing_is_written(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    original = owner.write(b"{}")
    (owner.folder / "openclaw.json.anvil-44136fa3").mkdir()
    assert owner.sync().error
    assert "no backup could be written" in caplog.text
    assert owner.config.read_bytes() == original
    assert owner.names == ["openclaw.json", "openclaw.json.anvil-44136fa3"]


def test_half_a_backup_is_made_whole(owner: Owner) -> None:
    owner.write(b'{ "gateway": 1 }')
    assert owner.sync().changed() == [True]
    (backup,) = owner.folder.glob("*.anvil-*")
    owner.write(b'{ "gateway": 1 }')
    backup.write_bytes(b"{ ")
    assert owner.sync().changed() == [True]
    assert backup.read_bytes() == b'{ "gateway": 1 }'


@pytest.mark.skipif(os.getuid() != 0, reason="a file system of its own needs root")
@pytest.mark.parametrize("room", ["candidate", "backup"])
def test_a_full_disk_leaves_the_live_file(owner: Owner, room: str, caplog: pytest.LogCaptureFixture) -> None:
    """16 pages: either the candidate does not fit, or the copy of a large live file does not fit beside it."""
    options = "size=64k,mode=777"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", owner.folder], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        original = owner.write(b'{"mine": "%s"}' % (b"x" * (40_000 if room == "candidate" else 24_000)))
        assert owner.sync().error
        assert "No space left on device" in caplog.text
        assert ("no backup could be written" in caplog.text) == (room == "backup")
        assert owner.config.read_bytes() == original
        assert owner.names == ["openclaw.json"]
    finally:
        subprocess.run(["umount", owner.folder], check=True)


@pytest.fixture
def strict(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> Owner:
    """Its own program judges: found on the login shell's PATH only."""
    (owner.folder / "bin").mkdir()
    (owner.folder / "bin" / "openclaw").write_text(STRICT)
    (owner.folder / "bin" / "openclaw").chmod(0o755)
    (owner.folder / ".profile").write_text(f"PATH={owner.folder}/bin:$PATH\n")
    monkeypatch.setenv("HOME", str(owner.folder))
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.setenv("NEW_PROBLEM", "nothing-has-this")
    return owner


def by_its_program(owner: Owner) -> Run:
    arguments = {"path": str(owner.config), "edit": editor(), "judge": judge(True, pinned=False)}
    return play((json_file, arguments))


def test_what_was_wrong_before_us_is_warned_of_and_no_reason_to_stop(
    strict: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    strict.write(b'{"agents_typo": 1}')
    assert by_its_program(strict).changed() == [True]
    assert "WARN" in caplog.text
    assert "was not valid before this run, and is not now: agents_typo: Unrecognized key" in caplog.text


@pytest.mark.parametrize("content", [b"{}", b'{"agents_typo": 1}'])
def test_what_would_be_wrong_by_us_is_not_written(
    strict: Owner, content: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NEW_PROBLEM", "providers")
    original = strict.write(content)
    assert by_its_program(strict).error
    assert "its own program refuses the candidate: models: Unrecognized key" in caplog.text
    assert strict.config.read_bytes() == original
    assert [name for name in strict.names if name.startswith("openclaw.json.")] == []


def test_a_verdict_without_a_reason_is_still_no(strict: Owner, caplog: pytest.LogCaptureFixture) -> None:
    (strict.folder / "bin" / "openclaw").write_text("#!/bin/sh\necho '{\"valid\": false}'\nexit 1\n")
    original = strict.write(b"{}")
    assert by_its_program(strict).error
    assert "it is not valid, and no reason is given" in caplog.text
    assert strict.config.read_bytes() == original


def test_edits_are_told_apart_from_no_edit() -> None:
    once = joined(b"{}", OWNED, Features())
    assert isinstance(once, Edit)
    assert once.text is not None
    assert joined(once.text.encode(), OWNED, Features()).text is None
