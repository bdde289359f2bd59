"""``anvil token``: a fresh token, and what is said of one without saying it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner, Result

from anvil.cli.token import token
from tests.unit.topology.example import LOCAL, ROOT, document

NAME = "ANVIL_ROUTER_TOKEN"
VALUE = "canary-token-value-of-some-length"


def run(*words: str) -> Result:
    return CliRunner().invoke(token, list(words))


def test_a_new_token_is_43_url_safe_characters_and_never_the_same() -> None:
    made = [run("new").stdout.strip(), json.loads(run("new", "--json").stdout)["token"]]
    assert [len(each) for each in made] == [43, 43]
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("value", "state", "code"), [(VALUE, "set", 0), ("short", "weak", 0), (" ", "unset", 1), (None, "unset", 1)]
)
def test_status_tells_the_state_and_a_fingerprint(
    value: str | None, state: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if value is not None:
        monkeypatch.setenv(NAME, value)
    digest = None if code else hashlib.sha256(str(value).encode()).hexdigest()[:8]
    told = run("status", "--json")
    assert (told.exit_code, told.stderr) == (code, "")
    assert json.loads(told.stdout) == {"schema": "anvil.token/v1", "name": NAME, "state": state, "fingerprint": digest}
    line = run("status")
    assert (line.exit_code, line.stdout.startswith(f"{NAME}: {state}")) == (code, True)
    assert VALUE not in told.output + line.output


DOCKER = f"""#!/bin/sh
case "$1 $2" in
  "version ") exit 0 ;;
  "container inspect") [ -f state ] && cat state ;;
  "exec anvil-router") shift 2; exec env -u ANVIL_TOPOLOGY ANVIL_ROUTER_TOKEN={VALUE} {sys.executable} -m "$@" ;;
  *) exit 9 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    asked = {"machines/forge/address": "127.0.0.1", "router/token": ["ANVIL_ROUTER_TOKEN", "NEXT_TOKEN"]}
    (tmp_path / "t.toml").write_text(tomli_w.dumps(document(asked)))
    monkeypatch.setenv("ANVIL_TOPOLOGY", "t.toml")
    return tmp_path


@pytest.mark.parametrize("state", ["exited", "paused", None])
def test_a_router_that_does_not_run_is_not_running_never_unset(docker: Path, state: str | None) -> None:
    if state:
        (docker / "state").write_text(f"{state}\n")
    told = run("status")
    assert (told.exit_code, told.stdout) == (1, f"anvil-router on forge: not running ({state or 'absent'})\n")


def test_a_running_router_tells_of_its_own_tokens(docker: Path) -> None:
    (docker / "state").write_text("running\n")
    digest = hashlib.sha256(VALUE.encode()).hexdigest()[:8]
    told = run("status")
    assert told.stdout.splitlines() == [
        "anvil-router on forge: running",
        f"ANVIL_ROUTER_TOKEN: set, fingerprint {digest}",
        "NEXT_TOKEN: unset",
    ]
    assert told.exit_code == 1
    one = run("status", NAME, "--json")
    assert (one.exit_code, json.loads(one.stdout)) == (
        0,
        {
            "schema": "anvil.token/v1",
            "machine": "forge",
            "container": "anvil-router",
            "state": "running",
            "tokens": [{"name": NAME, "state": "set", "fingerprint": digest}],
        },
    )
    assert VALUE not in told.output + one.output


def test_a_process_is_asked_for_its_own_environment(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "short")  # this very process stands for the router
    python = docker / "python"
    python.write_text(f"#!/bin/sh\necho {os.getpid() if Path('/proc/self/environ').exists() else 0}\n")
    python.chmod(0o755)
    (docker / "t.toml").write_text(tomli_w.dumps(document({"router/python": str(python)}, LOCAL)))
    monkeypatch.setenv("ANVIL_WEIGHTS", "/w")
    told = run("status", "HOME")
    digest = hashlib.sha256(os.environ["HOME"].encode()).hexdigest()[:8]
    assert told.stdout.splitlines()[0].endswith("on here: running")
    assert told.stdout.splitlines()[1].endswith(f", fingerprint {digest}")
    python.write_text("#!/bin/sh\nexit 4\n")
    assert run("status").stdout == "anvil-router on here: not running (stopped)\n"


@pytest.mark.parametrize("words", [(), ("--yes",), ("--yes", "--json")])
def test_a_value_is_shown_on_a_terminal_only(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, VALUE)
    refused = run("show", *words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert VALUE not in refused.output
