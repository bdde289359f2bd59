"""The token line of a gateway's `.env` on @local: put in place, compared by digest, every other line untouched."""

from __future__ import annotations

from pathlib import Path

import pytest

from anvil.hosts.env_line import env_line, line_of
from tests.deploys.play import Run, play

LINE = "ANVIL_ROUTER_TOKEN=canary-token-0123456789"


@pytest.fixture
def env(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".openclaw").mkdir()
    return folder / ".openclaw" / ".env"


def put(*, dry: bool = False) -> Run:
    arguments = {"path": "~/.openclaw/.env", "variable": "ANVIL_ROUTER_TOKEN", "line": LINE}
    return play((env_line, arguments), dry=dry)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, f"{LINE}\n"),
        ("", f"{LINE}\n"),
        ("A=1\n", f"A=1\n{LINE}\n"),
        ("A=1", f"A=1\n{LINE}\n"),
        ("ANVIL_ROUTER_TOKEN=old\n# mine \\n\nB='x y'\n", f"{LINE}\n# mine \\n\nB='x y'\n"),
        ("A=1\n export ANVIL_ROUTER_TOKEN=old\nANVIL_ROUTER_TOKEN=older", f"A=1\n{LINE}\n"),
        ("ANVIL_ROUTER_TOKEN_NEXT=n\nMY_ANVIL_ROUTER_TOKEN=m\n", f"ANVIL_ROUTER_TOKEN_NEXT=n\nMY_ANVIL_ROUTER_TOKEN=m\n{LINE}\n"),
        (f"  two\r\n{LINE}\n{LINE}\n", f"  two\r\n{LINE}\n"),
    ],
)  # fmt: skip
def test_the_line_is_put_and_the_others_stay(
    env: Path, before: str | None, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    if before is not None:
        env.write_bytes(before.encode())
    assert put().changed() == [True]
    assert env.read_bytes() == after.encode()
    assert env.stat().st_mode & 0o777 == 0o600
    assert put().changed() == [False]
    assert [path.name for path in env.parent.iterdir()] == [".env"]
    assert "canary" not in caplog.text


def test_a_file_that_others_may_read_is_closed(env: Path) -> None:
    env.write_text(f"{LINE}\n")
    env.chmod(0o644)
    assert put().changed() == [True]
    assert env.stat().st_mode & 0o777 == 0o600


def test_a_dry_run_writes_nothing(env: Path) -> None:
    put(dry=True)
    assert not env.exists()


def test_what_cannot_be_read_is_never_taken_for_absent(env: Path) -> None:
    env.mkdir()
    assert "no readable file" in put().error
    env.rmdir()
    env.parent.rmdir()
    assert "nothing is set up" in put().error


@pytest.mark.parametrize(
    ("value", "line"), [("abc-1.2_~+/=", "T=abc-1.2_~+/="), ("a b#c", "T='a b#c'"), ('a"$b', "T='a\"$b'")]
)
def test_a_value_is_quoted_when_it_must_be(value: str, line: str) -> None:
    assert line_of("T", value) == line


@pytest.mark.parametrize("value", ["a'b", "a\nb", "a\x00"])
def test_a_value_that_no_line_holds_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cannot"):
        line_of("T", value)
