"""Removal and the command over planted caches (lab contract 10, B12)."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anvil.cli.prune import Parts, prune
from anvil.lab.locking import alone
from anvil.lab.prune import removal, rows
from anvil.topology.retention import Item
from tests.unit.lab.models.planted import BIG, model, sparse
from tests.unit.lab.recipes.samples import ROOT

NOW = 2_000_000_000.0
SITE = ("--topology", ROOT / "inventory/topology.toml", "--registry", ROOT / "inventory/recipes.toml")
INDEX = json.dumps({"weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}})


class Docker:
    def __init__(self, inspected: str = "") -> None:
        self.inspected = inspected

    def __call__(self, words: Sequence[str]) -> str | None:
        return "id1\n" if "ps" in words else self.inspected


def test_two_runs_never_remove_from_one_cache_at_once(hub: Path) -> None:
    before = sorted(hub.rglob("*"))
    with alone(hub):
        result = run(hub, *SITE, "--execute", "--yes")
    assert (result.exit_code, sorted(hub.rglob("*"))) == (1, before)
    assert f"{hub}: another run is at work on it" in result.stderr


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    hub = tmp_path / "hub"
    model(hub, "models--openai--gpt-oss-120b", {"model_type": "x"})
    model(hub, "models--nvidia--Qwen3-32B-NVFP4", {"model_type": "x"})
    model(hub, "models--x--big", {"model_type": "x"}, size=3 * BIG)
    model(hub, "models--x--gguf", None, weights="g-Q4_0.gguf")
    model(
        hub,
        "models--x--broken",
        {"model_type": "x"},
        weights="m-00001-of-00002.safetensors",
        **{"m.safetensors.index.json": INDEX},
    )
    stale(hub / "models--x--broken")
    stale(hub / "models--x--big")
    return hub


def stale(folder: Path, age: float = 8 * 86400) -> None:
    part = sparse(folder / "blobs/p.incomplete", 1000)
    os.utime(part, (NOW - age, NOW - age))


def run(hub: Path, *arguments: object, docker: Docker | None = None) -> Result:
    words = ["--roots", str(hub), *map(str, arguments)]
    parts = Parts(docker=docker or Docker(), clock=lambda: NOW)
    return CliRunner().invoke(prune, words, obj=parts, catch_exceptions=False)


def test_the_plan_lists_what_nothing_needs_and_changes_nothing(hub: Path) -> None:
    before = sorted(hub.rglob("*"))
    result = run(hub, *SITE, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["schema"] == "anvil.prune/v1"
    assert [(item["repo"], item["reason"], item["delete"]) for item in document["items"]] == [
        ("x/big", "unreferenced", False),
        ("x/broken", "incomplete", True),
        ("x/gguf", "incompatible-format", False),
    ]
    assert document["protected"] == ["nvidia/Qwen3-32B-NVFP4", "openai/gpt-oss-120b"]
    assert document["executed"] is None
    assert {row["repo"]: (row["whole"], row["incomplete_since"] is None) for row in document["candidates"]} == {
        "nvidia/Qwen3-32B-NVFP4": (True, True),
        "openai/gpt-oss-120b": (True, True),
        "x/big": (True, False),
        "x/broken": (False, False),
        "x/gguf": (True, True),
    }
    assert sorted(hub.rglob("*")) == before
    assert "1 to delete" in run(hub, *SITE).stdout


def test_execute_removes_incomplete_only_and_the_second_run_is_a_no_op(hub: Path) -> None:
    first = run(hub, *SITE, "--execute", "--yes")
    assert first.exit_code == 0, first.output
    assert "1 removed, " in first.stderr
    assert sorted(path.name for path in hub.iterdir()) == [
        "models--nvidia--Qwen3-32B-NVFP4", "models--openai--gpt-oss-120b", "models--x--big", "models--x--gguf",
    ]  # fmt: skip
    second = run(hub, *SITE, "--execute", "--yes")
    assert (second.exit_code, "0 removed, 0 bytes freed" in second.stderr) == (0, True)


def test_include_servable_takes_the_rest_but_never_what_is_named_or_open(hub: Path) -> None:
    running = Docker('{"Cmd":["serve","x/gguf"]}')
    result = run(hub, *SITE, "--include-servable", "--protect", "X/Big", "--execute", "--yes", docker=running)
    assert result.exit_code == 0, result.output
    left = {path.name for path in hub.iterdir()}
    assert left == {
        "models--openai--gpt-oss-120b", "models--nvidia--Qwen3-32B-NVFP4", "models--x--big", "models--x--gguf",
    }  # fmt: skip


def test_an_open_file_keeps_its_model(hub: Path) -> None:
    with (hub / "models--x--broken/blobs/p.incomplete").open("rb"):
        assert "x/broken" in json.loads(run(hub, *SITE, "--json").stdout)["protected"]


@pytest.mark.parametrize(
    "arguments",
    [
        (*SITE, "--execute"),
        (*SITE, "--execute", "--yes", "--protect", "x/bgi"),
        (*SITE, "--protect", "nobody/nothing", "--json"),
        (*SITE, "--execute", "--yes", "--volume", "v"),
        ("--registry", "/none/recipes.toml"),
        ("--topology", "/none/topology.toml"),
    ],
)
def test_refusals_exit_2_and_change_nothing(hub: Path, arguments: tuple[object, ...]) -> None:
    before = sorted(hub.rglob("*"))
    result = run(hub, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sorted(hub.rglob("*")) == before


def test_include_servable_needs_to_know_what_is_used(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hub.parent)
    monkeypatch.delenv("ANVIL_TOPOLOGY", raising=False)
    assert run(hub, "--include-servable").exit_code == 2
    assert run(hub, "--include-servable", "--protect", "x/big").exit_code == 0
    assert run(hub, "--include-servable", "--allow-empty-protection").exit_code == 0


def test_a_whole_snapshot_has_what_it_promises(tmp_path: Path) -> None:
    snapshot = tmp_path / "s"
    sparse(snapshot / "m-00001-of-00002.safetensors", 1)
    assert not rows.whole(snapshot)
    sparse(snapshot / "m-00002-of-00002.safetensors", 1)
    assert rows.whole(snapshot)
    (snapshot / "x.index.json").write_text(json.dumps({"weight_map": {"a": "other.safetensors"}}))
    assert not rows.whole(snapshot)
    assert not rows.whole(tmp_path / "none")


# ---------------------------------------------------------------------------------------------------- removal


def item(path: Path | str) -> Item:
    return Item(repo="x/y", path=str(path), size_bytes=7, reason="incomplete", delete=True)


def test_only_a_real_folder_strictly_inside_a_root_may_go(tmp_path: Path) -> None:
    root, twin = tmp_path / "hub", tmp_path / "hub-2"
    for folder in (root / "m", twin / "m"):
        folder.mkdir(parents=True)
    (root / "file").write_text("")
    (root / "link").symlink_to(twin / "m")
    (root / "up").symlink_to(tmp_path)
    assert removal.refusal(str(root / "m"), [root]) is None
    refused = ["", "hub/m", "/", str(root), str(tmp_path), str(twin / "m"), str(root / "link"), str(root / "file"),
               str(root / "gone"), str(root / "../hub-2/m"), str(root / "up/hub-2/m")]  # fmt: skip
    assert [path for path in refused if removal.refusal(path, [root]) is None] == []
    assert removal.refusal(str(root / "m"), []) is not None


def test_one_failure_is_skipped_and_the_batch_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    real = removal.shutil.rmtree

    def rmtree(path: str) -> None:
        if path.endswith("a"):
            raise PermissionError(13, "Permission denied")
        real(path)

    monkeypatch.setattr(removal.shutil, "rmtree", rmtree)
    done = removal.remove([item(tmp_path / name) for name in "abc"], [tmp_path], lambda each: each.path.endswith("b"))
    assert (done.removed, done.freed_bytes) == ((str(tmp_path / "c"),), 7)
    assert [(Path(each.path).name, each.why) for each in done.skipped] == [
        ("a", "cannot be removed: Permission denied"), ("b", "is protected now"),
    ]  # fmt: skip


def test_a_skipped_folder_makes_the_command_exit_1(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(_: str) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(removal.shutil, "rmtree", deny)
    result = run(hub, *SITE, "--execute", "--yes")
    assert (result.exit_code, "0 bytes freed" in result.stderr) == (1, True)


def test_nothing_goes_while_docker_hangs(hub: Path) -> None:
    def hangs(_: Sequence[str]) -> str | None:
        raise rows.ContainersUnknown("docker did not answer")

    result = CliRunner().invoke(
        prune, ["--roots", str(hub), *map(str, SITE), "--execute", "--yes"], obj=Parts(docker=hangs, clock=lambda: NOW)
    )
    assert result.exit_code == 1
    assert (hub / "models--x--broken").is_dir()


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (1, "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", None),
        (1, "failed to connect to the docker API at unix:///x; check if the daemon is running: connect: no such", None),
        (127, "sh: docker: not found", None),
        (1, "Error: No such object: id2", "vllm serve x/big\n"),
        (1, "permission denied while trying to connect to the docker API at unix:///x", "unknown"),
        (255, "ssh: connect to host forge port 22: Connection timed out", "unknown"),
        (1, "", "unknown"),
    ],
)
def test_what_docker_will_not_tell_is_unknown_not_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: str, told: str | None
) -> None:
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\necho vllm serve x/big\necho {shlex.quote(error)} >&2\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if told == "unknown":
        with pytest.raises(rows.ContainersUnknown, match="which containers run is unknown"):
            rows.docker(["docker", "ps", "-q"])
    else:
        assert rows.docker(["docker", "ps", "-q"]) == told
