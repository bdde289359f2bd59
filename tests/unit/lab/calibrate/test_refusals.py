"""``anvil calibrate`` refuses before a single connection and before it starts a program (B6)."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anvil.lab.calibrate.plan import normalised
from tests.unit.lab.calibrate.house import CONFIRMED, prompts, router, run, tier

LOCAL = "http://127.0.0.1:7001/v1"


@pytest.fixture
def contacts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Counts connections, name look-ups and programs; lets none through."""
    made: list[str] = []

    def refuse(name: str) -> object:
        def guard(*_: object, **__: object) -> object:
            made.append(name)
            raise AssertionError(f"{name} in a refused run")

        return guard

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse(name))
    monkeypatch.setattr(socket, "getaddrinfo", refuse("getaddrinfo"))
    monkeypatch.setattr(subprocess, "Popen", refuse("Popen"))
    yield made
    assert made == []


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    router(
        tmp_path,
        tier("small", LOCAL),
        tier("big", "http://127.0.0.1:7002/v1"),
        tier("paid", "https://api.example.com", dialect="anthropic", privacy="cloud"),
    )
    prompts(tmp_path / "prompts-by-class", chat="say hello")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "taken.json").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "cloudy").mkdir()
    router(tmp_path / "cloudy", tier("paid", "https://api.example.com", dialect="anthropic", privacy="cloud"))
    (tmp_path / "kin").mkdir()
    router(tmp_path / "kin", tier("small", LOCAL, model="claude-copy"))
    (tmp_path / "lost").mkdir()
    router(tmp_path / "lost", tier("small", LOCAL), profile='profile_path = "gone.json"')
    return tmp_path


BOTH = (f"--endpoint=small={LOCAL}", "--endpoint=big=http://127.0.0.1:7002")
DATA = "--eval-data=prompts-by-class"
FULL = ("--config=router.toml", "--out=c.json", CONFIRMED, DATA)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "name the router configuration"),
        (("--out=c.json", CONFIRMED, *BOTH, DATA), "name the router configuration"),
        (("--config=router.toml", "--mode=agentic", *BOTH), "exclude each other"),
        (("--config=none.toml", "--out=c.json", CONFIRMED, *BOTH), "none.toml"),
        (("--config=router.toml", "--out=c.json", DATA, *BOTH), CONFIRMED),
        (("--config=router.toml", CONFIRMED, DATA, *BOTH), "--out FILE is missing"),
        (("--config=router.toml", "--out=missing/c.json", CONFIRMED, DATA, *BOTH), "no such folder"),
        (("--config=router.toml", "--out=taken.json", CONFIRMED, DATA, *BOTH), "give --force"),
        (("--config=router.toml", "--out=nothing", CONFIRMED, DATA, *BOTH), "is a folder"),
        ((*FULL[:3], "--eval-data=nothing", *BOTH), "holds no prompts"),
        ((*FULL[:3], "--eval-data=nowhere", *BOTH), "no such folder"),
        ((*FULL, *BOTH, "--classes=poetry"), "not a work class"),
        ((*FULL, *BOTH, "--classes=review"), "no prompt of class review"),
        ((*FULL, *BOTH, "--max-tokens=4095"), "at least 4096"),
        ((*FULL, BOTH[0]), "big: give --endpoint big=http://127.0.0.1:7002/v1"),
        ((*FULL, *BOTH, "--tiers=small"), "--tiers leaves it out"),
        ((*FULL, *BOTH, "--tiers=smal"), "no tier has this id"),
        ((*FULL, *BOTH, "--endpoint=huge=http://127.0.0.1:1"), "no tier has this id"),
        ((*FULL, *BOTH, "--endpoint=small=http://127.0.0.1:1"), "given twice"),
        ((*FULL, "--endpoint=small", BOTH[1]), "wanted NAME=VALUE"),
        ((*FULL, "--endpoint=small=127.0.0.1:7001", BOTH[1]), "not a URL"),
        ((*FULL, "--endpoint=small=ftp://127.0.0.1:7001", BOTH[1]), "not a URL"),
        ((*FULL, "--endpoint=small=http://127.0.0.1:99999/v1", BOTH[1]), "not a URL"),
        ((*FULL, "--endpoint=small=http://user:pw@127.0.0.1:7001/v1", BOTH[1]), "not a URL"),
        ((*FULL, "--endpoint=small=http://127.0.0.1:7009/v1", BOTH[1]), "the configuration calls"),
        ((*FULL, "--endpoint=small=http://10.0.0.1:7001/v1", BOTH[1]), "the configuration calls"),
        ((*FULL, "--endpoint=small=https://127.0.0.1:7001/v1", BOTH[1]), "the configuration calls"),
        ((*FULL, *BOTH, "--tiers=paid"), "no local tier"),
        (("--config=cloudy/router.toml", *FULL[1:]), "no local tier"),
        (("--config=kin/router.toml", *FULL[1:], BOTH[0]), "choose a judge of another family"),
        (("--config=lost/router.toml", *FULL[1:], BOTH[0]), "gone.json"),
        ((*FULL, *BOTH, "--generate-only=full"), "is not empty"),
        ((*FULL, *BOTH, "--generate-only=a", "--from-outputs=b"), "exclude each other"),
        ((*FULL[:2], "--from-outputs=nothing"), "holds no evaluation"),
        ((*FULL, *BOTH, "--judge=opus"), "give claude or the URL"),
        ((*FULL, *BOTH, "--judge=http://10.0.0.9/v1"), "--judge-model ID is missing"),
        ((*FULL, *BOTH, "--judge=http://10.0.0.9/v1", "--judge-model=mystery"), "family cannot be told"),
        ((*FULL, *BOTH, f"--judge={LOCAL}", "--judge-model=gpt-9"), "is the tier small itself"),
        (
            (*FULL, *BOTH, "--judge=http://10.0.0.9", "--judge-model=gpt-9", "--judge-key-env=UNSET"),
            "UNSET: is not set",
        ),
        ((*FULL, *BOTH, "--max-tokens=many"), "--max-tokens"),
        ((*FULL, *BOTH, "--no-such-flag"), "--no-such-flag"),
    ],
)
def test_a_refusal_exits_2_and_contacts_nobody(
    house: Path, contacts: list[str], arguments: tuple[str, ...], problem: str
) -> None:
    before = sorted(house.rglob("*"))
    result = run(*arguments, environ={"ANVIL_CLAUDE_BIN": "/bin/true"})
    assert result.exit_code == 2, result.stderr
    assert problem in result.stderr
    assert result.stdout == ""
    assert sorted(house.rglob("*")) == before, "nothing may be written"
    assert contacts == []


def test_a_judge_that_is_not_installed_is_127_before_any_call(house: Path, contacts: list[str]) -> None:
    result = run(*FULL, *BOTH, environ={"ANVIL_CLAUDE_BIN": str(house / "nowhere")})
    assert (result.exit_code, contacts) == (127, [])
    assert "ANVIL_CLAUDE_BIN" in result.stderr


def test_an_unfinished_run_is_not_started_over_silently(house: Path, contacts: list[str]) -> None:
    (house / "c.json.progress.jsonl").write_text("{}\n")
    result = run(*FULL, *BOTH, environ={"ANVIL_CLAUDE_BIN": "/bin/true"})
    assert (result.exit_code, contacts) == (2, [])
    assert "--resume" in result.stderr


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://127.0.0.1:7001", "http://127.0.0.1:7001"),
        ("http://localhost:7001/v1/", "http://127.0.0.1:7001"),
        ("HTTP://Host.Example/v1", "http://host.example:80"),
        ("https://host.example:443/a/v1", "https://host.example:443/a"),
        ("http://[::1]:7001/v1", "http://::1:7001"),
        ("http://host?x=1", None),
        ("http://", None),
        ("http://[::1", None),
        ("", None),
    ],
)
def test_normalised_urls(url: str, same: str | None) -> None:
    assert normalised(url) == same
