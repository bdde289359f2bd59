"""A gateway that gives no shell: a real OpenSSH server that allows SFTP alone, and a user for whom permissions count."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from anvil.deploys import doctor, gateway, inventory
from anvil.deploys.gateway_document import plugin_texts
from anvil.hosts import sftp
from anvil.hosts.json_file import Edit
from anvil.hosts.sftp_document import document_by_sftp, folder_by_sftp
from anvil.topology import load
from tests.deploys import sshd
from tests.deploys.play import Run, play, play_deploy
from tests.deploys.test_full_local import REPO, TOKEN, TOPOLOGY
from tests.deploys.test_gateway import editor

pytestmark = pytest.mark.skipif(sshd.binary() is None, reason="no sshd: apt-get install openssh-server")

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that another user may enter, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="anvil-sftp-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[sshd.Sshd]:
    (place / "home").mkdir()
    sshd.own(place / "home")
    made = sshd.Sshd(place / "sshd", f"Subsystem sftp internal-sftp\n{sshd.SFTP_ONLY} -d {place / 'home'}")
    yield made
    made.stop()


@pytest.fixture
def home(place: Path, server: sshd.Sshd) -> Iterator[Path]:
    """The user's home, empty again after each test."""
    yield place / "home"
    for path in (place / "home").iterdir():
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)


@pytest.fixture(autouse=True)
def _said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


class Remote:
    def __init__(self, home: Path, server: sshd.Sshd) -> None:
        self.folder, self.server = home / ".openclaw", server
        self.config = self.folder / "openclaw.json"
        self.folder.mkdir()
        sshd.own(self.folder)

    def write(self, content: bytes, mode: int = 0o640) -> None:
        self.config.write_bytes(content)
        self.config.chmod(mode)
        sshd.own(self.config)

    def sync(self, wanted: Any, **run: Any) -> Run:
        edit = wanted if callable(wanted) else editor(wanted)
        arguments = {"path": "~/.openclaw/openclaw.json", "edit": edit}
        return play((document_by_sftp, arguments), on=HOST, data=self.server.data, **run)

    def backups(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.folder.glob("openclaw.json.anvil-*"))]


@pytest.fixture
def remote(home: Path, server: sshd.Sshd) -> Remote:
    return Remote(home, server)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_document_is_joined_backed_up_and_then_left_alone(remote: Remote) -> None:
    original = b'{"gateway":{"port":18789}}'
    remote.write(original)
    assert remote.sync({"models": 1}).changed(HOST) == [True]
    assert json.loads(remote.config.read_bytes()) == {"gateway": {"port": 18789}, "models": 1}
    assert (mode(remote.config), remote.config.owner()) == (0o640, sshd.user())
    assert remote.backups() == [original]
    (kept,) = remote.folder.glob("openclaw.json.anvil-*")
    assert mode(kept) == 0o640
    assert remote.sync({"models": 1}).changed(HOST) == [False]
    assert remote.backups() == [original]


def test_a_dry_run_shows_and_writes_nothing(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    remote.write(b"{}")
    remote.sync({"models": 1}, dry=True, diff=True)
    assert (remote.config.read_bytes(), remote.backups()) == (b"{}", [])
    assert (caplog.text.count("+new"), caplog.text.count("WARN a warning")) == (1, 1)


def test_what_is_new_is_private_before_its_first_byte(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    written = paramiko.SFTPFile.write

    def watched(self: Any, data: bytes) -> None:
        (candidate,) = remote.folder.glob("*.anvil-candidate")
        seen.append((mode(candidate), candidate.stat().st_size))
        written(self, data)

    monkeypatch.setattr(paramiko.SFTPFile, "write", watched)
    assert remote.sync({"models": 1}).changed(HOST) == [True]
    assert seen[0] == (0o600, 0)
    assert mode(remote.config) == 0o600
    assert [path.name for path in remote.folder.iterdir()] == ["openclaw.json"]


def test_a_gateway_that_is_not_set_up_is_refused(remote: Remote) -> None:
    remote.folder.rmdir()
    assert "nothing is set up" in remote.sync({"models": 1}).error
    remote.folder.mkdir()


def test_a_link_is_followed_and_stays(remote: Remote, home: Path) -> None:
    (home / "real.json").write_text("{}")
    sshd.own(home / "real.json")
    remote.config.symlink_to("../real.json")
    assert remote.sync({"models": 1}).changed(HOST) == [True]
    assert remote.config.is_symlink()
    assert json.loads((home / "real.json").read_text()) == {"models": 1}


def test_links_in_a_circle_are_refused(remote: Remote) -> None:
    (remote.folder / "other.json").symlink_to("openclaw.json")
    remote.config.symlink_to("other.json")
    assert "its links go in a circle" in remote.sync({"models": 1}).error


@pytest.mark.parametrize(("content", "problem"), [(b"[1", "not JSON"), (b"\xff", "not JSON")])
def test_what_cannot_be_parsed_is_refused_in_preparation(remote: Remote, content: bytes, problem: str) -> None:
    remote.write(content)
    assert problem in remote.sync({"models": 1}).error
    assert remote.config.read_bytes() == content


def test_a_file_that_may_not_be_read_is_not_taken_for_absent(remote: Remote) -> None:
    remote.write(b'{"mine": 1}', 0o000)
    assert "openclaw.json: cannot be read: Permission denied" in remote.sync({"models": 1}).error
    assert remote.config.read_bytes() == b'{"mine": 1}'


def test_what_is_no_file_is_refused(remote: Remote) -> None:
    remote.config.mkdir()
    assert "no regular file" in remote.sync({"models": 1}).error


def test_a_folder_that_may_not_be_written_leaves_all_as_it_was(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    remote.write(b"{}")
    remote.folder.chmod(0o555)
    assert remote.sync({"models": 1}).error
    assert "cannot be written (is the folder writable, the disk full?): Permission denied" in caplog.text
    assert [(path.name, path.read_bytes()) for path in remote.folder.iterdir()] == [("openclaw.json", b"{}")]
    remote.folder.chmod(0o755)


@pytest.mark.skipif(os.getuid() != 0, reason="a file system of its own needs root")
def test_a_full_disk_leaves_the_live_file(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", remote.folder], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        remote.write(b'{"mine": "%s"}' % (b"x" * 20_000))
        original = remote.config.read_bytes()
        assert remote.sync({"models": "y" * 30_000}).error
        assert "the disk full?" in caplog.text
        assert remote.config.read_bytes() == original
        assert [path.name for path in remote.folder.glob("*candidate")] == []
        assert remote.backups() in ([], [original])
    finally:
        subprocess.run(["umount", remote.folder], check=True)


def test_a_file_changed_during_the_run_is_not_overwritten(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    remote.write(b"{}")
    asked: list[bytes | None] = []

    def meanwhile(content: bytes | None) -> Edit:
        asked.append(content)
        if len(asked) == 2:  # the evaluation that is followed by the write
            remote.config.write_bytes(b'{"operator": true}')
        return editor({"models": 1})(content)

    assert remote.sync(meanwhile).error
    assert "changed meanwhile, nothing was written: run again" in caplog.text
    assert remote.config.read_bytes() == b'{"operator": true}'
    assert [path.name for path in remote.folder.glob("*candidate")] == []


def test_a_file_that_appears_at_the_last_moment_is_not_overwritten(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = paramiko.SFTPClient.rename

    def meanwhile(self: Any, old: str, new: str) -> None:
        remote.write(b'{"operator": true}')
        renamed(self, old, new)

    monkeypatch.setattr(paramiko.SFTPClient, "rename", meanwhile)
    assert remote.sync({"models": 1}).error
    assert remote.config.read_bytes() == b'{"operator": true}'


def test_a_broken_backup_is_made_anew_and_the_newest_ten_stay(remote: Remote) -> None:
    for number in range(12):
        path = remote.folder / f"openclaw.json.anvil-{number:08x}"
        path.write_text(str(number))
        sshd.own(path)
        os.utime(path, (number, number))
    remote.write(b"{}")
    digest = "44136fa3"  # of {}
    (remote.folder / f"openclaw.json.anvil-{digest}").write_bytes(b"{")
    sshd.own(remote.folder / f"openclaw.json.anvil-{digest}")
    assert remote.sync({"models": 1}).changed(HOST) == [True]
    assert (remote.folder / f"openclaw.json.anvil-{digest}").read_bytes() == b"{}"
    assert len(remote.backups()) == 10
    assert not (remote.folder / "openclaw.json.anvil-00000000").exists()


def test_plugin_files_come_and_go(remote: Remote, home: Path) -> None:
    files = {"index.js": "export {}\n", "lib/a.js": "1\n"}
    wanted = (folder_by_sftp, {"path": "~/plugins/mine", "files": files})

    def lay() -> list[bool]:
        return play(wanted, on=HOST, data=remote.server.data).changed(HOST)

    assert lay() == [True]
    assert lay() == [False]
    (home / "plugins" / "mine" / "old.js").write_text("x")
    (home / "plugins" / "mine" / "index.js").write_text("edited")
    assert lay() == [True]
    found = home / "plugins" / "mine"
    assert {str(path.relative_to(found)): path.read_text() for path in found.rglob("*.js")} == files
    assert mode(found / "index.js") == 0o644


def test_paths_of_windows() -> None:
    class Client:
        def normalize(self, path: str) -> str:
            return "/C:/Users/me"

    files = sftp.Files(Client())  # type: ignore[arg-type]  # only what is asked
    assert files.expanded("~/.openclaw/openclaw.json") == "/C:/Users/me/.openclaw/openclaw.json"
    assert files.expanded("~\\.openclaw\\openclaw.json") == "/C:/Users/me/.openclaw/openclaw.json"
    assert files.expanded("D:\\claw\\openclaw.json") == "/D:/claw/openclaw.json"
    assert files.expanded("/etc/x\\y") == "/etc/x\\y"
    assert sftp.as_native("/C:/Users/me/plugin") == "C:/Users/me/plugin"
    assert sftp.as_native("/home/me/C:/x") == "/home/me/C:/x"


def test_a_host_that_is_not_reached_over_ssh_is_told() -> None:
    run = play((document_by_sftp, {"path": "/x", "edit": editor({})}))
    assert "is not reached over SSH" in run.error


# ------------------------------------------------------------------------------- the deploys, as a user types them

MINI = """
[machines.mini]
platform = "{platform}"
ssh = {ssh}
[gateways.mini]
machine = "mini"
router_url = "http://10.1.1.1:{router}/v1"
token_delivery = "openclaw-env"
{version}
[gateways.mini.plugin]
"""


class Deploys:
    def __init__(self, remote: Remote, folder: Path) -> None:
        self.remote, self.topology, self.said = remote, folder / "topology.toml", ""
        self.write()

    def write(self, version: str = 'version = "2026.9.6"', platform: str = "linux") -> None:
        house, _, _ = TOPOLOGY.partition("[gateways.mini]")
        ports = {"fast": 30001, "heavy": 30002, "router": 30003}
        text = house.format(root="/srv/anvil", engine="/bin/true", context=4096, chat='["fast-local"]', **ports)
        mini = MINI.format(platform=platform, ssh=self.remote.server.table, router=30003, version=version)
        self.topology.write_text(
            text.replace('machine = "here"\nport', 'machine = "here"\npublish = "10.1.1.1"\nport') + mini
        )

    def run(self, deploy: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        argv = [f"{Path(sys.executable).parent}/pyinfra", "inventory/hosts.py", f"deploy/{deploy}.py", "--json"]
        environment = {**os.environ, "ANVIL_TOPOLOGY": str(self.topology), "ANVIL_ROUTER_TOKEN": TOKEN}
        done = subprocess.run(
            [*argv, "--limit", "mini", *arguments],
            cwd=REPO,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        self.said = done.stdout + done.stderr
        assert TOKEN not in self.said
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}

    def play(self, deploy: Callable[[], None]) -> tuple[int, str]:
        """The same in this process, without the command's own start."""
        found = inventory.Checked(load.load(self.topology, {}, str(self.topology)), str(self.topology))
        ((name, data),) = (host for host in inventory.over_ssh(found)["machines"] if host[0] == "mini")
        quiet = {"ssh_look_for_keys": False, "ssh_allow_agent": False}
        return play_deploy(deploy, (name, {**data, **quiet}), {"env_file": "none"})


@pytest.fixture
def deploys(remote: Remote, tmp_path: Path) -> Deploys:
    return Deploys(remote, tmp_path)


LEFT = (
    "nothing was validated, restarted or read back", "openclaw config validate", "openclaw gateway restart",
    "write ANVIL_ROUTER_TOKEN=<token> into ~/.openclaw/.env",
)  # fmt: skip


@pytest.mark.timeout(120)
def test_a_sync_writes_plugin_and_document_and_names_what_is_left(
    deploys: Deploys, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    deploys.remote.write(b"// mine\n{gateway: {port: 18789}}")
    code, report = deploys.run("harness_sync", "-y")
    assert code == 0, deploys.said
    assert report["results"]["totals"]["success"] == 2
    folder = home / ".anvil/plugins/openclaw-anvil-intent-router"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == plugin_texts()
    text = deploys.remote.config.read_text(encoding="utf-8")
    assert text.startswith("// mine\n")
    assert str(folder) in text
    for step in LEFT:
        assert step in deploys.said
    assert not (deploys.remote.folder / ".env").exists()

    assert deploys.play(gateway.in_step) == (0, "")
    assert deploys.play(doctor.printed) == (0, "")
    assert "gateway mini: in step — the document holds what the topology says" in caplog.text
    assert "[WARN] mini: gateway mini: openclaw" in caplog.text
    _, problem = deploys.play(gateway.restarted)
    assert "restart mini on the machine itself" in problem
    assert TOKEN not in caplog.text


def test_a_gateway_on_windows_is_asked_for_nothing(
    deploys: Deploys, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    monkeypatch.setattr("pyinfra.connectors.ssh.SSHConnector.run_shell_command", None)
    deploys.write(platform="windows")
    assert deploys.play(gateway.in_step) == (2, "")
    assert all(step in caplog.text for step in LEFT)
    assert mode(deploys.remote.config) == 0o600


def test_without_a_pinned_release_nothing_is_written(
    deploys: Deploys, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    deploys.write(version="")
    deploys.remote.write(b"{}")
    changed, problem = deploys.play(gateway.in_step)
    assert changed == -1
    assert "gateways.mini.version" in problem
    assert 'version = "2026.9.6"' in problem
    assert deploys.remote.config.read_bytes() == b"{}"
    assert deploys.play(doctor.printed)[0] == -1
    assert "[FAIL] mini: gateway mini: in step" in caplog.text


def test_a_server_with_neither_shell_nor_sftp_is_told(
    place: Path, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", TOKEN)
    closed = sshd.Sshd(place / "closed", "ForceCommand /bin/false")
    try:
        remote.server = closed
        _, problem = Deploys(remote, tmp_path).play(gateway.in_step)
        assert "gives neither a shell nor SFTP" in problem
    finally:
        closed.stop()
