"""One download into a volume: argv, secrecy, lock, exit codes (lab contract 8, B10)."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anvil.cli.models import models
from anvil.lab import machine_shell
from anvil.lab.models import pull
from tests.unit.lab.recipes.samples import CANARY

WANTED = pull.Pull("a/b", "cache", "img:1", include=("*.json",), exclude=("metal/*", "original/*"))


class Child:
    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[tuple[list[str], dict[str, str], bytes | None]] = []

    def __call__(self, words: Sequence[str], environ: Mapping[str, str], given: bytes | None) -> int:
        self.calls.append((list(words), dict(environ), given))
        return self.code


def run(*arguments: object, child: object = None, env: dict[str, str] | None = None) -> Result:
    words = ["pull", *map(str, arguments)]
    return CliRunner().invoke(models, words, obj=child, catch_exceptions=False, env=env)


def test_the_command_line() -> None:
    assert shlex.join(pull.argv(WANTED)) == (
        "docker run --rm -e HF_TOKEN -v cache:/root/.cache/huggingface --entrypoint hf img:1 download a/b --revision main"
        " --include '*.json' --exclude 'metal/*' --exclude 'original/*'"
    )


def test_dry_run_prints_it_and_runs_nothing(tmp_path: Path) -> None:
    child = Child()
    words = ("a/b", "--volume", "cache", "--image", "img:1", "--include", "*.json", "--dry-run")
    result = run(*words, "--root", tmp_path, child=child)
    assert result.stdout == shlex.join(pull.argv(WANTED._replace(exclude=()))) + "\n"
    assert child.calls == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", [None, "me@box"])
def test_neither_the_token_nor_its_name_is_on_a_command_line(tmp_path: Path, host: str | None) -> None:
    child = Child()
    words = ("a/b", "--volume", "cache", "--image", "i", "--token-env", "MY_SECRET_NAME", "--root", tmp_path)
    more = ("--host", host) if host else ()
    result = run(*words, *more, child=child, env={"MY_SECRET_NAME": CANARY, "OTHER_SECRET": "x"})
    assert result.exit_code == 0, result.output
    ((argv, environ, given),) = child.calls
    assert CANARY not in result.output + " ".join(argv)
    assert "MY_SECRET_NAME" not in " ".join(argv)
    assert not {"MY_SECRET_NAME", "OTHER_SECRET"} & environ.keys()
    assert (environ.get("HF_TOKEN"), given) == ((None, CANARY.encode() + b"\n") if host else (CANARY, None))


def test_the_remote_script_hands_the_token_on_under_the_lock(tmp_path: Path) -> None:
    """The very words ssh would give the remote shell, run by a shell here, with a docker of our own."""
    seen = tmp_path / "seen"
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\necho "$HF_TOKEN|$*" >{seen}\nflock -n {tmp_path}/weights-cache.lock true || echo held >>{seen}\nexit 7\n'
    )
    docker.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = pull.remote_argv(WANTED, machine_shell.reach("box", None), str(tmp_path))[-1]
    done = subprocess.run(["sh", "-c", script], input=CANARY.encode() + b"\n", env=environ, timeout=20, check=False)
    assert done.returncode == 7
    assert seen.read_text() == f"{CANARY}|{' '.join(pull.argv(WANTED)[1:])}\nheld\n"


@pytest.mark.parametrize("volume", ["a/b", "C:", "x\\y", "", "-v"])
def test_a_volume_that_is_a_path_is_refused(volume: str) -> None:
    result = run("a/b", f"--volume={volume}", "--image", "i", "--dry-run")
    assert result.exit_code == 2


def test_preconditions_exit_2(tmp_path: Path) -> None:
    assert run("a/b", "--volume", "v", "--image", "i", "--token-env", "UNSET_NAME").exit_code == 2
    assert run("ab", "--volume", "v", "--image", "i").exit_code == 2
    nobody = run("a/b", "--volume", "nobodys", "--topology", Path(__file__).parents[4] / "inventory/topology.toml")
    assert (nobody.exit_code, "--image" in nobody.stderr) == (2, True)


def test_codes_of_the_child_come_through(tmp_path: Path) -> None:
    words = ("a/b", "--volume", "cache", "--image", "i", "--root", tmp_path)
    assert run(*words, child=Child(125)).exit_code == 125
    assert run(*words, "--host", "box", child=Child(pull.BUSY)).exit_code == 1

    def absent(*_: object) -> int:
        raise pull.ToolMissing("docker is not installed here")

    assert run(*words, child=absent).exit_code == 127
    assert run("a/b", "--volume", "c", "--image", "i", "--root", tmp_path / "none", child=Child()).exit_code == 1


def test_two_pulls_into_one_volume_do_not_meet(tmp_path: Path) -> None:
    waits: list[float] = []
    lock = tmp_path / "weights-cache.lock"
    with pull.locked(lock), pytest.raises(pull.Busy), pull.locked(lock, 1.0, waits.append):
        pass
    assert waits == [0.5, 0.5]
    with pull.locked(lock):
        pass


def test_a_machine_that_has_met_no_deploy_has_the_lock_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "ROOT", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("a/b", "--volume", "cache", "--image", "i", child=Child()).exit_code == 0
    assert [path.name for path in (tmp_path / ".cache/anvil").iterdir()] == ["weights-cache.lock"]
    (tmp_path / ".cache/anvil/weights-cache.lock").unlink()
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "docker").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = pull.remote_argv(WANTED, machine_shell.reach("box", None), None)[-1]
    done = subprocess.run(["sh", "-c", script], input=b"\n", env=environ, timeout=20, check=False)
    assert done.returncode == 7
    assert (tmp_path / ".cache/anvil/weights-cache.lock").is_file()
