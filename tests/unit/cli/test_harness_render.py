"""``anvil harness render``: each client's document, and that it says what the router of that topology would say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anvil.cli.harness import harness
from anvil.cli.harness_router import denied, models
from anvil.harness import HARNESSES
from anvil.render.artefacts import render as rendered
from anvil.render.env import Secrets
from anvil.router import profile as quality
from anvil.router.policy import Policy
from tests.unit.topology.example import CLOUD, EXAMPLE, GONE, document, topology

SNAPSHOTS = Path(__file__).parent / "snapshots"
CANARY = "canary-token-value-0000000000"
CLASSES = list(quality.WORK_CLASSES)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANVIL_ROUTER_TOKEN", CANARY)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ANVIL_TOPOLOGY", raising=False)


def run(*arguments: object, file: Path = EXAMPLE) -> Result:
    return CliRunner().invoke(harness, ["render", *map(str, arguments), "--topology", str(file)])


@pytest.mark.parametrize("name", list(HARNESSES))
def test_each_document_is_as_it_was(name: str) -> None:
    """After a change on purpose: anvil harness render NAME --topology inventory/topology.toml > snapshots/NAME."""
    result = run(name)
    assert result.exit_code == 0
    assert result.stdout == (SNAPSHOTS / name).read_text()
    assert CANARY not in result.output


@pytest.mark.parametrize("name", list(HARNESSES))
def test_json_is_one_document_without_a_secret(name: str) -> None:
    result = run(name, "--json")
    told = json.loads(result.stdout)
    assert (told["schema"], told["harness"]) == ("anvil.harness-render/v1", name)
    assert told["files"][0]["text"] == (SNAPSHOTS / name).read_text()
    assert [row["id"] for row in told["models"]] == ["chat", "quick-edit", "review", "long-context"]
    assert CANARY not in result.output


PROFILE_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["fast-local", "heavy-local", "cloud", "stranger"]),
        st.sampled_from(CLASSES),
        st.sampled_from(["allow", "allow-with-verify", "deny"]),
    ),
    max_size=8,
    unique_by=lambda row: row[:2],
)
TOPOLOGIES = st.fixed_dictionaries(
    {
        "serves/fast/context": st.integers(2048, 200_000),
        "serves/heavy/context": st.integers(2048, 200_000),
        "presets/chat": st.permutations(["fast-local", "heavy-local", "cloud"]).map(lambda tiers: tiers[:2]),
        "presets/planning": st.sampled_from([["heavy-local"], ["cloud"], ["fast-local", "cloud"]]),
        "router/settings/metered_cloud": st.lists(st.sampled_from(CLASSES), unique=True, max_size=3),
        "tiers/fast-local/vision": st.booleans(),
        "tiers/cloud": st.just(CLOUD),
        "modes": st.just(GONE),
        "mode": st.just(GONE),
        "gateways": st.just(GONE),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TOPOLOGIES, PROFILE_ROWS, st.booleans())
def test_presets_windows_and_inputs_are_those_the_router_tells(
    tmp_path: Path, changes: dict[str, Any], rows: list[tuple[str, str, str]], measured: bool
) -> None:
    entries = [{"tier_id": tier, "work_class": kind, "decision": verdict} for tier, kind, verdict in rows]
    text = json.dumps({"schema": "anvil-serving.router.profile_bootstrap/v1", "entries": entries}).encode()
    (tmp_path / "profile.json").write_bytes(text)
    found = topology({**changes, **({"router/profile": "profile.json"} if measured else {})})
    config = rendered(found, Secrets(), text if measured else None).release.config
    known = quality.Profile(config, quality.read(text, "profile")[1] if measured else [])
    policy = Policy(config, known, {tier.id for tier in config.tiers})
    expected = {
        preset: (max(tier.context_limit for tier in tiers), any(tier.vision for tier in tiers))
        for preset in config.presets
        if (tiers := policy.usable(preset))
    }
    told = models(found, denied(found, tmp_path / "topology.toml"))
    assert {model.id: (model.context_window, "image" in model.input) for model in told} == expected
    assert all(model.max_output_tokens <= model.context_window for model in told)


# ----------------------------------------------------------------------------------------------------- the files


def test_allowlist_makes_the_map_where_there_is_none(tmp_path: Path) -> None:
    refs = ["anvil/chat", "anvil/quick-edit", "anvil/review", "anvil/long-context"]
    alone = json.loads(run("openclaw", "--allowlist").stdout)
    assert alone["agents"]["defaults"]["models"] == {ref: {} for ref in refs}
    assert "models" not in json.loads(run("openclaw").stdout)["agents"]["defaults"]
    file = tmp_path / "openclaw.json"
    file.write_text("{\n  // mine\n  gateway: {port: 1},\n}\n")
    result = run("openclaw", "--allowlist", "--version", "2026.6", "--merge-into", file)
    assert result.exit_code == 0, result.output
    assert "// mine" in file.read_text()
    assert all(f'"{ref}"' in file.read_text() for ref in refs)
    assert "is in step" in run("openclaw", "--allowlist", "--merge-into", file).stdout
    newer = run("openclaw", "--allowlist", "--version", "2026.9")
    assert "modelPolicy" in newer.stderr
    assert "models" not in json.loads(newer.stdout)["agents"]["defaults"]
    assert run("codex", "--allowlist").exit_code == 2


def test_out_and_merge_into_say_what_they_did(tmp_path: Path) -> None:
    out = tmp_path / "deep/config.toml"
    assert "--mkdir" in run("codex", "--out", out).stderr
    told = json.loads(run("codex", "--out", out, "--mkdir", "--json").stdout)
    assert (told["schema"], told["files"][0]["written"]) == ("anvil.harness-render/v1", True)
    assert out.read_text() == (SNAPSHOTS / "codex").read_text()
    out.write_text("# mine\n")
    assert run("codex", "--out", out).exit_code == 2
    assert out.read_text() == "# mine\n"
    joined = run("codex", "--merge-into", out)
    assert joined.exit_code == 0
    assert out.read_text().startswith("# mine\n")
    assert "before: " in joined.stdout
    assert run("codex", "--out", out, "--force").exit_code == 0
    assert out.read_text() == (SNAPSHOTS / "codex").read_text()
    assert run("codex", "--out", out, "--merge-into", out).exit_code == 2


def test_a_topology_that_can_serve_nothing(tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(
        tomli_w.dumps(
            document({"presets": {"planning": ["heavy-local"]}, "gateways": GONE, "modes": GONE, "mode": GONE})
        )
    )
    result = run("codex", file=file)
    assert (result.exit_code, "no preset can be served" in result.stderr) == (1, True)
    file.write_text(tomli_w.dumps(document({"router/profile": "profile.json"})))
    assert run("codex", file=file).exit_code == 2
    (tmp_path / "profile.json").write_text("{}")
    assert "profile.json" not in run("codex", file=file).stdout
    assert run("codex", file=file).exit_code == 2


@pytest.mark.parametrize(("name", "said"), [("amp", "cannot be pointed"), ("opncode", "did you mean opencode?")])
def test_clients_that_are_none_of_ours(name: str, said: str) -> None:
    result = run(name)
    assert (result.exit_code, said in result.stderr) == (2, True)
