"""The page at ``/`` in a real browser, in front of the real router with scripted tiers (contract 2.15)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.browser import Page, browser
from tests.router import tier as t
from tests.router.conftest import Running, config_toml, router, tier, tier_toml

__all__ = ["router", "tier"]  # fixtures

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]
Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
TOKEN = "t0ken-of-the-page-0123456789"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    folder = tmp_path / "browser"
    folder.mkdir()
    with browser(program, folder) as opened:
        yield opened
        assert opened.problems == []


class Weak:
    """Answers with nothing at all, which fails a check; once ``broken``, with 500."""

    broken = False

    def __call__(self, request: t.Received) -> t.Script:
        return t.response(500, b"{}") if self.broken else t.chat("")


@pytest.fixture
def weak() -> Weak:
    return Weak()


@pytest.fixture
def house(tier: Tiers, router: Routers, weak: Weak) -> Callable[..., Running]:
    """A router whose first tier is the weak one."""

    def make(server: str = "", env: dict[str, str] | None = None) -> Running:
        tiers = tier_toml("fast-local", tier(weak).url), tier_toml("heavy-local", tier(t.auto("from heavy")).url)
        return router(config_toml(*tiers, server=server), env)

    return make


def ask(running: Running, headers: dict[str, str] | None = None) -> str:
    """One request; its decision id."""
    body = {"model": "chat", "messages": [{"role": "user", "content": "the secret of the prompt"}]}
    answer = running.client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-anvil-decision"]


def cells(page: Page, table: str) -> list[list[str]]:
    """The rows of a table's body as a reader sees them."""
    rows: list[list[str]] = page.run(
        f"[...document.querySelectorAll('#{table} tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    )
    return rows


def test_tiers_with_their_breakers_and_decisions_as_they_happen(
    page: Page, house: Callable[..., Running], weak: Weak
) -> None:
    running = house()
    before = ask(running)
    page.open(running.url)
    page.until("ready", running.client.get("/healthz").json()["config_hash"], "fast-local fallback, heavy-local served")
    assert [(row[0], row[2], row[3]) for row in cells(page, "tiers")] == [
        ("fast-local", "yes", "closed"),
        ("heavy-local", "yes", "closed"),
    ]
    assert "Token" not in page.shown()
    assert [row[1:5] for row in cells(page, "decisions")] == [["chat", "chat", "heavy-local", "served"]]
    weak.broken = True
    failed = [ask(running), ask(running)]  # two failures open the breaker
    page.until("fast-local error, heavy-local served", "open")
    links = page.run("[...document.querySelectorAll('#decisions a')].map(a => a.hash.slice(1))")
    assert links == [*reversed(failed), before]  # newest first, none twice
    assert [(row[0], row[3]) for row in cells(page, "tiers")] == [("fast-local", "open"), ("heavy-local", "closed")]
    assert "secret of the prompt" not in page.run("document.documentElement.outerHTML")


def test_the_page_lives_through_a_reload_and_a_dead_worker(page: Page, house: Callable[..., Running]) -> None:
    running = house()
    ask(running)
    page.open(running.url)
    page.until("heavy-local served")
    before = running.client.get("/healthz").json()["config_hash"]
    running.config.write_text(running.config.read_text().replace('"test"', '"reloaded"'))
    running.process.send_signal(signal.SIGHUP)
    wait_until(lambda: running.client.get("/healthz").json()["config_hash"] != before)
    reloaded = ask(running)
    page.until(running.client.get("/healthz").json()["config_hash"])
    _appears(page, reloaded)
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    wait_until(lambda: _answers(running))
    _appears(page, ask(running))
    assert [row[4] for row in cells(page, "decisions")] == ["served"] * 3
    assert "no answer" not in page.until("ready")


def _answers(running: Running) -> bool:
    try:
        return running.client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 15
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_decision_is_explained_when_chosen_and_by_its_address(page: Page, house: Callable[..., Running]) -> None:
    running = house()
    chosen = ask(running)
    reasons = (
        f"Why {chosen}",
        "preset chat, work class chat",
        "declared-preset",
        "fast-local: fallback",
        "failed check non_empty_content",
        "heavy-local: served",
        "served by heavy-local, after falling back, HTTP 200",
    )
    page.open(running.url)
    page.until("heavy-local served")
    assert "failed check" not in page.shown()
    page.run("document.querySelector('#decisions a').click()")
    page.until(*reasons)
    page.run("document.querySelector('#why a').click()")
    assert "failed check" not in page.shown()
    page.open("about:blank")
    page.open(f"{running.url}/#{chosen}")
    page.until(*reasons)
    page.run("location.hash = 'dec_' + '0'.repeat(24)")
    page.until("no record, status 404")


def test_nothing_is_shown_without_the_token_and_it_stays_in_the_tab(page: Page, house: Callable[..., Running]) -> None:
    running = house('auth_env = "TOK"', {"TOK": TOKEN})
    chosen = ask(running, BEARER)
    page.open(f"{running.url}/#{chosen}")
    _refused(page, "a token is needed")
    for wrong, words in (("not-the-token", "this token is not accepted"), ("two words", "a token is one word")):
        page.run("document.getElementById('token').focus()")
        page.type(wrong)
        _refused(page, words)
    page.run("document.getElementById('token').focus()")
    page.type(TOKEN)
    page.until("fast-local fallback, heavy-local served", "closed", f"Why {chosen}", "failed check non_empty_content")
    assert TOKEN not in page.run("document.documentElement.outerHTML + location.href + document.cookie")
    assert page.run("localStorage.length") == 0
    later = ask(running, BEARER)
    page.until("heavy-local served")
    _appears(page, later)
    page.send("Page.reload")
    _appears(page, later)  # the tab still knows it
    page.run("sessionStorage.clear()")
    page.send("Page.reload")
    _refused(page, "a token is needed")


def test_all_is_forgotten_once_the_token_is_no_longer_good(page: Page, house: Callable[..., Running]) -> None:
    running = house('auth_env = "TOK"', {"TOK": TOKEN, "OTHER": "another-token-of-the-page-0123"})
    ask(running, BEARER)
    page.open(running.url)
    page.until("a token is needed")
    page.type(TOKEN)
    page.until("heavy-local served", "ready")
    running.config.write_text(running.config.read_text().replace('"TOK"', '"OTHER"'))
    running.process.send_signal(signal.SIGHUP)
    _refused(page, "this token is not accepted")
    assert page.run("sessionStorage.length") == 0


def _refused(page: Page, words: str) -> None:
    text = page.until(words, "Token")
    for part in ("fast-local", "heavy-local", "Tiers", "Decisions", "dec_"):
        assert part not in text
    assert cells(page, "tiers") == cells(page, "decisions") == []


def _appears(page: Page, decision: str) -> None:
    page.until("Decisions")
    page.run(
        "new Promise((done, fail) => { let left = 100; const look = () => document.querySelector("
        f"'#decisions a[href=\"#{decision}\"]') ? done() : left-- ? setTimeout(look, 100) : fail('not there'); look(); }})"
    )
