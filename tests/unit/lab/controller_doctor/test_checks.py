"""Every check of the controller's doctor in each of its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from anvil.lab.controller_doctor import Check, inventory, machine, reach, software
from anvil.lab.controller_doctor.inventory import Held
from anvil.lab.controller_doctor.reach import Answer
from anvil.lab.onboarding.facts import Card, Facts
from anvil.router.fingerprint import fingerprint
from anvil.topology import schema
from tests.unit.topology.example import CLOUD, LOCAL, document, topology

TOKEN = "t" * 43
PINNED = "anvil-router:0.1.0@sha256:" + "2" * 64


# ------------------------------------------------------------------------------------------------------ software


@pytest.mark.parametrize(
    ("version", "level"), [((3, 11), "PASS"), ((3, 13), "PASS"), ((3, 99), "WARN"), ((3, 10), "FAIL")]
)
def test_python(version: tuple[int, int], level: str) -> None:
    assert software.python(version).level == level


GOOD = {"pyinfra": "3.10.0", "paramiko": "4.0.0", "jinja2": "3.1", "PyYAML": "6.0"}


@pytest.mark.parametrize(
    ("missing", "deploys", "levels"),
    [
        ({}, True, ["PASS", "PASS", "PASS"]),
        ({"pyinfra": None}, False, ["WARN"]),
        ({"pyinfra": None}, True, ["FAIL"]),
        ({"paramiko": None}, False, ["PASS", "WARN", "PASS"]),
        ({"paramiko": "5.0.1"}, False, ["PASS", "WARN", "PASS"]),
        ({"paramiko": "5.0.1"}, True, ["PASS", "FAIL", "PASS"]),
        ({"jinja2": None}, False, ["PASS", "PASS", "WARN"]),
        ({"jinja2": None}, True, ["PASS", "PASS", "FAIL"]),
    ],
)
def test_packages(missing: Mapping[str, str | None], deploys: bool, levels: list[str]) -> None:
    versions = {**GOOD, **missing}
    found = software.deploy_packages(deploys, versions.get, lambda _: ["click>8", "paramiko<5,>=2.7"])
    assert [check.level for check in found] == levels


@pytest.mark.parametrize(
    ("version", "bounds", "meets"),
    [
        ("2.20.0", ">=2.20", True),
        ("2.9.1", ">=2.20", False),
        ("4.0", ">=2.7,<5,!=4.0", False),
        ("4.0.1", "==4.0.1", True),
        ("4.2", "~=4.0", True),
        ("5.0", "~=4.0", False),
        ("4.0rc1", ">3,<=4.0", True),
        ("9", "", True),
    ],
)
def test_bounds(version: str, bounds: str, meets: bool) -> None:
    assert software.accepted(version, bounds) is meets


def test_the_installed_pyinfra_is_understood() -> None:
    found = software.deploy_packages(True, software.installed, software.requirements)
    assert [check.level for check in found] == ["PASS", "PASS", "PASS"]


# ------------------------------------------------------------------------------------------------------ inventory


def written(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    file = folder / "topology.toml"
    file.write_text(tomli_w.dumps(document(changes)))
    return file


def judged(file: Path, asked: bool = True) -> Check:
    return inventory.topology(file, asked, {}, Held({}))[0]


def test_topology(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    assert judged(absent, asked=False).level == "WARN"
    assert judged(absent).level == "FAIL"
    assert judged(written(tmp_path)).level == "PASS"
    warned = judged(written(tmp_path, {"serves/fast/image": "vllm/vllm-openai:nightly"}))
    assert (warned.level, "(T22)" in warned.detail) == ("WARN", True)
    wrong = judged(written(tmp_path, {"presets/chat": ["nobody"]}))
    assert (wrong.level, "(T01)" in wrong.detail) == ("FAIL", True)
    unsound = judged(written(tmp_path, {"router/settings/relay_timeout": "soon"}))
    assert (unsound.level, "(R1)" in unsound.detail) == ("FAIL", True)
    (tmp_path / "topology.toml").write_text("[[")
    assert judged(tmp_path / "topology.toml", asked=False).level == "FAIL"


def test_the_release_is_the_one_a_deploy_would_make(tmp_path: Path) -> None:
    file = written(tmp_path)
    with_token = inventory.topology(file, True, {}, Held({"ANVIL_ROUTER_TOKEN": TOKEN}))[1].release
    assert with_token != inventory.topology(file, True, {}, Held({}))[1].release


def test_secrets() -> None:
    found = topology({"router/token": ["ANVIL_ROUTER_TOKEN"]})
    assert inventory.secrets(found, Held({"ANVIL_ROUTER_TOKEN": TOKEN})).level == "PASS"
    assert inventory.secrets(found, Held({"ANVIL_ROUTER_TOKEN": "short"})).level == "WARN"
    missing = inventory.secrets(found, Held({}))
    assert (missing.level, "ANVIL_ROUTER_TOKEN" in missing.detail) == ("FAIL", True)
    paid = inventory.secrets(topology({"tiers/cloud": CLOUD}), Held({"ANVIL_ROUTER_TOKEN": TOKEN}))
    assert (paid.level, "ANVIL_CLOUD_KEY" in paid.detail) == ("FAIL", True)
    assert inventory.secrets(found, Held({}, "~/.env: line 3: expected NAME=value")).level == "FAIL"


def test_where_secrets_come_from(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "A": "from the environment"}
    (tmp_path / ".env").write_text("A=other\nB='from the file'\n")
    assert inventory.held(["A", "B", "C"], environ, None).values == {
        "A": "from the environment",
        "B": "from the file",
    }
    (tmp_path / ".anvil_env").write_text("B=first\n")
    assert inventory.held(["B"], environ, None).values == {"B": "first"}
    (tmp_path / "bad").write_text("canary $(value)\n")
    problem = inventory.held(["B"], environ, tmp_path / "bad").problem
    assert "line 1" in problem
    assert "canary" not in problem


def profile_of(tier: str, version: str = "v2") -> str:
    row = {"tier_id": tier, "work_class": "chat", "decision": "allow"}
    return json.dumps({"schema": f"anvil-serving.router.profile_bootstrap/{version}", "entries": [row]})


def test_profile(tmp_path: Path) -> None:
    file, found = written(tmp_path), topology({"router/profile": "profile.json"})
    assert inventory.profile(topology(), file).level == "PASS"
    assert inventory.profile(found, file).level == "FAIL"
    for text, level in (
        (profile_of("fast-local"), "PASS"),
        (profile_of("stranger"), "WARN"),
        (profile_of("fast-local", "v9"), "FAIL"),
    ):
        (tmp_path / "profile.json").write_text(text)
        assert inventory.profile(found, file).level == level


def test_rows_of_another_serve_are_told(tmp_path: Path) -> None:
    changed = {"router/profile": "profile.json", "serves/fast/context": 4096}
    file, found = written(tmp_path, changed), topology(changed)
    row = {"tier_id": "fast-local", "work_class": "chat", "decision": "allow", "fingerprint": "0" * 64}
    document = {"schema": "anvil-serving.router.profile_bootstrap/v2", "entries": [row]}
    (tmp_path / "profile.json").write_text(json.dumps(document))
    _, read = inventory.topology(file, True, {}, Held({"ANVIL_ROUTER_TOKEN": TOKEN}))
    check = inventory.profile(found, file, read.config)
    assert check.level == "WARN"
    assert "fast-local/chat stale" in check.detail
    assert read.config is not None
    current = next(fingerprint(tier, found.mode) for tier in read.config.tiers if tier.id == "fast-local")
    document["entries"] = [{**row, "fingerprint": current}]
    (tmp_path / "profile.json").write_text(json.dumps(document))
    assert inventory.profile(found, file, read.config).level == "PASS"


def test_versions() -> None:
    ours = topology({"router/image": PINNED})
    assert inventory.versions(ours, "0.1.0", "0.1.0").level == "PASS"
    assert inventory.versions(None, "0.1.0", None).level == "PASS"
    assert inventory.versions(ours, "0.2.0", "0.2.0").level == "WARN"
    assert inventory.versions(ours, "0.1.0", "0.0.9").level == "FAIL"
    ported = topology({"router/image": "registry.lan:5000/anvil-router:0.1.0"})
    assert inventory.versions(ported, "0.1.0", "0.1.0").level == "PASS"


def test_schema(tmp_path: Path) -> None:
    file, place = tmp_path / "topology.toml", tmp_path / "topology.schema.json"
    assert inventory.schema_file(file).level == "WARN"
    place.write_text(schema.text())
    assert inventory.schema_file(file).level == "PASS"
    place.write_text("{}")
    assert inventory.schema_file(file).level == "WARN"
    place.write_bytes(b"\xff")
    assert inventory.schema_file(file).level == "FAIL"


# ---------------------------------------------------------------------------------------------------------- reach


def answering(**by_path: Answer | None) -> reach.Get:
    return lambda url, headers: by_path.get(url.rpartition("/")[2])


MODELS = Answer(200, b'{"data": [{"id": "tiny-fast"}, {"id": "tiny-heavy"}]}')


@pytest.mark.parametrize(
    ("health", "models", "level"),
    [
        (Answer(200, b""), MODELS, "PASS"),
        (Answer(204, b""), None, "PASS"),
        (Answer(503, b""), MODELS, "WARN"),
        (Answer(302, b""), MODELS, "WARN"),
        (None, None, "WARN"),
        (Answer(200, b""), Answer(200, b'{"data": [{"id": "another"}]}'), "FAIL"),
    ],
)
def test_tiers(health: Answer | None, models: Answer | None, level: str) -> None:
    found = list(reach.tiers(topology(file=LOCAL), ["here"], {}, answering(health=health, models=models)))
    assert [check.level for check in found] == [level, level]


def test_tiers_are_asked_where_they_are_with_their_own_key() -> None:
    asked = []

    def ask(url: str, headers: Mapping[str, str]) -> None:
        asked.append((url, headers.get("Authorization")))

    extra = {"base_url": "http://10.0.0.9:1234/v1/", "model": "m", "context_limit": 4096}
    found = topology({"tiers/extra": extra, "tiers/cloud": CLOUD})
    list(reach.tiers(found, [], {"ANVIL_EXTRA_KEY": "k"}, ask))
    assert asked == [("http://10.0.0.9:1234/health", "Bearer k")]
    assert reach.elsewhere(found, []) == ["fast-local", "heavy-local"]
    assert reach.elsewhere(found, ["forge"]) == []


def test_router() -> None:
    def level(body: dict[str, Any] | None, release: str | None = "abc", status: int = 200) -> str:
        answer = None if body is None else Answer(status, json.dumps(body).encode())
        return reach.router("http://x", release, answering(healthz=answer)).level

    well = {"status": "ok", "release": "abc", "config_hash": "1"}
    assert level(well) == "PASS"
    assert level(well, release=None) == "PASS"
    assert level(None) == "WARN"
    assert level(well, release="other") == "WARN"
    assert level({**well, "status": "draining"}) == "WARN"
    assert level({"hello": 1}) == "FAIL"
    assert level(well, status=500) == "FAIL"
    assert reach.router("http://x", None, answering(healthz=Answer(200, b"<html>"))).level == "FAIL"


def test_where_the_router_is() -> None:
    found = topology()
    assert reach.router_url(found, []) == "http://100.64.0.10:8000"
    assert reach.router_url(topology({"router/publish": "127.0.0.1"}), []) is None
    assert reach.router_url(topology({"router/publish": "127.0.0.1"}), ["forge"]) == "http://127.0.0.1:8000"
    assert reach.router_url(topology({"router/publish": "0.0.0.0"}), ["forge"]) == "http://127.0.0.1:8000"
    assert reach.router_url(topology({"router/publish": "fd00::1"}), []) == "http://[fd00::1]:8000"


# -------------------------------------------------------------------------------------------------- this machine


def facts(**changes: Any) -> Facts:
    uuids = [gpu.uuid for gpu in topology().machines["forge"].gpus.values()]
    cards = tuple(Card(index=0, uuid=uuid, name="X", total_mib=1, compute="12.0") for uuid in uuids)
    usual: dict[str, Any] = {
        "platform": "linux", "hostname": "x", "home": "/root", "memory_gb": 64, "free_gb": 100, "cards": cards,
        "docker": "27", "compose": "v2.29.7", "runtimes": ("nvidia",),
    }  # fmt: skip
    return Facts(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({}, ["PASS", "PASS", "PASS", "PASS"]),
        ({"docker": None, "docker_state": "down"}, ["FAIL", "PASS", "PASS", "PASS"]),
        ({"compose": None}, ["PASS", "FAIL", "PASS", "PASS"]),
        ({"compose": "2.19.9"}, ["PASS", "FAIL", "PASS", "PASS"]),
        ({"runtimes": ()}, ["PASS", "PASS", "FAIL", "PASS"]),
        ({"cards": ()}, ["PASS", "PASS", "PASS", "FAIL"]),
    ],
)
def test_a_machine_with_cards(changes: dict[str, Any], levels: list[str]) -> None:
    assert [check.level for check in machine.checks(facts(**changes), topology().machines["forge"])] == levels


def test_a_machine_without_containers_is_only_warned() -> None:
    bare = facts(docker=None, docker_state="missing", compose=None, runtimes=(), cards=(), gpu_tool="missing")
    here = topology(file=LOCAL).machines["here"]
    assert [check.level for check in machine.checks(bare, here)] == ["WARN"] * 4
    assert [check.level for check in machine.checks(bare, None)] == ["FAIL", "FAIL", "WARN", "WARN"]
