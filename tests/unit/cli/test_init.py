"""``anvil init`` on machines made of fakes: what it writes loads, passes the cross-checks and renders."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from anvil.cli import COMMANDS
from anvil.cli.init import init
from anvil.cli.render import render
from anvil.lab.onboarding import folder
from anvil.topology import check, load, schema
from anvil.topology.model import Topology
from tests.unit.lab.onboarding import hosts
from tests.unit.topology.example import ROOT

MODEL = "openai/gpt-oss-120b"


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = hosts.path(tmp_path)
    monkeypatch.setenv("PATH", str(made))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", "canary-token-value-0000000000")
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "ANVIL_TOPOLOGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def cards(tools: Path) -> None:
    hosts.with_cards(tools)
    hosts.with_docker(tools, (MODEL,))


def run(*arguments: object, code: int = 0) -> Result:
    words = [str(word) for word in arguments]
    result = CliRunner().invoke(init, [*words, *([] if "--out" in words else ["--out", "inventory"]), "--mkdir"])
    assert result.exit_code == code, result.output
    return result


def written(out: str = "inventory") -> Topology:
    """As the deploys would read it."""
    found = load.load(Path(out, "topology.toml"), os.environ)
    assert [finding for finding in check.check(found) if finding.level == "error"] == []
    return found


def text() -> str:
    return Path("inventory/topology.toml").read_text()


def document() -> dict[str, Any]:
    return tomllib.loads(text())


def catalogue(*rows: dict[str, Any]) -> Path:
    place = Path("library/cards")
    place.mkdir(parents=True)
    for row in rows:
        place.joinpath(f"{row['repo'].replace('/', '__')}.json").write_text(json.dumps(row))
    return place.parent


# ------------------------------------------------------------------------------------------------- the first run


def test_a_machine_with_cards_gets_a_whole_inventory(cards: None) -> None:
    result = run("--local", "--model", MODEL, "--json")
    told = json.loads(result.stdout)
    assert (told["schema"], told["serve"], told["tier"], told["gpu"]) == (
        "anvil.init/v1", "heavy", "heavy-local", hosts.PRO,
    )  # fmt: skip
    assert told["next"] == [
        "pyinfra inventory/hosts.py deploy/doctor.py",
        "pyinfra inventory/hosts.py deploy/full.py --dry --diff",
        "pyinfra inventory/hosts.py deploy/full.py",
    ]
    found = written()
    (machine,) = found.machines
    serve: Any = found.serves["heavy"]
    assert found.machines[machine].gpus[serve.gpu].uuid == hosts.PRO
    assert (serve.repo, serve.port, serve.context, serve.family) == (MODEL, 30000, 131072, "gpt-oss")
    # What the machine has already: its image, and the volume that holds the model.
    assert serve.image == "vllm/vllm-openai:v0.31.0@sha256:" + "3" * 64
    assert found.volumes[serve.volume].name == "models-cache"
    assert all(tiers == ("heavy-local",) for tiers in found.presets.values())
    assert list(found.presets) == ["chat", "quick-edit", "review", "planning", "long-context"]
    assert found.router.token == ("ANVIL_ROUTER_TOKEN",)
    assert Path("inventory/topology.schema.json").read_text() == schema.text()
    assert "here(checked(" in Path("inventory/hosts.py").read_text()
    assert Path("inventory/group_data/all.py").read_text() == (ROOT / "inventory/group_data/all.py").read_text()
    assert CliRunner().invoke(render, ["out", "--topology", "inventory/topology.toml"]).exit_code == 0
    assert "canary" not in result.output + text()


def test_the_inventory_file_is_the_one_we_ship() -> None:
    assert folder.hosts(Path("inventory/topology.toml"), False) == (ROOT / "inventory/hosts.py").read_text()


def test_another_machine_is_asked_and_reached_over_ssh(cards: None, tools: Path) -> None:
    hosts.with_ssh(tools)
    run("--host", "me@100.64.0.10", "--model", MODEL, "--gateway", "100.64.0.11")
    found = written()
    (machine, gateway) = found.machines
    ssh = found.machines[machine].ssh
    assert ssh is not None
    assert (ssh.hostname, ssh.user, found.machines[machine].address) == ("100.64.0.10", "me", "100.64.0.10")
    assert found.router.publish == "100.64.0.10"
    assert found.gateways[gateway].router_url == "http://100.64.0.10:8000/v1"
    assert "over_ssh(checked(" in Path("inventory/hosts.py").read_text()


@pytest.mark.parametrize(
    ("gateway", "publish", "url"),
    [
        ("me@fd00::9", "fd00::1", "http://[fd00::1]:8000/v1"),
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_a_gateway_reaches_the_router(cards: None, tools: Path, gateway: str, publish: str, url: str) -> None:
    hosts.with_ssh(tools)
    run("--host", "me@fd00::1", "--model", MODEL, "--gateway", gateway)
    found = written()
    assert found.router.publish == publish
    assert [each.router_url for each in found.gateways.values()] == [url]


def test_without_a_card_the_model_is_an_endpoint() -> None:
    result = run("--local", "--model", MODEL, "--context", 32768)
    assert "there is no nvidia-smi" in result.stderr
    found = written()
    tier: Any = found.tiers["fast-local"]
    assert (tier.base_url, tier.model, tier.context_limit) == ("http://127.0.0.1:30000/v1", "gpt-oss-120b", 32768)
    assert found.serves == {}
    assert "# uuid = " in text()
    assert CliRunner().invoke(render, ["out", "--topology", "inventory/topology.toml"]).exit_code == 0


def test_a_cache_entry_is_a_repository_and_a_volume(tools: Path) -> None:
    hosts.with_cards(tools)
    hosts.with_docker(tools)
    Path(".cache/huggingface/hub/models--openai--gpt-oss-120b/snapshots/abc").mkdir(parents=True)
    result = run("--local", "--model", MODEL)
    serve: Any = written().serves["heavy"]
    assert (serve.repo, serve.path) == (MODEL, None)
    assert written().volumes[serve.volume].name == "anvil-hfcache"
    assert "pulled once more" in result.stderr


def test_options_are_obeyed(cards: None) -> None:
    run("--local", "--model", "nvidia/Qwen3.6-27B-NVFP4", "--gpu", "1", "--port", 30003, "--context", 32768,
        "--served-name", "mine", "--tier-id", "quick", "--thinking", "off", "--image", "vllm/vllm-openai:v0.30.0")  # fmt: skip
    found = written()
    serve: Any = found.serves["quick"]
    tier: Any = found.tiers["quick"]
    assert found.machines[serve.machine].gpus[serve.gpu].uuid == hosts.GAMING
    assert (serve.port, serve.context, serve.served_model, serve.image) == (
        30003, 32768, "mine", "vllm/vllm-openai:v0.30.0",
    )  # fmt: skip
    assert (serve.quantization, serve.family, tier.thinking) == ("modelopt_fp4", "qwen3", "off")


def test_a_window_is_suggested_from_usage_and_not_imposed(cards: None) -> None:
    coverage = {"16384": 20.0, "65536": 96.5, "131072": 99.0}
    Path("usage.json").write_text(json.dumps({"schema": "anvil.usage/v1", "subagent_context_coverage_pct": coverage}))
    result = run("--local", "--model", MODEL, "--usage", "usage.json")
    assert "--context 65536" in result.stderr
    assert written().serves["heavy"].context == 131072
    Path("usage.json").write_text("{}")
    assert "anvil usage" in run("--local", "--model", MODEL, "--usage", "usage.json", "--out", "b", code=2).stderr


def test_a_machine_that_gets_a_card_gets_a_serve(tools: Path) -> None:
    run("--local", "--model", MODEL)
    hosts.with_cards(tools)
    hosts.with_docker(tools)
    result = run("--local", "--model", MODEL, "--mode-of-write", "merge")
    found = written()
    (machine,) = found.machines.values()
    assert (machine.runtime, machine.owner, len(machine.gpus)) == ("compose", "root:root", 2)
    assert found.presets["chat"] == ("heavy-local",)
    assert "tiers.fast-local is in no preset" in result.stderr


def test_a_catalogue_and_a_recipe(cards: None) -> None:
    library = catalogue(
        {"repo": "a/Large-40B", "size_bytes": 60 << 30, "facts": {"format": "safetensors", "context": 65536}},
        {"repo": "a/Small-8B", "size_bytes": 10 << 30, "facts": {"format": "safetensors", "context": 8192}},
    )
    run("--local", "--catalog", library)
    assert document()["serves"]["heavy"]["repo"] == "a/Large-40B"
    assert document()["serves"]["heavy"]["context"] == 65536
    Path("inventory/topology.toml").unlink()
    Path("inventory/recipes.toml").write_text(
        'schema = "anvil-serving.serve-recipes/v1"\n[[recipe]]\nmodel = "a/Small-8B"\nstatus = "verified"\n'
        '[recipe.hardware]\ngpu = "rtx_5090_32gb"\n[recipe.serve]\nengine = "vllm"\nimage = "vllm/vllm-openai:v0.31.0"\n'
        'context_tokens = 4096\nflags = ["--gpu-memory-utilization 0.7", "--max-num-seqs 3"]\n'
    )
    result = run("--local", "--catalog", library, "--port", 30009)
    assert "verified recipe" in result.stdout
    serve = document()["serves"]["fast"]
    assert (serve["repo"], serve["gpu_memory"], serve["max_concurrent"], serve["context"], serve["port"]) == (
        "a/Small-8B", 0.7, 3, 4096, 30009,
    )  # fmt: skip
    # The recipe's tag, pinned by what the machine has under it.
    assert serve["image"] == "vllm/vllm-openai:v0.31.0@sha256:" + "3" * 64


REGISTRY = """schema = "anvil-serving.serve-recipes/v1"
[[recipe]]
model = "a/Gaming-20B"
status = "verified"
[recipe.hardware]
gpu = "rtx_5090_32gb"
vram_weights_gb = 20
[recipe.serve]
engine = "vllm"
[recipe.measured]
throughput_single_tok_s = 91.5
[[recipe]]
model = "a/Huge-400B"
status = "verified"
[recipe.hardware]
vram_weights_gb = 200
[recipe.serve]
engine = "vllm"
"""


def test_recipes_that_fit_the_cards_are_told_where_no_model_is_named(cards: None) -> None:
    Path("inventory").mkdir()
    Path("inventory/recipes.toml").write_text(REGISTRY)
    told = run("--local", code=2).stderr
    assert (
        "fits: a/Gaming-20B (NVIDIA GeForce RTX 5090, 32 GB): recipe verified on this card, 91.5 tok/s single" in told
    )
    assert "Huge" not in told
    assert "fits: a/Gaming-20B" in run("--local", "--model", MODEL).stderr
    assert document()["serves"]["heavy"]["repo"] == MODEL, "advised, not imposed"


# ------------------------------------------------------------------------------------------------ the second run


def test_another_port_leaves_one_consistent_file(cards: None) -> None:
    run("--local", "--model", MODEL)
    before = text()
    run("--local", "--model", MODEL, "--port", 30005, "--mode-of-write", "merge")
    assert text().count("30005") == 1
    assert written().serves["heavy"].port == 30005
    run("--local", "--model", MODEL, "--mode-of-write", "merge")
    assert text() == before
    assert "nothing to do" in run("--local", "--model", MODEL, "--mode-of-write", "merge").stdout


def test_what_people_wrote_stays(cards: None) -> None:
    run("--local", "--model", MODEL)
    edited = text().replace("gpu_memory = 0.88", "gpu_memory = 0.7  # leave room for a desktop")
    edited = edited.replace("[tiers.heavy-local]", '# mine\n[tiers.other]\nserve = "heavy"\n\n[tiers.heavy-local]')
    Path("inventory/topology.toml").write_text(edited)
    Path("inventory/hosts.py").write_text("# mine\n")
    result = run("--local", "--model", MODEL, "--port", 30005, "--mode-of-write", "merge")
    assert "serves.heavy was edited by hand: gpu_memory left" in result.stderr
    assert "gpu_memory = 0.7  # leave room for a desktop" in text()
    assert "# mine\n[tiers.other]" in text()
    assert written().serves["heavy"].port == 30005
    assert Path("inventory/hosts.py").read_text() == "# mine\n"


def test_a_table_without_the_mark_is_left_alone(cards: None) -> None:
    run("--local", "--model", MODEL)
    lines = [line.split("  # anvil init")[0] if line.startswith("[serves") else line for line in text().splitlines()]
    Path("inventory/topology.toml").write_text("\n".join(lines) + "\n")
    result = run("--local", "--model", MODEL, "--port", 30005, "--mode-of-write", "merge")
    assert "serves.heavy is yours" in result.stderr
    assert written().serves["heavy"].port == 30000


def test_two_serves_share_the_presets_by_size(cards: None) -> None:
    run("--local", "--model", MODEL)
    run("--local", "--model", "nvidia/Qwen3.6-27B-NVFP4", "--gpu", hosts.GAMING, "--port", 30003,
        "--mode-of-write", "merge")  # fmt: skip
    found = written()
    assert set(found.serves) == {"heavy", "fast"}
    small, large = ("fast-local", "heavy-local"), ("heavy-local", "fast-local")
    assert dict(found.presets) == {
        "chat": small, "quick-edit": small, "review": large, "planning": large, "long-context": large,
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------- refusals


def test_new_never_writes_over_a_file(cards: None) -> None:
    run("--local", "--model", MODEL)
    before = text()
    said = run("--local", "--model", MODEL, "--port", 30005, code=2).stderr
    assert "--out" in said
    assert "--mode-of-write merge" in said
    assert text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", MODEL], "--local"),
        (["--local", "--host", "a@b", "--model", MODEL], "--local"),
        (["--local"], "anvil models index"),
        (["--local", "--model", "/models/x"], "OWNER/NAME"),
        (["--host", "-oProxyCommand=x", "--model", MODEL], "USER@HOST"),
        (["--local", "--model", MODEL, "--gpu", "7"], hosts.PRO),
        (["--local", "--model", MODEL, "--gpu", "A100"], hosts.PRO),
        (["--local", "--model", MODEL, "--engine", "sglang"], "--image"),
        (["--local", "--model", MODEL, "--thinking", "off"], "reasoning_effort"),
        (["--local", "--catalog", "absent"], "no model cards"),
        (["--local", "--model", MODEL, "--port", "80"], "1024"),
    ],
)
def test_refusals_write_nothing(cards: None, arguments: list[str], said: str) -> None:
    assert said in run(*arguments, code=2).stderr
    assert not Path("inventory").exists()


def test_a_card_that_would_be_overfilled_is_refused(cards: None) -> None:
    run("--local", "--model", MODEL)
    before = text()
    result = run("--local", "--model", "a/b", "--gpu", 0, "--port", 30003, "--tier-id", "second",
                 "--mode-of-write", "merge", code=2)  # fmt: skip
    assert "(T08)" in result.stderr
    assert text() == before


def test_machines_that_cannot_be_asked(tools: Path) -> None:
    assert "ssh" in run("--host", "me@forge", "--model", MODEL, code=127).stderr
    hosts.with_ssh(tools, "echo 'Permission denied (publickey).' >&2; exit 255")
    assert "Permission denied" in run("--host", "me@forge", "--model", MODEL, code=1).stderr


def test_onboard_is_the_same_command() -> None:
    assert COMMANDS["onboard"] == COMMANDS["init"]
