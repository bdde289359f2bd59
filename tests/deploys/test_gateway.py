"""An OpenClaw gateway on @local: a scripted `openclaw` on the login PATH, a scripted router, the real merge."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anvil.deploys.gateway_document import plugin_id, plugin_texts
from anvil.hosts.gateway import (
    answers_through,
    gateway_answers,
    gateway_in_step,
    gateway_restarted,
    plugin_loaded,
    router_reachable,
)
from anvil.hosts.json_file import Edit, json_file, plugin_files
from tests.deploys.play import Run, play

OPENCLAW = """#!/bin/sh
echo "some plugin chatter"
case "$*" in
  "models list --provider anvil --json") cat "{home}/models.json" ;;
  'plugins inspect mine --runtime --json') cat "{home}/plugin.json" || {{ echo '{{"ok": false}}'; exit 1; }} ;;
  "gateway status --json") cat "{home}/status.json" ;;
  "gateway restart") echo restarted >> "{home}/restarts" ;;
  *) exit 64 ;;
esac
"""


class Gateway:
    """A home folder with its own `openclaw`, found through the login shell only."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.config = home, home / ".openclaw" / "openclaw.json"
        (home / "bin").mkdir()
        self.config.parent.mkdir()
        (home / "bin" / "openclaw").write_text(OPENCLAW.format(home=home))
        (home / "bin" / "openclaw").chmod(0o755)
        (home / ".profile").write_text(f"PATH={home}/bin:$PATH\n")
        (home / "models.json").write_text('{"models": [{"key": "anvil/chat", "contextWindow": 4096}]}')
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("SHELL", "/bin/sh")

    def sync(self, wanted: dict[str, Any], judge: Any = lambda on, candidate, live: (), **run: Any) -> Run:
        arguments = {"path": "~/.openclaw/openclaw.json", "edit": editor(wanted), "judge": judge}
        return play((json_file, arguments), **run)

    def backups(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.config.parent.glob("openclaw.json.anvil-*"))]


def editor(wanted: dict[str, Any]) -> Any:
    def edit(content: bytes | None) -> Edit:
        try:
            current = json.loads(content or b"{}")
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
        merged = {**current, **wanted}
        if content is not None and merged == current:
            return Edit(text=None)
        return Edit(text=json.dumps(merged) + "\n", before="old", after="new", notes=("WARN a warning",))

    return edit


@pytest.fixture
def gateway(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    return Gateway(folder, monkeypatch)


def test_the_document_is_joined_backed_up_and_then_left_alone(gateway: Gateway) -> None:
    original = b'{"gateway":{"port":18789}}'
    gateway.config.write_bytes(original)
    gateway.config.chmod(0o640)
    assert gateway.sync({"models": 1}).changed() == [True]
    assert json.loads(gateway.config.read_bytes()) == {"gateway": {"port": 18789}, "models": 1}
    assert gateway.config.stat().st_mode & 0o777 == 0o640
    assert gateway.backups() == [original]
    assert gateway.sync({"models": 1}).changed() == [False]
    assert gateway.backups() == [original]


def test_a_missing_document_is_made_private(gateway: Gateway) -> None:
    assert gateway.sync({"models": 1}).changed() == [True]
    assert gateway.config.stat().st_mode & 0o777 == 0o600
    assert gateway.backups() == []


def test_a_link_is_followed_and_stays(gateway: Gateway) -> None:
    real = gateway.home / "real.json"
    real.write_text("{}")
    gateway.config.symlink_to("../real.json")
    assert gateway.sync({"models": 1}).changed() == [True]
    assert gateway.config.is_symlink()
    assert json.loads(real.read_text()) == {"models": 1}


def test_a_dry_run_shows_and_writes_nothing(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    gateway.config.write_text("{}")
    gateway.sync({"models": 1}, dry=True, diff=True)
    assert gateway.config.read_text() == "{}"
    assert (caplog.text.count("+new"), caplog.text.count("WARN a warning")) == (1, 1)


@pytest.mark.parametrize("content", [b"[1", b"\xff"])
def test_what_cannot_be_read_is_refused_in_preparation(gateway: Gateway, content: bytes) -> None:
    gateway.config.write_bytes(content)
    assert "not JSON" in gateway.sync({"models": 1}).error
    assert gateway.config.read_bytes() == content


def test_a_gateway_that_is_not_set_up_is_refused(gateway: Gateway) -> None:
    gateway.config.parent.rmdir()
    assert "nothing is set up" in gateway.sync({"models": 1}).error


def test_a_refused_candidate_leaves_the_live_file(gateway: Gateway) -> None:
    gateway.config.write_text("{}")
    assert gateway.sync({"models": 1}, judge=lambda on, candidate, live: ("agents: odd",)).error
    assert [path.name for path in gateway.config.parent.iterdir()] == ["openclaw.json"]
    assert gateway.config.read_text() == "{}"


def test_a_file_changed_during_the_run_is_not_overwritten(gateway: Gateway) -> None:
    gateway.config.write_text("{}")

    def meanwhile(on: Any, candidate: str, live: str) -> tuple[str, ...]:
        gateway.config.write_text('{"operator": true}')
        return ()

    assert gateway.sync({"models": 1}, judge=meanwhile).error
    assert gateway.config.read_text() == '{"operator": true}'
    assert [path.name for path in gateway.config.parent.iterdir()] == ["openclaw.json"]


def test_the_newest_ten_backups_are_kept(gateway: Gateway) -> None:
    for number in range(12):
        (gateway.config.parent / f"openclaw.json.anvil-{number:08x}").write_text(str(number))
    gateway.config.write_text("{}")
    gateway.sync({"models": 1})
    assert len(gateway.backups()) == 10
    assert b"{}" in gateway.backups()


def test_plugin_files_come_and_go(gateway: Gateway) -> None:
    files = {"index.js": "export {}\n", "lib/a.js": "1\n"}
    wanted = (plugin_files, {"path": "~/plugins/mine", "files": files})
    assert play(wanted).changed() == [True]
    assert play(wanted).changed() == [False]
    (gateway.home / "plugins" / "mine" / "old.js").write_text("x")
    assert play(wanted).changed() == [True]
    assert sorted(path.name for path in (gateway.home / "plugins" / "mine").rglob("*.js")) == ["a.js", "index.js"]


LOADED = {
    "plugin": {"id": "mine", "status": "loaded"},
    "typedHooks": [{"name": "before_model_resolve", "priority": 50}],
    "policy": {"allowConversationAccess": True},
}


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (LOADED, ""),
        ({**LOADED, "plugin": {"status": "error"}}, "is error, not loaded"),
        ({**LOADED, "typedHooks": []}, "registers no before_model_resolve"),
        ({**LOADED, "policy": {}}, "allowConversationAccess is not granted"),
        (None, "plugin.json"),
    ],
)
def test_the_plugin_is_read_back(
    gateway: Gateway, told: Any, problem: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr("anvil.hosts.gateway.READ_BACK_SECONDS", 0)
    monkeypatch.setattr("anvil.hosts.gateway.PAUSE_SECONDS", 0.01)
    if told is not None:
        (gateway.home / "plugin.json").write_text(json.dumps(told))
    run = play((plugin_loaded, {"login": True, "identity": "mine", "hook": "before_model_resolve"}))
    assert bool(run.error) == bool(problem)
    assert problem in caplog.text


def test_the_intent_plugin_is_laid_down_whole_and_only_what_differs_again(gateway: Gateway) -> None:
    files = plugin_texts()
    wanted = (plugin_files, {"path": "~/plugins/intent", "files": files})
    assert play(wanted).changed() == [True]
    folder = gateway.home / "plugins" / "intent"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == files
    manifest, package = (json.loads(files[name]) for name in ("openclaw.plugin.json", "package.json"))
    assert manifest["id"] == plugin_id()
    assert {entry.removeprefix("./") for entry in package["openclaw"]["extensions"]} <= files.keys()
    imported = {name for text in files.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert imported
    assert imported <= files.keys()
    kept = (folder / "hook.mjs").stat().st_ino
    (folder / "decide.mjs").write_text("// edited\n")
    assert play(wanted).changed() == [True]
    assert (folder / "decide.mjs").read_text() == files["decide.mjs"]
    assert (folder / "hook.mjs").stat().st_ino == kept
    assert play(wanted).changed() == [False]


def test_the_restart_reaches_the_login_path_only(gateway: Gateway) -> None:
    arguments = {"login": True, "wanted": lambda: {"anvil/chat": 4096}, "applies_itself": lambda: False, "why": "test"}
    read_back = (gateway_in_step, {"login": True, "wanted": lambda: {"anvil/chat": 4096}})
    run = play((gateway_restarted, arguments), read_back)
    assert (run.error, run.changed()) == ("", [True, False])
    assert (gateway.home / "restarts").read_text() == "restarted\n"
    assert play((gateway_restarted, {**arguments, "login": False})).error


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        ('{"models": [{"key": "anvil/chat", "contextWindow": 1}]}', "anvil/chat has window 1, not 4096"),
        ('{"models": []}', "anvil/chat has window none, not 4096"),
        ("no list today", "anvil/chat has window none, not 4096"),
    ],
)
def test_a_model_list_that_lacks_a_preset_is_told(
    gateway: Gateway, listed: str, problem: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("anvil.hosts.gateway.READ_BACK_SECONDS", 0)
    monkeypatch.setattr("anvil.hosts.gateway.PAUSE_SECONDS", 0.01)
    (gateway.home / "models.json").write_text(listed)
    assert play((gateway_in_step, {"login": True, "wanted": lambda: {"anvil/chat": 4096}})).error
    assert f"gateway: {problem}" in caplog.text


def test_a_gateway_that_applied_it_by_itself_is_not_restarted(gateway: Gateway) -> None:
    arguments = {"login": True, "wanted": lambda: {"anvil/chat": 4096}, "applies_itself": lambda: True, "why": "test"}
    assert play((gateway_restarted, arguments)).changed() == [False]
    assert not (gateway.home / "restarts").exists()


@pytest.fixture
def router() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, code: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self.answer(200, {"status": "ok", "release": "r1"})
            elif self.headers["authorization"] != "Bearer canary-token":
                self.answer(401, {})
            else:
                self.answer(200, {"data": [{"id": "chat"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            ours = {"x-anvil-decision": "dec_1"}
            if self.headers["authorization"] != "Bearer canary-token":
                self.answer(401, {}, ours)
            elif asked["model"] == "anvil/chat":
                self.answer(200, {"choices": [{"message": {"content": "ready"}}]}, ours)
            elif asked["model"] == "anvil/silent":
                self.answer(200, {"choices": [{"message": {"content": ""}}]}, ours)
            elif asked["model"] == "anvil/elsewhere":
                self.answer(200, {"choices": [{"message": {"content": "ready"}}]})
            else:
                self.answer(503, {"error": {"message": "no tier is left"}}, ours)

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


REACH = {"presets": ("chat",), "release": "r1", "token": "canary-token"}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({}, ""),
        ({"release": ""}, ""),
        ({"release": "r2"}, "release r1 answers, r2 was expected"),
        ({"presets": ("planning",)}, "offers none of the presets"),
        ({"token": "wrong"}, "answers 401"),
    ],
)
def test_the_path_from_the_gateway(
    router: str, more: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    run = play((router_reachable, {"base_url": router, **REACH, **more}))
    assert bool(run.error) == bool(problem)
    assert problem in caplog.text
    assert "canary-token" not in caplog.text


def test_a_preset_without_a_tier_is_named(router: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = play((router_reachable, {"base_url": router, **REACH, "presets": ("chat", "planning")}))
    assert (run.error, run.total_changed) == ("", 0)
    assert "no tier for planning" in caplog.text


@pytest.mark.parametrize(
    ("preset", "exhausted", "problem"),
    [
        ("chat", {}, ""),
        ("planning", {}, "answers 503"),
        ("planning", {"planning": 503}, ""),
        ("planning", {"chat": 503}, "answers 503"),
        ("planning", {"planning": 500}, "answers 503"),
        ("chat", {"chat": 503}, ""),
        ("silent", {"silent": 503}, "answers 200 without content"),
        ("elsewhere", {}, "this is not the router"),
    ],
)
def test_one_word_through_the_router(
    router: str, preset: str, exhausted: dict[str, int], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    arguments = {"base_url": router, "presets": (preset,), "token": "canary-token", "exhausted": exhausted}
    run = play((answers_through, arguments))
    assert (bool(run.error), run.total_changed) == (bool(problem), 0)
    assert problem in caplog.text


def test_a_router_that_refuses_the_token_or_is_not_there_is_told(caplog: pytest.LogCaptureFixture, router: str) -> None:
    caplog.set_level("DEBUG")
    arguments = {"base_url": router, "presets": ("chat",), "token": "wrong", "exhausted": {"chat": 503}}
    assert play((answers_through, arguments)).error
    assert "answers 401" in caplog.text
    assert play((answers_through, {**arguments, "base_url": "http://127.0.0.1:9/v1"})).error
    assert "connect" in caplog.text


def test_a_router_that_never_answers_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("anvil.hosts.gateway.PROBE_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        assert play((answers_through, {"base_url": base, "presets": ("chat",), "token": "t", "exhausted": {}})).error
    assert f"chat through {base}: curl: (28)" in caplog.text


STATUS = {
    "answers": {"rpc": {"ok": True}, "service": {"loaded": True}},
    "unmanaged": {"rpc": {"ok": True}, "service": {"loaded": False}},
    "locked": {"rpc": {"ok": False, "kind": "auth"}, "service": {"loaded": True}},
    "down": {"rpc": {"ok": False, "kind": "connect", "error": "ECONNREFUSED"}, "service": {"loaded": False}},
    "old": None,
}


@pytest.mark.parametrize(
    ("state", "problem", "warning"),
    [
        ("answers", "", ""),
        ("locked", "", ""),
        ("unmanaged", "", "nobody starts it after a reboot"),
        ("old", "", "does not say whether it runs"),
        ("down", "does not answer (ECONNREFUSED)", ""),
    ],
)
def test_a_gateway_must_answer_before_it_counts_as_read_back(
    gateway: Gateway,
    state: str,
    problem: str,
    warning: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr("anvil.hosts.gateway.READ_BACK_SECONDS", 0)
    monkeypatch.setattr("anvil.hosts.gateway.PAUSE_SECONDS", 0.01)
    if STATUS[state] is not None:
        (gateway.home / "status.json").write_text(json.dumps(STATUS[state], indent=2))
    run = play((gateway_answers, {"login": True}))
    assert (bool(run.error), run.total_changed) == (bool(problem), 0)
    assert problem in caplog.text
    assert warning in caplog.text
    assert bool(warning) == ("WARN" in caplog.text)


@pytest.mark.parametrize(
    ("said", "code", "problem"),
    [
        ("service management skipped: non-default state dir", 1, "no gateway runs here that could be restarted: start"),
        ("out of memory", 3, "openclaw gateway restart failed"),
        # 2026.6 without a service: nothing was restarted, and whether one runs in the foreground is read back.
        ("Gateway service disabled.", 0, ""),
    ],
)
def test_what_a_restart_says_is_told(
    gateway: Gateway, said: str, code: int, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (gateway.home / "bin" / "openclaw").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
    arguments = {"login": True, "wanted": dict, "applies_itself": lambda: False, "why": "test"}
    run = play((gateway_restarted, arguments))
    assert bool(run.error) == bool(problem)
    assert problem in caplog.text
    assert (said in caplog.text) == bool(problem)
    assert ("WARN openclaw restarted nothing" in caplog.text) == (not problem)
