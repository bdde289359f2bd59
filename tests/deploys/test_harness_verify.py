"""harness_verify against a scripted release: put in, messages judged, and the very document of before at the end."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anvil.deploys import harness_verify
from anvil.deploys.gateway_document import ROOT
from anvil.harness.json5_document import parse
from tests.deploys.test_gateway import router
from tests.deploys.test_gateway_sync import Site

__all__ = ["router"]

ORIGINAL = b"// mine\n{gateway: {port: 18789}, plugins: {allow: ['other']}}"
# A restart is when people "send" what the test wants: the lines appear where the document says.
RESTART = """
    open(home + "/restarts", "a").write("restarted\\n")
    found = json.load(open(home + "/fires")) if os.path.exists(home + "/fires") else []
    text = open(home + "/.openclaw/openclaw.json").read()
    if "anvil-fire-logger" in text:
        os.makedirs(home + "/.openclaw/logs", exist_ok=True)
        open(home + "/.openclaw/logs/anvil-fires.jsonl", "a").write("".join(line + "\\n" for line in found))
"""
TELLING = """
elif asked.startswith("plugins inspect"):
    hooks = [{"name": "before_model_resolve"}]
    state = "loaded" if not os.path.exists(home + "/broken") else "error"
    print(json.dumps({"plugin": {"status": state}, "typedHooks": hooks, "policy": {"allowConversationAccess": True}}))
"""


def line(message: int, session: str = "s") -> str:
    return json.dumps({"runId": f"r{message}", "sessionKey": session, "userMessageIndex": message})


class Watched(Site):
    def fires(self, *lines: str) -> None:
        (self.folder / "fires").write_text(json.dumps(lines))

    def verify(self, **overrides: str) -> bool:
        return self.sync(deploy=harness_verify.judged, timeout="1", **overrides) >= 0

    @property
    def is_as_before(self) -> bool:
        logs = self.document.parent / "logs" / "anvil-fires.jsonl"
        folder = self.folder / ".anvil" / "plugins" / "anvil-fire-logger"
        return not logs.exists() and not folder.exists()


@pytest.fixture
def site(tmp_path: Path, router: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level("INFO")
    for name in ("PAUSE_SECONDS", "SETTLE_SECONDS"):
        monkeypatch.setattr(f"anvil.hosts.gateway_log.{name}", 0.01)
    made = Watched(tmp_path, router, monkeypatch)
    made.document.write_bytes(ORIGINAL)
    made.release(restart=RESTART.strip())
    command = made.folder / "openclaw"
    judged = 'json.load(open(os.environ["OPENCLAW_CONFIG_PATH"]))'
    assert judged in command.read_text()
    command.write_text(command.read_text().replace(judged, "pass") + TELLING)
    return made


def test_once_per_message_passes_and_leaves_no_trace(site: Watched, caplog: pytest.LogCaptureFixture) -> None:
    site.fires(line(0), line(1), line(0, "t"))
    assert site.verify(), caplog.text
    assert "send 3 messages to the gateway mini now; waiting up to 1 s" in caplog.text
    assert "3 messages in 2 sessions judged" in caplog.text
    assert "finding" not in caplog.text
    assert site.document.read_bytes() == ORIGINAL + b"\n"
    assert site.is_as_before
    assert (site.folder / "restarts").read_text().count("restarted") == 2


def test_a_dry_run_changes_nothing(site: Watched) -> None:
    assert site.sync(deploy=harness_verify.judged, dry=True) == 0
    assert site.document.read_bytes() == ORIGINAL
    assert site.is_as_before


def test_a_second_fire_is_a_finding(site: Watched, caplog: pytest.LogCaptureFixture) -> None:
    site.fires(line(0), line(0), line(1))
    assert site.verify(messages="2"), caplog.text
    assert 'finding: session "s": 3 fires for 2 messages' in caplog.text


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((line(0),), "cadence: 1 of 2 messages came: send them while it waits, or give it --data timeout=SECONDS"),
        ((line(0), line(1), '{"runId": '), "cadence: line 3: not JSON"),
    ],
)
def test_a_violation_fails_and_leaves_no_trace_either(
    site: Watched, lines: tuple[str, ...], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.fires(*lines)
    assert not site.verify(messages="2")
    assert problem in caplog.text
    assert "Traceback" not in caplog.text
    assert site.document.read_bytes() == ORIGINAL + b"\n"
    assert site.is_as_before


def test_a_logger_that_does_not_load_is_taken_out_and_nobody_is_asked(
    site: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    (site.folder / "broken").touch()
    assert not site.verify()
    assert "is error, not loaded" in caplog.text
    assert "a step before failed" in caplog.text
    assert "send 3 messages" not in caplog.text
    assert site.document.read_bytes() == ORIGINAL + b"\n"
    assert site.is_as_before


def test_what_somebody_wrote_meanwhile_stays(site: Watched) -> None:
    site.fires(line(0))
    command = site.folder / "openclaw"
    migrated = 'text = open(home + "/.openclaw/openclaw.json").read()'
    command.write_text(
        command.read_text().replace(
            migrated,
            f'{migrated}.replace("18789", "18790")\n    open(home + "/.openclaw/openclaw.json", "w").write(text)',
        )
    )
    assert site.verify(messages="1")
    text = site.document.read_bytes()
    assert text.startswith(b"// mine\n{gateway: {port: 18790}")
    assert parse(text)[0] == {"gateway": {"port": 18790}, "plugins": {"allow": ["other"]}}


def test_a_killed_run_is_cleared_away_by_the_next(site: Watched) -> None:
    watch: Any = harness_verify.Watch
    folder = f"{site.folder}/.anvil/plugins/anvil-fire-logger"
    left = watch(_Gateway(), folder, f"{site.folder}/.openclaw/logs/anvil-fires.jsonl").put_in(ORIGINAL)
    site.document.write_text(left.text)
    assert site.verify(messages="0")
    assert "anvil-fire-logger" not in site.document.read_text()
    assert "18789" in site.document.read_text()
    assert site.verify(messages="0")


class _Gateway:
    rewrite_json5 = False


def test_a_denied_logger_is_refused_before_anything_changes(site: Watched) -> None:
    denied = b'{"plugins": {"deny": ["anvil-fire-logger"]}}'
    site.document.write_bytes(denied)
    assert not site.verify()
    assert "plugins.deny holds anvil-fire-logger: take it out for the check" in site.error
    assert site.document.read_bytes() == denied
    assert site.is_as_before


def test_its_own_tests_pass() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT CHECKED: the logger's tests need `node` on PATH")
    done = subprocess.run([node, "--test", "test.mjs"], cwd=ROOT / "templates" / "anvil-fire-logger",
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
