"""R1-R3 the other way round: a text that means something else, or that no consumer takes, does not pass."""

from __future__ import annotations

from typing import Any

import pytest

from anvil.render import compose, readback, router
from anvil.render.env import Secrets
from anvil.topology.finding import Finding
from tests.unit.topology.example import topology


def router_text() -> tuple[str, dict[str, Any]]:
    made = topology()
    intended = router.document(made, with_profile=False)
    return router.toml(made, intended), intended


def sentences(findings: list[Finding]) -> str:
    return "; ".join(finding.sentence for finding in findings)


def test_a_router_file_that_means_what_was_meant_passes() -> None:
    text, intended = router_text()
    config, findings = readback.router(text, intended)
    assert findings == []
    assert config is not None
    assert config.mapping_version == "2026-11-23.0"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("context_limit = 32768", "context_limit = 32769", "does not read back"),
        ("[router.presets]", "[router.presets", "is not TOML"),
        ('id = "fast-local"', 'id = "fast-local"\nnote = 1', "does not read back"),
    ],
)
def test_a_router_file_that_was_changed_is_caught(old: str, new: str, word: str) -> None:
    text, intended = router_text()
    config, findings = readback.router(text.replace(old, new), intended)
    assert config is None
    assert word in sentences(findings)


def test_the_decoders_own_complaints_name_the_file_not_a_temporary_place() -> None:
    made = topology({"router/settings/nonsense": 1})
    intended = router.document(made, with_profile=False)
    config, findings = readback.router(router.toml(made, intended), intended)
    assert config is None
    assert "nonsense" in sentences(findings)
    assert "/tmp" not in sentences(findings)


@pytest.mark.parametrize(
    ("changes", "table"),
    [
        ({"router/settings/nonsense": 1}, "router.settings"),
        ({"router/settings/limits": {"max_atempts": 2}}, "router.settings.limits"),
        ({"router/server": {"max_body": 3}}, "router.server"),
        ({"tiers/x": {"base_url": "10.0.0.9/v1", "model": "m", "context_limit": 9}}, "tiers.x"),
    ],
)
def test_what_the_decoder_refuses_is_told_of_the_topologys_own_table(changes: dict[str, Any], table: str) -> None:
    made = topology(changes)
    intended = router.document(made, with_profile=False)
    assert [each.table for each in readback.router(router.toml(made, intended), intended)[1]] == [table]


def test_a_value_the_decoder_reads_otherwise_is_named() -> None:
    assert list(readback._differing({"a": [{"b": 1}], "c": "x"}, {"a": [{"b": 2}], "c": ["x"], "d": 0})) == ["a[0].b"]
    assert list(readback._differing({"a": [1]}, {"a": [1, 2]})) == ["a"]


def compose_text() -> tuple[str, dict[str, Any]]:
    intended = compose.document(topology(), "forge", Secrets())
    return compose.text(intended), intended


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('"anvil.name": "fast"', '"anvil.name": "fats"', "does not read back"),
        ("services:", "services: [", "is not YAML"),
        ("${HF_TOKEN:-}", "$${HF_TOKEN:-}", "does not read back"),
    ],
)
def test_a_compose_file_that_was_changed_is_caught(old: str, new: str, word: str) -> None:
    text, intended = compose_text()
    assert readback.compose(text, intended, "machines.forge") == []
    assert word in sentences(readback.compose(text.replace(old, new), intended, "machines.forge"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"build": "."}, "built on the host"),
        ({"privileged": True}, "privileged: True is not allowed"),
        ({"network_mode": "host"}, "network_mode: host is not allowed"),
        ({"image": "x:latest"}, "another image every day"),
        ({"labels": {"a": "b"}}, "no anvil.revision label"),
    ],
)
def test_a_service_that_reaches_beyond_its_container_is_refused(change: dict[str, Any], word: str) -> None:
    _, intended = compose_text()
    service = {**intended["services"]["fast"], **change}
    changed = {**intended, "services": {"fast": service}}
    findings = readback.compose(compose.text(changed), changed, "machines.forge")
    assert [finding.code for finding in findings] == ["R2"]
    assert word in sentences(findings)


@pytest.mark.parametrize("name", ["fast", "heavy"])
def test_every_flag_we_write_is_on_the_engines_list(name: str) -> None:
    made = topology()
    service = compose.service(made, name, Secrets())
    assert readback.flags(name, made.serves[name], service["command"]) == []
