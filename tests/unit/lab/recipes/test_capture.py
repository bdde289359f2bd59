"""A running container as a recipe (lab contract 7, B8): host port, digest, no secret, and when it counts as verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from anvil.cli.recipes import recipes
from anvil.lab.recipes import evidence, inspected, registry, toml
from anvil.lab.recipes.apply import Wanted, applied
from anvil.lab.recipes.inspected import Container
from anvil.lab.recipes.model import SCHEMA
from tests.unit.lab.recipes.samples import CANARY, CARD, DIGEST, ROOT, Docker, container, topology

IMAGE = {"RepoDigests": [f"vllm/vllm-openai@{DIGEST}"]}


def row(**changes: Any) -> dict[str, Any]:
    return inspected.recipe_row(Container(container(**changes), IMAGE), topology())


def test_a_container_becomes_a_recipe() -> None:
    assert row() == {
        "model": "openai/gpt-oss-120b",
        "status": "unverified",
        "source": "captured from container vllm-gptoss120",
        "hardware": {"gpu": "rtx_pro_6000_blackwell_96gb", "arch": "sm_120", "gpu_uuid": CARD, "vram_total_gb": 96},
        "serve": {
            "engine": "vllm",
            "image": f"vllm/vllm-openai:nightly@{DIGEST}",
            "context_tokens": 131072,
            "port": 30002,
            "env": [f"CUDA_VISIBLE_DEVICES={CARD}", "VLLM_USE_V2_MODEL_RUNNER=0"],
            "flags": [
                "--served-model-name gpt-oss-120b",
                "--kv-cache-dtype fp8",
                "--tool-call-parser openai",
                "--enable-auto-tool-choice",
                "--gpu-memory-utilization 0.88",
                "--max-model-len 131072",
            ],
            "entrypoint": ["vllm"],
            "ipc": "host",
            "shm_size": "16g",
        },
        "measured": {"image_digest": DIGEST},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Image": "lmsysorg/sglang:v1", "Entrypoint": ["python3", "-m", "sglang.launch_server"],
         "Cmd": ["--model-path", "a/b", "--served-model-name", "b", "--kv-cache-dtype", "fp8_e5m2", "--context-length", "4096",
                 "--max-running-requests", "16", "--mem-fraction-static", "0.88", "--enable-metrics", "--host", "0.0.0.0"]},
    ],
    ids=["vllm", "sglang"],
)  # fmt: skip
def test_a_captured_recipe_applies_to_the_same_flags(changes: dict[str, Any]) -> None:
    found = registry.loads(toml.dumps({"schema": SCHEMA, "recipe": [row(**changes)]}), "captured")
    made = applied(found.recipes[0], Wanted("forge", "pro", 31000, "extra"), topology())
    assert made.difference == ((), ())
    assert found.warnings == ()


def test_an_unknown_card_has_no_name_and_devices_may_come_by_environment() -> None:
    other = CARD.replace("1", "9")
    assert row(DeviceRequests=[{"DeviceIDs": [other]}])["hardware"] == {"gpu_uuid": other}
    assert row(DeviceRequests=None)["hardware"]["gpu_uuid"] == CARD
    assert "hardware" not in row(DeviceRequests=None, Env=["CUDA_VISIBLE_DEVICES=0,1"])


@pytest.mark.parametrize(
    ("image", "entrypoint", "command", "engine", "model"),
    [
        ("lmsysorg/sglang:v1", ["python3", "-m", "sglang.launch_server"], ["--model-path", "/models/q"], "sglang", "/models/q"),
        ("ghcr.io/x/y", ["/app/llama-server"], ["-m", "/m/q.gguf", "-a", "q"], "llamacpp", "/m/q.gguf"),
        ("vllm/vllm-openai", ["vllm", "serve"], ["a/b"], "vllm", "a/b"),
        ("vllm/vllm-openai", None, ["--model=a/b"], "vllm", "a/b"),
        ("acme/engine", ["run"], ["--model", "a/b"], "custom", "a/b"),
    ],
)  # fmt: skip
def test_engine_and_model(image: str, entrypoint: Any, command: list[str], engine: str, model: str) -> None:
    found = row(Image=image, Entrypoint=entrypoint, Cmd=command)
    assert (found["serve"]["engine"], found["model"]) == (engine, model)
    assert "--model-path /models/q" not in found["serve"].get("flags", [])


def test_prestart_lines_are_told_from_the_engine() -> None:
    wrapper = ["sh", "-ec", 'rm -rf x\necho y\nexec "$@"', "anvil-prestart"]
    serve = row(Entrypoint=wrapper, Cmd=["vllm", "serve", "a/b", "--seed", "-1"])["serve"]
    assert (serve["prestart"], serve["entrypoint"], serve["flags"]) == (["rm -rf x", "echo y"], ["vllm"], ["--seed -1"])


def test_no_secret_of_the_container_is_kept() -> None:
    found = row(Cmd=["serve", "a/b", "--api-key", CANARY, "--tool-call-parser", "openai"])
    assert CANARY not in json.dumps(found)
    assert "--tool-call-parser openai" in found["serve"]["flags"]


BENCH = {
    "schema": "anvil.bench/v1", "run_id": "bench-20261124T100000Z", "model": "gpt-oss-120b", "concurrency": 1,
    "completed": 60, "requests": 60, "image_digest": DIGEST, "context_tokens": None, "max_context_tokens": 65536,
    "metrics": {"ttft_p50_ms": 120.5, "throughput_tok_s": 180.0, "decode_tok_s": None},
}  # fmt: skip
GATE = {"schema": "anvil.preflight/v1", "model": "gpt-oss-120b", "passed": True, "tests": []}


def doubts(tmp_path: Path, bench: dict[str, Any] | None, gate: dict[str, Any] | None, started: str = "") -> list[str]:
    (tmp_path / "b.json").write_text(json.dumps(bench))
    (tmp_path / "p.json").write_text(json.dumps(gate))
    load = evidence.bench(tmp_path / "b.json") if bench else None
    return evidence.doubts(row(), load, evidence.preflight(tmp_path / "p.json") if gate else None, started)


def test_only_a_passing_preflight_and_a_bench_of_the_same_image_verify(tmp_path: Path) -> None:
    assert doubts(tmp_path, BENCH, GATE) == []
    assert doubts(tmp_path, None, None) == ["no preflight given", "no bench given"]
    assert doubts(tmp_path, BENCH, {**GATE, "passed": False}) == ["its preflight failed"]
    older = {**BENCH, "schema": "anvil-serving.benchmark/v1"}
    assert doubts(tmp_path, older, GATE) == doubts(tmp_path, BENCH, GATE)
    with pytest.raises(evidence.EvidenceError, match="schema 'other/v1'"):
        doubts(tmp_path, {**BENCH, "schema": "other/v1"}, GATE)
    assert doubts(tmp_path, {**BENCH, "completed": 0}, GATE) == ["its bench completed nothing"]
    other = {**BENCH, "image_digest": DIGEST.replace("a", "b")}
    assert doubts(tmp_path, other, GATE) == ["the bench is not known to have measured the image that runs now"]
    assert doubts(tmp_path, BENCH, {**GATE, "model": "x"}) == ["preflight asked x and bench asked gpt-oss-120b"]


UNNAMED = {**BENCH, "image_digest": None, "base_url": "http://127.0.0.1:30002/v1"}
BEFORE, AFTER = "2026-11-24T09:59:59.5Z", "2026-11-24T10:00:01.5Z"


@pytest.mark.parametrize(
    ("bench", "started", "verified"),
    [
        (UNNAMED, BEFORE, True),
        (UNNAMED, AFTER, False),
        (UNNAMED, "", False),
        ({**UNNAMED, "base_url": "http://127.0.0.1:30003/v1"}, BEFORE, False),
        ({**UNNAMED, "base_url": "http://127.0.0.1:x/v1"}, BEFORE, False),
        ({**UNNAMED, "run_id": "bench"}, BEFORE, False),
    ],
)
def test_a_bench_counts_when_the_container_ran_then_on_that_port(
    tmp_path: Path, bench: dict[str, Any], started: str, verified: bool
) -> None:
    assert (doubts(tmp_path, bench, GATE, started) == []) is verified


def test_a_preflight_of_an_earlier_container_counts_for_nothing(tmp_path: Path) -> None:
    old = {**GATE, "started": "2026-11-24T09:00:00Z"}
    assert doubts(tmp_path, UNNAMED, old, BEFORE) == ["its preflight is older than the container"]


def test_a_container_that_stopped_has_no_start() -> None:
    state = {"Running": True, "StartedAt": BEFORE}
    assert inspected.started(Container({"State": state}, {})) == BEFORE
    assert inspected.started(Container({"State": {**state, "Running": False}}, {})) == ""


def test_throughput_is_single_only_at_one_stream(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_text(json.dumps(BENCH))
    single = evidence.measured(evidence.bench(file))
    assert (single["throughput_single_tok_s"], single["context_tokens"]) == (180.0, 65536)
    file.write_text(json.dumps({**BENCH, "concurrency": 20}))
    many = evidence.measured(evidence.bench(file))
    assert "throughput_single_tok_s" not in many
    assert (many["throughput_aggregate_tok_s"], many["concurrency"]) == (180.0, 20)


# --------------------------------------------------------------------------------------------- the command


def run(*arguments: object, docker: Docker | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(recipes, words, obj=docker, catch_exceptions=False)


def site(tmp_path: Path) -> tuple[object, ...]:
    copy = tmp_path / "topology.toml"
    copy.write_text((ROOT / "inventory/topology.toml").read_text())
    return ("--topology", copy)


def test_capture_writes_what_list_and_show_then_print(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(BENCH))
    (tmp_path / "p.json").write_text(json.dumps(GATE))
    files = ("--bench", tmp_path / "b.json", "--preflight", tmp_path / "p.json", "--registry", tmp_path / "r.toml")
    docker = Docker(container())
    result = run("capture", "vllm-gptoss120", "--host", "me@box", *files, *site(tmp_path), "--write", docker=docker)
    assert result.exit_code == 0, result.output
    assert docker.asked[0][0] == "ssh"
    assert docker.asked[0][-2:] == ["me@box", "docker container inspect -- vllm-gptoss120"]
    listed = run("list", "--registry", tmp_path / "r.toml").stdout
    assert listed.startswith("verified    openai/gpt-oss-120b  180 tok/s single")
    shown = json.loads(run("show", "GPT-oss-120b", "--registry", tmp_path / "r.toml", "--json").stdout)
    assert shown["schema"] == "anvil.recipes/v1"
    assert shown["recipe"]["serve"]["port"] == 30002
    again = run("capture", "c", *files, *site(tmp_path), "--write", docker=docker)
    assert again.exit_code == 2
    assert "--force replaces it" in again.stderr


def test_a_missing_container_fails_before_anything_is_read(tmp_path: Path) -> None:
    result = run("capture", "ghost", "--bench", tmp_path / "absent.json", *site(tmp_path), docker=Docker(None))
    assert result.exit_code == 1
    assert "No such container: ghost" in result.stderr


def test_bad_evidence_and_bad_registries_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_text('{"schema": "other"}')
    result = run("capture", "c", "--bench", file, *site(tmp_path), docker=Docker(container()))
    assert (result.exit_code, str(file) in result.stderr) == (2, True)
    assert run("list", "--registry", tmp_path / "none.toml").exit_code == 2
    assert run("show", "nothing", "--registry", ROOT / "inventory/recipes.toml").exit_code == 2


def test_apply_prints_a_table_and_write_appends_it(tmp_path: Path) -> None:
    where = ("--machine", "forge", "--gpu", "pro", "--port", 31000, "--name", "third", *site(tmp_path))
    shipped = ("--registry", ROOT / "inventory/recipes.toml")
    before = (tmp_path / "topology.toml").read_text()
    printed = run("apply", "gpt-oss-120b", *where, *shipped)
    assert printed.exit_code == 0
    assert printed.stdout.startswith("[serves.third]\n")
    assert (tmp_path / "topology.toml").read_text() == before
    assert run("apply", "gpt-oss-120b", *where, *shipped, "--write").exit_code == 0
    after = (tmp_path / "topology.toml").read_text()
    assert after == f"{before.rstrip()}\n\n{printed.stdout}"
    assert run("apply", "gpt-oss-120b", *where, *shipped, "--write").exit_code == 2


def test_apply_exits_1_with_the_difference(tmp_path: Path) -> None:
    text = 'schema = "anvil-serving.serve-recipes/v1"\n[[recipe]]\nmodel = "a/b"\nstatus = "parked"\n[recipe.serve]\n'
    (tmp_path / "r.toml").write_text(text + 'engine = "vllm"\ncontext_tokens = 1024\n')
    where = ("--machine", "forge", "--gpu", "pro", "--port", 31000, *site(tmp_path))
    result = run("apply", "a/b", *where, "--registry", tmp_path / "r.toml")
    assert result.exit_code == 1
    assert "+ --max-model-len 1024" in result.stderr


def test_share_leaves_out_the_cards(tmp_path: Path) -> None:
    shipped = ("--registry", ROOT / "inventory/recipes.toml")
    assert run("share", tmp_path / "x.toml", *shipped).exit_code == 0
    assert (tmp_path / "x.toml").read_text() == (ROOT / "inventory/recipes.toml").read_text()
    assert run("share", tmp_path / "x.toml", *shipped).exit_code == 2
