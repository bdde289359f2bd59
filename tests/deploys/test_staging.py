"""A release laid down beside what is live: whole or not at all, whoever else is at it and wherever it is cut off."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from anvil.hosts import releases
from anvil.hosts.releases import Place, release_live, release_staged
from anvil.hosts.shell import script
from tests.deploys.play import Run, play

ID = "a" * 16
FILES = {"router.toml": "first = 'ünï 🜁'\n", "compose.yaml": "services: {}\n"}
SAYS = 'cat "$0/router.toml" >&2; echo \'{"config_hash": "f"}\''


@pytest.fixture
def root(folder: Path) -> Path:
    (folder / "releases").mkdir()
    return folder


def stage(
    root: Path, judge: str = SAYS, files: Mapping[str, str] = FILES, disagrees: str = "", everyone: bool = False
) -> Run:
    words = ("sh", "-c", judge, "{staged}")
    place = Place(folder=str(root), validator=words, health_url="http://127.0.0.1:1", everyone=everyone)
    arguments: dict[str, Any] = {"place": place, "release": ID, "files": dict(files), "about": {"id": ID}}
    return play((release_staged, {**arguments, "agrees": lambda said: disagrees if said else "no report"}))


def held(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / "releases")) for path in (root / "releases").rglob("*"))


def test_it_is_laid_down_once_with_what_its_loader_said(root: Path) -> None:
    assert stage(root).changed() == [True]
    names = ("RELEASE", "check.json", "compose.yaml", "release.json", "router.toml")
    assert held(root) == [ID, *(f"{ID}/{name}" for name in names)]
    made = root / "releases" / ID
    assert (made / "router.toml").read_text() == FILES["router.toml"]
    assert (made / "check.json").read_text() == '{"config_hash": "f"}\n'
    assert [oct(path.stat().st_mode & 0o777) for path in (made, made / "router.toml")] == ["0o750", "0o640"]
    assert stage(root).changed() == [False]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_a_file_its_user_could_no_longer_read_gets_its_mode_back(root: Path, mode: int) -> None:
    """The container's user reads it at every start: a router that runs would not come back from the next one."""
    stage(root)
    file, folder = root / "releases" / ID / "router.toml", root / "releases" / ID
    file.chmod(mode)
    folder.chmod(0o700)
    assert stage(root).changed() == [True]
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, file)] == ["0o750", "0o640"]
    assert stage(root).changed() == [False]


def test_without_a_group_of_its_own_every_user_may_read_it(root: Path) -> None:
    """Whoever deploys without root can give nothing to the container's user."""
    judge = 'stat -c %a "$0" "$0/router.toml" > "$0/../../judged"; echo "{\\"config_hash\\": 1}"'
    assert stage(root, judge, everyone=True).changed() == [True]
    assert (root / "judged").read_text().split() == ["755", "644"]
    made = root / "releases" / ID
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (made, *made.iterdir())}
    assert modes == {ID: "0o755", **dict.fromkeys(("RELEASE", "check.json", "release.json", *FILES), "0o644")}
    assert stage(root, judge, everyone=True).changed() == [False]
    assert stage(root, judge).changed() == [True]


def test_a_preset_that_no_tier_may_serve_is_told_and_one_that_lacks_a_key_is_not() -> None:
    """11.2: the deploy succeeds, and every caller of that preset gets a refusal."""
    rows = {
        "planning": [{"gate": "denied"}, {"gate": "metered"}],
        "review": [{"gate": "metered"}, {"gate": "unbound"}],
        "nightly": [{"gate": "denied"}],
    }
    said = {"presets": rows, "unservable": list(rows), "warnings": ['preset "planning": why', "other"]}
    assert releases.unserved(said) == ['preset "nightly": no tier may serve it', 'preset "planning": why']
    assert releases.unserved({}) == []


def test_what_its_loader_says_of_a_preset_reaches_the_operator(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = {"presets": {"planning": [{"gate": "denied"}]}, "unservable": ["planning"]}
    caplog.set_level("INFO", logger="pyinfra")
    stage(root, f"echo {shlex.quote(json.dumps(report))}")
    assert 'WARN preset "planning": no tier may serve it' in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_that_were_given_away_are_taken_back(root: Path) -> None:
    stage(root)
    for path in (root / "releases" / ID, root / "releases" / ID / "router.toml"):
        os.chown(path, 65534, 65534)
    assert stage(root).changed() == [True]
    found = (root / "releases" / ID / "router.toml").stat()
    assert (found.st_uid, stage(root).changed()) == (0, [False])


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({".": ("750", "0", "10001"), "a": ("640", "0", "10001")}, ""),
        ({".": ("750", "0", "0"), "a": ("640", "0", "10001")}, ".: group 0 -> 10001"),
        ({".": ("750", "0", "10001"), "a": ("640", "5", "10001")}, "a: owned by user 5"),
        ({}, ""),
    ],
)
def test_who_may_read_a_release(kept: dict[str, tuple[str, str, str]], said: str) -> None:
    assert releases.FilesAnswer(status="ok", kept=kept, asked_by="0").wrongly_kept("10001", "750", "640") == said


def test_a_file_edited_by_hand_is_put_back(root: Path) -> None:
    stage(root)
    edited = root / "releases" / ID / "router.toml"
    before = held(root)
    edited.write_text("first = 'edited'\n")
    assert stage(root).changed() == [True]
    assert edited.read_text() == FILES["router.toml"]
    assert held(root) == before


@pytest.mark.parametrize(
    ("judge", "disagrees"),
    [("echo no >&2; exit 1", ""), (SAYS, "tiers: read [], meant [x]")],
    ids=["refused", "misread"],
)
def test_what_its_loader_does_not_accept_leaves_nothing_behind(root: Path, judge: str, disagrees: str) -> None:
    assert stage(root, judge, disagrees=disagrees).error
    assert held(root) == []


def test_one_that_was_cut_off_while_it_judged_does_not_disturb_the_next(root: Path) -> None:
    """Its controller is gone, the host still runs its loader; the next run stages the same release meanwhile."""
    slow = ("sh", "-c", "sleep 1; echo '{}'", "{staged}")
    sent = releases._packed({**FILES, "RELEASE": f"{ID}\n"})
    shell = script(releases._STAGE, str(root), ID, "", *slow).get_raw_value()
    orphan = subprocess.Popen(["sh", "-c", shell], stdin=subprocess.PIPE)
    assert orphan.stdin is not None
    orphan.stdin.write(f"{len(sent)}\n{sent}".encode())
    orphan.stdin.close()
    assert stage(root).error == ""
    assert orphan.wait(30) == 0
    assert stage(root).changed() == [False]
    assert {path.split("/")[0] for path in held(root)} == {ID}


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_link_that_drops_on_the_way_stages_nothing(root: Path, part: float) -> None:
    sent = releases._packed({**FILES, "RELEASE": f"{ID}\n"})
    shell = script(releases._STAGE, str(root), ID, "", "echo", "{}").get_raw_value()
    cut = f"{len(sent)}\n{sent}"[: int((len(sent) + 4) * part)]
    done = subprocess.run(["sh", "-c", shell], input=cut, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "nothing was staged" in done.stderr
    assert held(root) == []


@pytest.fixture
def answer() -> Iterator[tuple[str, dict[str, str]]]:
    """A router's /healthz: its URL and what it says."""
    told = {"status": "ok", "release": ID, "config_hash": "f"}

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/healthz", told
        server.shutdown()


@pytest.mark.parametrize(
    ("said", "linked", "live"),
    [
        ({}, ID, True),
        ({"config_hash": "0"}, ID, False),  # it read files that somebody edited
        ({"release": "b" * 16}, ID, False),
        ({}, "b" * 16, False),
    ],
)
def test_only_what_was_meant_counts_as_live(
    root: Path, answer: tuple[str, dict[str, str]], said: dict[str, str], linked: str, live: bool
) -> None:
    stage(root)
    (root / "current").symlink_to(f"releases/{linked}")
    (root / "go-live.sh").write_text(f'echo "$*" > {root}/went\n')
    url, told = answer
    told.update(said)
    place = Place(folder=str(root), validator=(), health_url=url)
    arguments = {"place": place, "release": ID, "owner": "me@here", "source": "inventory"}
    assert play((release_live, arguments)).error == ""
    assert (root / "went").exists() is not live
    if not live:
        assert (root / "went").read_text() == f"{ID} f me@here inventory\n"
