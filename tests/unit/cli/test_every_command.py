"""What holds for all of ``anvil`` (contract lab.md 1, B17): help, unknown flags and names, no traceback, no secret."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from anvil import cli
from anvil.lab import writing
from tests.unit.topology.example import ROOT

CANARY = "canary-token-value-0000000000"


def paths() -> Iterator[tuple[str, ...]]:
    """Every command and subcommand there is."""
    for name, (module, attribute) in cli.COMMANDS.items():
        yield from below((name,), getattr(importlib.import_module(module), attribute))


def below(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from below((*path, name), inner)


ALL = sorted(paths())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANVIL_ROUTER_TOKEN", "HF_TOKEN", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, CANARY)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of the real entry point; anything but a SystemExit would be a traceback."""
    monkeypatch.setattr(sys, "argv", ["anvil", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_there_are_as_many_as_the_table_says() -> None:
    assert {path[0] for path in ALL} == set(cli.COMMANDS)
    assert len(ALL) > len(cli.COMMANDS)


@pytest.mark.parametrize("path", [(), *((name,) for name in cli.COMMANDS)], ids=" ".join)
def test_lists_of_commands_are_whole_sentences(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *path, "--help") == 0
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_exits_0(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *path, "--help") == 0
    told = capsys.readouterr()
    assert "anvil" in told.out
    assert told.err == ""
    assert CANARY not in told.out


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_an_unknown_flag_is_one_line_and_exit_2(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *path, "--hlep") == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith(f"anvil {' '.join(path)}: ")
    assert "--hlep" in line
    assert "--help" in line, "the nearest name"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sreve"], "did you mean serve?"),
        (["harness", "shwo"], "Did you mean 'show'?"),
        (["metrics"], "--replay"),
        (["init", "--port", "x"], "--port"),
        (["--vresion"], "--version"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    "words",
    [
        ["modes", "list", "--topology", "gone"],
        ["recipes", "list", "--registry", "gone"],
        ["preflight", "--serve", "x", "--topology", "gone"],
        ["usage", "--logs", "gone"],
        ["bootstrap", "--replay", "gone", "--out", "x.json"],
        ["eval", "grade", "gone"],
        ["metrics", "--replay", "gone"],
        ["check", "--config", "gone"],
        ["multiplexer", "--config", "gone"],
        ["priors", "list", "--db", "gone"],
        ["harness", "validate", "--capture", "gone"],
        ["render", "out", "--topology", "gone"],
    ],
    ids=" ".join,
)
def test_a_refusal_is_one_line_with_the_commands_name(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    name = " ".join(words[: 1 + (words[0] in {"modes", "recipes", "eval", "priors", "harness"})])
    assert line.startswith(f"anvil {name}: ")
    assert told.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["bootstrap", "--replay", str(ROOT / "tests/corpus/evals"), "--out", "x.json"],
        ["check", "--config", str(ROOT / "anvil/router/shipped/local.toml"), "--profile-out", "x.json"],
        ["eval", "grade", str(ROOT / "tests/corpus/evals/2026-06-20-planning-capability"), "--out", "."],
        ["recipes", "share", "x.json", "--registry", str(ROOT / "inventory/recipes.toml")],
        ["usage", "--logs", "logs", "--out", "x.json"],
    ],
    ids=lambda words: words[0],
)
def test_a_full_disk_is_one_line_with_the_file_and_exit_1(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it: without a name

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/s.jsonl").write_text('{"type":"assistant","message":{"usage":{"output_tokens":1}}}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    assert run(monkeypatch, *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"anvil {words[0]}")
    assert ".json: " in line or ".csv: " in line
    assert "No space left on device" in line
    assert [each.name for each in tmp_path.iterdir()] == ["logs"]


def test_every_command_knows_json_but_those_that_serve() -> None:
    without = set()
    for path in ALL:
        command = click.Group(commands={path[0]: loaded(path[0])})
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]  # type: ignore[assignment] # a group until the last name
        if not isinstance(command, click.Group) and not any("--json" in each.opts for each in command.params):
            without.add(path[0])
    assert without == {"serve", "multiplexer", "probe", "socket"}


def loaded(name: str) -> click.Command:
    module, attribute = cli.COMMANDS[name]
    found: click.Command = getattr(importlib.import_module(module), attribute)
    return found


def test_a_file_that_cannot_be_written_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "profile.json")

    router = ROOT / "anvil/router/shipped/local.toml"
    assert run(monkeypatch, "check", "--config", str(router), "--profile-out", str(tmp_path / "gone" / "x")) == 2
    assert "no such folder" in capsys.readouterr().err
    monkeypatch.setattr(writing, "write_whole", full)
    assert run(monkeypatch, "check", "--config", str(router), "--profile-out", str(tmp_path / "x")) == 1
    told = capsys.readouterr()
    assert told.err == "anvil check: profile.json: No space left on device\n"


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_usage_lists_every_command(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words) == 0
    listed = capsys.readouterr().out
    assert all(f"\n  {name} " in listed for name in cli.COMMANDS)


def test_an_old_interpreter_is_told_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    assert run(monkeypatch, "--help") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "3.11" in line
    assert "3.10.4" in line


WITHOUT_DEPLOY = """
import subprocess
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"jinja2", "yaml", "json5", "pyinfra", "tomli_w", "supervisor"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["anvil", *sys.argv[1:]]
from anvil.cli import main
main()
"""


@pytest.mark.parametrize("words", [["--help"], ["init", "--local", "--model", "a/b"], ["render", "x"]], ids=" ".join)
def test_a_base_installation_has_help_and_says_what_is_missing(words: list[str]) -> None:
    """As in a router's image, which has no deploy extra."""
    ran = subprocess.run([sys.executable, "-c", WITHOUT_DEPLOY, *words], capture_output=True, text=True, cwd=ROOT)
    if words == ["--help"]:
        assert (ran.returncode, ran.stderr) == (0, "")
        return
    assert ran.returncode == 2
    assert "pip install 'anvil-serving[deploy]'" in ran.stderr
    assert "Traceback" not in ran.stderr
