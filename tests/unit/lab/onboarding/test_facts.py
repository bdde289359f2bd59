"""What a machine answers, as facts: the real script on a PATH of fakes, and answers of machines that are not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from anvil.lab.machine_shell import Ran
from anvil.lab.onboarding import facts, naming, selecting
from anvil.lab.onboarding.facts import CachedModel, Card, FactsError
from tests.unit.lab.onboarding import hosts

TWO = (
    Card(index=0, uuid=hosts.PRO, name="NVIDIA RTX PRO 6000 Blackwell", total_mib=97887, compute="12.0"),
    Card(index=1, uuid=hosts.GAMING, name="NVIDIA GeForce RTX 5090", total_mib=32607, compute="12.0"),
)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = hosts.path(tmp_path)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_a_machine_with_cards_docker_and_models(tools: Path) -> None:
    hosts.with_cards(tools)
    hosts.with_docker(tools, ("openai/gpt-oss-20b", "owner/a--b"))
    found = facts.here()
    assert [(card.uuid, card.index, card.compute) for card in found.cards] == [
        (hosts.PRO, 0, "12.0"),
        (hosts.GAMING, 1, "12.0"),
    ]
    assert (found.docker, found.compose, found.runtimes) == ("27.3.1", "2.29.7", ("nvidia", "runc"))
    assert found.images == ("vllm/vllm-openai:v0.31.0@sha256:" + "3" * 64,)
    assert {(model.place, model.repo, model.volume) for model in found.models} == {
        ("models-cache", "openai/gpt-oss-20b", True),
        ("models-cache", "owner/a--b", True),
    }
    assert found.platform in ("linux", "wsl2")
    assert found.memory_gb is not None
    assert found.free_gb is not None


def test_a_bare_machine(tools: Path) -> None:
    found = facts.here()
    assert (found.gpu_tool, found.cards) == ("missing", ())
    assert (found.docker, found.docker_state) == (None, "missing")
    assert found.models == ()


def test_what_fails_is_not_what_is_missing(tools: Path) -> None:
    hosts.script(tools, "nvidia-smi", "#!/bin/sh\necho 'NVIDIA-SMI has failed because it is told to'\nexit 9\n")
    hosts.script(tools, "docker", "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    found = facts.here()
    assert (found.gpu_tool, found.docker_state) == ("failed", "down")


def test_a_cache_of_the_host(tools: Path, tmp_path: Path) -> None:
    (tmp_path / ".cache/huggingface/hub/models--openai--gpt-oss-20b/snapshots/abc").mkdir(parents=True)
    (model,) = facts.here().models
    assert (model.repo, model.volume) == ("openai/gpt-oss-20b", False)


def test_another_machine_is_asked_by_ssh_without_a_password(tools: Path) -> None:
    log = hosts.with_ssh(tools)
    hosts.with_cards(tools)
    assert len(facts.there("me@forge").cards) == 2
    assert log.read_text().split("\n")[:6] == ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--", "me@forge"]


def test_a_machine_that_cannot_be_reached(tools: Path) -> None:
    hosts.with_ssh(tools, "echo 'ssh: connect to host forge port 22: Connection refused' >&2; exit 255")
    with pytest.raises(FactsError, match=r"me@forge: ssh cannot reach it: .*refused"):
        facts.there("me@forge")


def test_a_shell_that_talks_before_and_one_that_only_talks() -> None:
    answer = "Welcome to forge!\n\n== system\nLinux\n6.6.87-microsoft-standard-WSL2\nforge\n== memory\n65536000\n"
    found = facts.here(lambda *_: Ran(code=0, out=answer))
    assert (found.platform, found.hostname, found.memory_gb) == ("wsl2", "forge", 62.5)
    with pytest.raises(FactsError, match="something else"):
        facts.here(lambda *_: Ran(code=0, out="Welcome to forge!\n"))


def test_a_mac() -> None:
    answer = "== system\nDarwin\n25.0.0\nmini.local\n== home\n/Users/me\n== gpus\nmissing\n== docker\nmissing\n"
    found = facts.parsed(answer)
    assert (found.platform, found.home, found.memory_gb, found.gpu_tool) == ("macos", "/Users/me", None, "missing")


def test_rows_that_drivers_cannot_fill_are_left_out() -> None:
    answer = "== system\nLinux\n6\nx\n== gpus\n0, GPU-1, NVIDIA X, [N/A], 8.9\n1, GPU-2, NVIDIA Y, 24564, 8.9\n"
    assert [card.uuid for card in facts.parsed(answer).cards] == ["GPU-2"]


def test_a_repository_keeps_double_dashes_in_its_name() -> None:
    answer = "== system\nLinux\n6\nx\n== docker\n27\n== volume-models\nv\tmodels--a--b--c\t2097152\n"
    assert facts.parsed(answer).models == (CachedModel(place="v", repo="a/b--c", size_gb=2.0, volume=True),)


@pytest.mark.parametrize(
    ("wanted", "uuid"),
    [("0", hosts.PRO), (hosts.GAMING, hosts.GAMING), ("5090", hosts.GAMING), ("rtx-5090-32gb", hosts.GAMING)],
)
def test_a_card_by_index_uuid_or_name(wanted: str, uuid: str) -> None:
    assert selecting.card(wanted, TWO).uuid == uuid


@pytest.mark.parametrize("wanted", ["2", "rtx", "GPU-00000000-0000-0000-0000-000000000000", "A100"])
def test_a_card_that_is_none_or_several_is_refused(wanted: str) -> None:
    with pytest.raises(selecting.NoSuchCard, match=hosts.GAMING):
        selecting.card(wanted, TWO)


@pytest.mark.parametrize(
    ("repo", "name", "family"),
    [
        ("openai/gpt-oss-120b", "gpt-oss-120b", "gpt-oss"),
        ("nvidia/Qwen3.6-27B-NVFP4", "qwen3.6-27b-nvfp4", "qwen3"),
        ("a/GLM-4.7 Flash!", "glm-4.7-flash", "glm"),
        ("a/DeepSeek-R1-Distill-Llama-8B", "deepseek-r1-distill-llama-8b", None),
        ("a/***", "local", None),
    ],
)
def test_names(repo: str, name: str, family: str | None) -> None:
    assert naming.served_name(repo) == name
    assert naming.family(repo) == family


def test_table_names_are_legal_and_new() -> None:
    assert naming.table_name("Forge.LAN") == "forge-lan"
    assert naming.table_name("10.0.0.1") == "m-10-0-0-1"
    assert naming.table_name("x", {"x", "x-2"}) == "x-3"
    assert naming.table_name("", ()) == "machine"
    assert len(naming.table_name("a" * 50, {"a" * 31})) <= 31
    assert naming.gpu_model("NVIDIA GeForce RTX 4090", 24564) == "rtx_4090_24gb"
    assert naming.gpu_model("NVIDIA A100-SXM4-80GB", 81920) == "a100_sxm4_80gb"
