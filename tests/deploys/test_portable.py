"""P18: everything that runs on a gateway also runs where only portable tools are, as on macOS."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from anvil.hosts.env_line import EnvLine
from anvil.hosts.files import FileStat, FileState, FileText
from anvil.hosts.gateway import gateway_restarted
from anvil.hosts.json_file import ExpandedPath, FolderDigests, ResolvedPath
from anvil.hosts.openclaw import OpenClawCli, OpenClawPlugin, OpenClawService
from tests.deploys import portable
from tests.deploys.play import fact, play
from tests.deploys.test_gateway import router
from tests.deploys.test_gateway_sync import Site

__all__ = ["router"]

PLUGIN = 'token_delivery = "openclaw-env"\n[gateways.mini.plugin]\n'
LOADED = """
elif asked.startswith("plugins inspect"):
    hooks = [{"name": "before_model_resolve"}]
    print(json.dumps({"plugin": {"status": "loaded"}, "typedHooks": hooks, "policy": {"allowConversationAccess": True}}))
"""


@pytest.fixture(params=portable.DIGESTS)
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = portable.portable(tmp_path / "path", request.param)
    monkeypatch.setenv("PATH", str(made))
    return made


@pytest.mark.parametrize("path", ["shasum"], indirect=True)
def test_it_is_a_path_without_what_macos_lacks(path: Path) -> None:
    for name in ("timeout", "flock", "sha256sum", "realpath", "python3", "jq"):
        assert subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True).returncode
    assert subprocess.run(["sh", "-c", "stat -c %a /"], capture_output=True).returncode
    assert subprocess.run(["sh", "-c", "readlink -f /"], capture_output=True).returncode


@pytest.mark.parametrize("path", ["shasum"], indirect=True)
def test_a_whole_sync(path: Path, tmp_path: Path, router: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    site = Site(tmp_path / "home", router, monkeypatch)
    site.release()
    with (site.folder / "openclaw").open("a") as script:
        script.write(LOADED)
    site.document.chmod(0o640)
    assert (site.sync(PLUGIN), site.error) == (4, "")  # plugin, token, document, restart
    assert (site.folder / "restarts").read_text() == "restarted\n"
    (backup,) = site.document.parent.glob("*.anvil-*")
    assert json.loads(backup.read_bytes()) == {"gateway": {"port": 18789}}
    assert (site.document.stat().st_mode & 0o777, backup.stat().st_mode & 0o777) == (0o640, 0o640)
    environment = site.document.with_name(".env")
    assert (environment.read_text(), environment.stat().st_mode & 0o777) == ("ANVIL_ROUTER_TOKEN=canary-token\n", 0o600)
    assert (site.sync(PLUGIN), site.error) == (0, "")


def test_every_fact_of_a_gateway(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file, link = tmp_path / "a file", tmp_path / "link"
    file.write_bytes(b"x" * 200)
    file.chmod(0o604)
    link.symlink_to("a file")
    state = fact(FileState, str(file))
    assert (state.status, state.mode, state.sha256) == ("ok", "604", hashlib.sha256(b"x" * 200).hexdigest())
    assert fact(FileStat, str(link)).target == "a file"
    assert fact(FileText, str(file)).content == b"x" * 200
    assert fact(FileText, str(tmp_path / "none")).status == "absent"
    resolved = fact(ResolvedPath, "~/link")
    assert (resolved.path, resolved.writable) == (str(file), True)
    assert fact(ExpandedPath, "~/x").path == f"{tmp_path}/x"
    assert fact(FolderDigests, str(tmp_path)).digests["a file"] == state.sha256
    (tmp_path / ".env").write_text("A=1\n")
    assert fact(EnvLine, str(tmp_path / ".env"), "A").status == "ok"
    assert fact(OpenClawCli, False).status == "tool_missing"
    assert fact(OpenClawService, False).status == "tool_missing"
    assert fact(OpenClawPlugin, False, "x").status == "tool_missing"


@pytest.mark.parametrize("path", ["shasum"], indirect=True)
def test_a_restart_reaches_the_command(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path / "openclaw").write_text(f"#!/bin/sh\necho restarted > {tmp_path}/restarts\n")
    (path / "openclaw").chmod(0o755)
    arguments = {"login": False, "wanted": dict, "applies_itself": lambda: False, "why": "test"}
    assert play((gateway_restarted, arguments)).error == ""
    assert (tmp_path / "restarts").exists()


@pytest.mark.parametrize("path", ["shasum"], indirect=True)
def test_a_command_that_hangs_ends_the_run_and_not_the_day(
    path: Path, tmp_path: Path, router: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no `timeout` on macOS: the connection's own limit counts."""
    caplog.set_level("INFO")
    (tmp_path / "home").mkdir()
    site = Site(tmp_path / "home", router, monkeypatch)
    (site.folder / "openclaw").write_text("#!/bin/sh\nexec sleep 20\n")
    (site.folder / "openclaw").chmod(0o755)
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.setattr("anvil.deploys.gateway.CONNECTION_SECONDS", 1)
    original = site.document.read_bytes()
    started = time.monotonic()
    assert site.sync() == -1
    assert time.monotonic() - started < 15
    assert "Command timed out after 1s" in caplog.text
    assert site.document.read_bytes() == original
