"""``anvil logs``: one container's lines here and over ssh, and four different answers where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from click.testing import CliRunner, Result

from anvil.cli.logs import logs
from anvil.lab import machine_shell
from tests.unit.lab.onboarding import hosts
from tests.unit.topology.example import GONE, LOCAL, document, topology

DOCKER = """#!/bin/sh
case "$1 $2" in
  "version ") exit 0 ;;
  "container inspect") [ "$3" = vllm-qwen36 ] ;;
  "logs --tail") echo "$*"; echo "to stderr" >&2 ;;
  *) exit 9 ;;
esac
"""


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = hosts.path(tmp_path)
    monkeypatch.setenv("PATH", str(made))
    monkeypatch.delenv("ANVIL_TOPOLOGY", raising=False)
    monkeypatch.chdir(tmp_path)
    (made / "tail").symlink_to("/usr/bin/tail")
    hosts.script(made, "docker", DOCKER)
    return made


def run(*arguments: str, here: bool = True, **changes: Any) -> Result:
    place = {"machines/forge/address": "127.0.0.1"} if here else {}
    Path("t.toml").write_text(tomli_w.dumps(document({**place, **changes})))
    return CliRunner().invoke(logs, [*arguments, "--topology", "t.toml"])


def test_both_streams_of_a_serve_by_either_name() -> None:
    for name in ("fast", "vllm-qwen36"):
        result = run(name, "--tail", "5", "--since", "10m")
        assert result.exit_code == 0, result.output
        assert result.stdout == "logs --tail 5 --since 10m vllm-qwen36\nto stderr\n"
    told = json.loads(run("fast", "--json").stdout)
    assert (told["schema"], told["machine"], told["container"]) == ("anvil.logs/v1", "forge", "vllm-qwen36")
    assert told["lines"] == ["logs --tail 200 vllm-qwen36", "to stderr"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "there are: heavy, fast, router"),
        (["fast", "heavy"], 2, "one service at a time"),
        (["fats"], 2, "did you mean fast?"),
        (["heavy"], 1, "vllm-gptoss120 does not exist"),
        (["fast", "--since", "yesterday; rm"], 2, "neither a time"),
        (["fast", "--tail", "0"], 2, "range"),
    ],
)
def test_none_several_unknown_and_absent_differ(arguments: list[str], code: int, said: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.output


def test_a_daemon_that_is_down_or_missing(tools: Path) -> None:
    hosts.script(tools, "docker", "#!/bin/sh\nexit 1\n")
    assert "daemon does not answer" in run("fast").stderr
    (tools / "docker").unlink()
    assert run("fast").exit_code == 127


def test_another_machine_is_asked_over_ssh(tools: Path) -> None:
    log = hosts.with_ssh(tools)
    ssh = {"machines/forge/ssh": {"user": "me", "port": 2222, "key": "~/.ssh/forge", "known_hosts": "/k"}}
    result = run("fast", here=False, **ssh)
    assert result.exit_code == 0, result.output
    assert "to stderr" in result.stdout
    words = log.read_text().splitlines()
    assert words[words.index("--") + 1] == "me@100.64.0.10"
    assert words[words.index("-p") + 1] == "2222"
    assert "StrictHostKeyChecking=yes" in words
    hosts.with_ssh(tools, "echo refused >&2; exit 255")
    assert "ssh cannot reach it: refused" in run("fast", here=False).stderr
    (tools / "ssh").unlink()
    assert run("fast", here=False).exit_code == 127


def test_the_far_shell_gets_quoted_words() -> None:
    assert machine_shell.there("h", "a b", "$(x)")[-1] == "sh -s -- 'a b' '$(x)'"


def test_a_process_logs_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANVIL_WEIGHTS", "/w.gguf")
    root = tmp_path / "root"
    Path("t.toml").write_text(tomli_w.dumps(document({"machines/here/root": str(root)}, LOCAL)))

    def ask(*words: str) -> Result:
        return CliRunner().invoke(logs, [*words, "--topology", "t.toml"])

    assert "does not exist" in ask("fast").stderr
    (root / "supervisor/logs").mkdir(parents=True)
    (root / "supervisor/logs/fast.log").write_text("one\ntwo\nthree\n")
    assert ask("fast", "--tail", "2").stdout == "two\nthree\n"
    assert ask("fast", "--since", "10m").exit_code == 2


def test_which_machine_is_this_one() -> None:
    assert not machine_shell.is_here(topology().machines["forge"])
    assert machine_shell.is_here(topology({"machines/forge/address": "127.0.0.1"}).machines["forge"])
    forwarded = {"machines/forge/ssh": {"hostname": "127.0.0.1", "port": 2222}}
    assert not machine_shell.is_here(topology(forwarded).machines["forge"])
    alone = {"machines/here/address": GONE}
    assert machine_shell.is_here(topology(alone, LOCAL).machines["here"])
