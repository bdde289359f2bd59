"""Discovery, facts and the library over planted caches (lab contract 8, B9)."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from anvil.cli.models import models
from anvil.lab.models import cache, facts, index, roots, volume
from tests.unit.lab.models.planted import BIG, model, plain, sparse

MODELOPT = {"model_type": "qwen3", "quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}


def one(root: Path) -> cache.Found:
    (found,) = cache.scan([root], [])
    return found


# ------------------------------------------------------------------------------------------------------ roots


def test_roots_follow_the_hub_variables_and_count_once(tmp_path: Path) -> None:
    for name in ("a/hub", "b", "c/hub", "home/.cache/huggingface/hub", "p1/hub"):
        (tmp_path / name).mkdir(parents=True)
    environ = {
        "HF_HOME": str(tmp_path / "a"),
        "HF_HUB_CACHE": str(tmp_path / "b"),
        "HUGGINGFACE_HUB_CACHE": str(tmp_path / "b/../b"),
        "USERPROFILE": str(tmp_path / "absent"),
    }
    found = roots.roots(environ, tmp_path / "home", str(tmp_path / "p*/hub"))
    assert found == tuple(tmp_path / name for name in ("a/hub", "b", "home/.cache/huggingface/hub", "p1/hub"))
    assert roots.roots({"HF_HOME": str(tmp_path / "c/hub")}, tmp_path, "/none/*")[0] == tmp_path / "c/hub"


def test_a_named_home_stands_for_its_hub(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    assert roots.named(f"{tmp_path}:/x") == [tmp_path / "hub", Path("/x")]


# -------------------------------------------------------------------------------------------------- discovery


def test_cache_names_may_hold_dashes_and_nested_files_count(tmp_path: Path) -> None:
    snapshot = model(tmp_path, "models--ow-ner--re--po", {"model_type": "x"}, weights="q4/part.gguf")
    found = one(tmp_path)
    assert (found.repo, found.snapshot) == ("ow-ner/re--po", snapshot)
    assert facts.facts(found).format == "GGUF"


def test_the_loadable_path_is_the_snapshot_that_refs_name(tmp_path: Path) -> None:
    model(tmp_path, "models--a--b", {"model_type": "x"}, commit="old")
    newer = model(tmp_path, "models--a--b", {"model_type": "x"}, commit="new", named=False)
    assert one(tmp_path).snapshot.name == "old"
    (tmp_path / "models--a--b/refs/main").write_text("gone")
    os.utime(newer, (2e9, 2e9))
    assert one(tmp_path).snapshot.name == "new"
    (tmp_path / "models--a--b/refs/main").write_text("../../..")
    assert one(tmp_path).snapshot.name == "new"


def test_a_snapshot_without_a_config_loses(tmp_path: Path) -> None:
    bare = model(tmp_path, "models--a--b", None, commit="bare", named=False)
    model(tmp_path, "models--a--b", {"model_type": "x"}, commit="whole", named=False)
    os.utime(bare, (2e9, 2e9))
    assert one(tmp_path).snapshot.name == "whole"


def test_each_blob_counts_once_and_an_interrupted_one_apart(tmp_path: Path) -> None:
    snapshot = model(tmp_path, "models--a--b", None)
    (snapshot / "again.safetensors").symlink_to("../../blobs/w-c1")
    broken = sparse(tmp_path / "models--a--b/blobs/x.incomplete", 77)
    os.utime(broken, (1e9, 1e9))
    found = one(tmp_path)
    assert (found.size_bytes, found.incomplete_bytes, found.incomplete_since) == (BIG, 77, 1e9)


@pytest.mark.parametrize(
    ("told", "repo"),
    [
        ("owner/repo", "owner/repo"),
        ("/mnt/models/x", "folder"),
        ("./x/y", "folder"),
        ("~/y", "folder"),
        ("C:/y", "folder"),
        ("a\\b/c", "folder"),
        ("a/b/c", "folder"),
        ("../../etc/passwd", "folder"),
        (7, "folder"),
    ],
)
def test_a_plain_folder_is_called_by_its_config_only_when_that_is_a_repository(
    tmp_path: Path, told: object, repo: str
) -> None:
    plain(tmp_path / "deep/folder", {"_name_or_path": told, "model_type": "x"})
    (found,) = cache.scan([], [tmp_path])
    assert found.repo == repo


def test_a_broken_config_and_a_folder_reached_twice_do_no_harm(tmp_path: Path) -> None:
    plain(tmp_path / "m", None)
    (tmp_path / "m/config.json").write_text("{" * 100_000)
    (tmp_path / "twin").symlink_to(tmp_path / "m")
    assert [found.repo for found in cache.scan([], [tmp_path, tmp_path])] == ["m"]


# ------------------------------------------------------------------------------------------------------ facts


@pytest.mark.parametrize(
    ("told", "quant"),
    [
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "mxfp4-pack-quantized",
                "config_groups": {"g": {"weights": {"num_bits": 4, "type": "float"}}},
            },
            "mxfp4",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "float"}}}},
            "nvfp4",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}},
            "fp8",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}},
            "compressed-tensors-4bit",
        ),
        ({"quant_method": "awq", "bits": 4}, "awq-4bit"),
    ],
)  # fmt: skip
def test_number_formats(tmp_path: Path, told: dict[str, Any], quant: str) -> None:
    model(tmp_path, "models--a--b", {"model_type": "x", "quantization_config": told})
    assert facts.facts(one(tmp_path)).quant == quant


def test_facts_of_config_sampling_and_optimizer_file(tmp_path: Path) -> None:
    config = {
        "architectures": ["A"],
        "model_type": "m",
        "text_config": {"max_position_embeddings": 40960, "num_experts": 128},
    }
    sampling = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
    optimizer = {"quantization": {"quant_algo": "NVFP4"}}
    model(tmp_path, "models--a--b", config, generation_config_json=sampling, hf_quant_config_json=optimizer)
    assert facts.facts(one(tmp_path)) == facts.Facts(
        format="safetensors", quant="nvfp4", quant_method="modelopt", context=40960, architectures=("A",),
        model_type="m", moe=True, temperature=0.6, top_p=0.95, top_k=20,
    )  # fmt: skip


def test_a_gguf_file_says_its_quantisation(tmp_path: Path) -> None:
    model(tmp_path, "models--a--b-GGUF", None, weights="b-1.5B-Q4_K_M.gguf")
    told = facts.facts(one(tmp_path))
    assert (told.format, told.quant, told.loadable_by) == ("GGUF", "Q4_K_M", ("llamacpp",))


@pytest.mark.parametrize(
    ("repo", "size", "kind", "model_type", "real"),
    [
        ("unslothai/repeat", BIG, "safetensors", "x", False),
        ("a/b", 1000, "?", "x", False),
        ("a/b", 1000, "safetensors", None, True),
        ("a/b", BIG, "?", None, False),
        ("a/b", BIG, "?", "x", True),
    ],
)
def test_the_gate_for_real_models(repo: str, size: int, kind: str, model_type: str | None, real: bool) -> None:
    assert facts.is_real(repo, size, kind, model_type) is real


# ---------------------------------------------------------------------------------------------------- library


def run(*arguments: object, obj: object = None, env: dict[str, str] | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(models, words, obj=obj, catch_exceptions=False, env=env)


def indexed(tmp_path: Path, *more: object) -> Result:
    return run("index", "--roots", tmp_path / "hub", "--dirs", tmp_path / "dirs", "--out", tmp_path / "lib", *more)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.socket.connect", refuse)


def test_the_library_is_written_and_new_models_are_named(tmp_path: Path) -> None:
    model(
        tmp_path / "hub",
        "models--nvidia--Q-NVFP4",
        MODELOPT,
        **{"README.md": "---\nlicense: mit\n---\n| SWE-bench Verified | 61.5 |\n"},
    )
    model(tmp_path / "hub", "models--x--y-GGUF", None, weights="y-Q8_0.gguf", size=9 * BIG)
    model(tmp_path / "hub", "models--unslothai--repeat", {"model_type": "x"})
    plain(tmp_path / "dirs/evil", {"_name_or_path": "../../../../tmp/evil", "model_type": "x"})
    first = indexed(tmp_path)
    assert first.exit_code == 0, first.output
    page = (tmp_path / "lib/INDEX.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (\S+) \|", page, re.M)[2:]
    assert rows == [("nvidia/Q-NVFP4", "safetensors"), ("evil", "safetensors"), ("x/y-GGUF", "GGUF")]
    assert "| mit |  | SWE-bench Verified 61.5 |" in page
    assert f"{tmp_path}/hub/models--nvidia--Q-NVFP4/snapshots/c1" in page
    assert sorted(path.name for path in (tmp_path / "lib/cards").iterdir()) == [
        "evil.json", "evil.md", "nvidia__Q-NVFP4.json", "nvidia__Q-NVFP4.md", "x__y-GGUF.json", "x__y-GGUF.md",
    ]  # fmt: skip
    assert "new: nvidia/Q-NVFP4" in first.stdout
    assert "0 new" in indexed(tmp_path).stdout
    document = json.loads(indexed(tmp_path, "--json").stdout)
    assert document["schema"] == "anvil.models/v1"
    assert {row["repo"] for row in document["models"]} == {"nvidia/Q-NVFP4", "x/y-GGUF", "evil"}


def test_hazards_are_sentences_with_links_and_never_a_verdict(tmp_path: Path) -> None:
    model(tmp_path, "models--nvidia--Q-30B-A3B-NVFP4", MODELOPT)
    (row,) = index.rows(cache.scan([tmp_path], []), ("12.0",))
    assert [(each.level, each.compute, each.source[:8]) for each in row.hazards] == [("warn", "12.0", "https://")]
    assert "NVFP4 MoE" in row.hazards[0].sentence
    assert index.rows(cache.scan([tmp_path], []), ("9.0",))[0].hazards == ()


@pytest.mark.parametrize("name", ["../x", "a/../../b", "/etc/passwd", "a/b/c", ".", "", "a|b\n", "C:\\x"])
def test_no_name_leaves_the_cards_folder(tmp_path: Path, name: str) -> None:
    made = index.file_name(name)
    assert (tmp_path / made).parent == tmp_path
    assert (tmp_path / made).resolve().is_relative_to(tmp_path.resolve())
    assert not made.startswith(".")


def test_no_two_models_share_a_card() -> None:
    names = ["\u6a21\u578b\u4e00", "\u6a21\u578b\u4e8c", "a/b c", "a/b-c", "", "unnamed", "a" * 200, "a" * 201]
    assert len({index.file_name(name) for name in names}) == len(names)
    assert index.file_name("nvidia/Q-NVFP4") == "nvidia__Q-NVFP4"


def test_importing_writes_nothing(tmp_path: Path) -> None:
    code = "import anvil.lab.models.index, anvil.lab.models.pull, anvil.cli.models"
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).parents[4])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environ)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_exits_2(tmp_path: Path) -> None:
    assert run("index", "--roots", tmp_path / "none", "--out", tmp_path / "lib").exit_code == 2
    assert run("index", "--roots", tmp_path, "--out", tmp_path / "a/b").exit_code == 2
    assert run("index", "--host", "x", "--out", tmp_path / "lib").exit_code == 2


# ----------------------------------------------------------------------------------------------------- volume


def listed(script: str, hub: Path) -> str:
    """The listing's own shell text over a folder, as the container would run it."""
    shell = script.replace("cd /cache/hub 2>/dev/null || cd /cache", f"cd {hub}")
    return subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout


def test_a_volume_is_read_like_a_folder(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    model(hub, "models--a--b--c", {"model_type": "m", "max_position_embeddings": 77})
    sparse(hub / "models--a--b--c/blobs/x.incomplete", 5)
    asked: list[Any] = []

    def docker(words: Any) -> volume.Ended:
        asked.append(list(words))
        return volume.Ended(0, listed(shlex.split(words[-1])[-1], hub), "")

    result = run(
        "index", "--volume", "vllm-hfcache", "--host", "me@box", "--image", "img", "--out", tmp_path / "lib", "--json",
        obj=docker, env={"ANVIL_TOPOLOGY": ""},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["models"]
    assert row["repo"] == "a/b--c"
    assert row["path"] == "vllm-hfcache:models--a--b--c/snapshots/c1"
    assert (row["facts"]["context"], row["facts"]["format"], row["incomplete"]) == (77, "safetensors", True)
    assert BIG <= row["size_bytes"] <= BIG + 100
    assert (asked[0][0], asked[0][-2]) == ("ssh", "me@box")
    assert {"docker", "--network", "none", "vllm-hfcache:/cache:ro"} <= set(shlex.split(asked[0][-1]))


def test_a_listing_cannot_write_outside_its_tree(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir()
    target = outside / "config.json"
    target.write_text("mine")
    hostile = [
        "f 3 5 ../outside/new", "f 3 5 /tmp/new", "f x 5 models--a/b",
        "l ./models--a/up", "../../outside", "l ./models--a/root", str(outside), "l ./models--a/snap", "../../outside/config.json",
        "d models--a/up/config.json eA==", "d models--a/snap eA==", "d ../outside/config.json eA==", "end",
    ]  # fmt: skip
    volume.lay_out("\n".join(hostile), tree)
    assert target.read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["config.json"]


def test_volume_failures_have_their_codes(tmp_path: Path) -> None:
    def refused(_: Any) -> volume.Ended:
        return volume.Ended(125, "", "Unable to find image 'img' locally\n")

    def cut(_: Any) -> volume.Ended:
        return volume.Ended(0, "f 1 1 ./models--a/b\n", "")

    def absent(_: Any) -> volume.Ended:
        raise volume.ToolMissing("docker is not installed here")

    words = ("index", "--volume", "v", "--image", "img", "--out", tmp_path / "lib")
    assert [run(*words, obj=each).exit_code for each in (refused, cut, absent)] == [1, 1, 127]
    assert run("index", "--volume", "a/b", "--image", "img", "--out", tmp_path / "lib").exit_code == 2
    assert run("index", "--volume", "nobodys", "--out", tmp_path / "lib").exit_code == 2


@pytest.mark.parametrize("option", ["--roots", "--dirs"])
def test_a_folder_that_is_named_and_missing_is_refused(option: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    result = run("index", option, f"{tmp_path / 'there'}:{tmp_path / 'gone'}", "--out", tmp_path / "lib")
    assert result.exit_code == 2
    assert f"no such folder: {tmp_path / 'gone'}; give {option}" in result.stderr
    assert not (tmp_path / "lib").exists()


def test_where_there_is_no_cache_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(models, ["index"])
    assert (result.exit_code, "--roots" in result.stderr) == (0, True), result.output
    (tmp_path / ".cache/huggingface/hub").mkdir(parents=True)
    assert CliRunner().invoke(models, ["index"]).stderr == ""
