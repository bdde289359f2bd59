"""Every catalogue command answers as one JSON document, and tells no secret (lab contract 1, B17)."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from anvil.cli.models import models
from anvil.cli.priors import priors
from anvil.cli.prune import prune
from anvil.cli.recipes import recipes
from anvil.cli.score import score
from tests.unit.lab.models.planted import model
from tests.unit.lab.recipes.samples import CANARY, ROOT, Docker, container

GROUPS: dict[str, click.Command] = {
    "recipes": recipes, "models": models, "prune": prune, "priors": priors, "score": score,
}  # fmt: skip
COMMANDS = [
    (name, sub)
    for name, command in GROUPS.items()
    for sub in (sorted(command.commands) if isinstance(command, click.Group) else [""])
]


@pytest.fixture
def lines(tmp_path: Path) -> dict[str, list[str]]:
    registry = ["--registry", str(ROOT / "inventory/recipes.toml")]
    topology = ["--topology", str(ROOT / "inventory/topology.toml")]
    db = ["--db", str(tmp_path / "b.sqlite")]
    model(tmp_path / "hub", "models--a--b", {"model_type": "x"})
    (tmp_path / "a.csv").write_text("model,gpu,throughput\nm,g,5\n")
    (tmp_path / "bench.json").write_text('{"model": "m", "metrics": {"throughput_tok_s": 6}}')
    roots = ["--roots", str(tmp_path / "hub")]
    source = ["--source", "manual", "--file", str(tmp_path / "a.csv")]
    place = ["--machine", "forge", "--gpu", "pro", "--port", "31000"]
    return {
        "recipes list": registry,
        "recipes show": ["gpt-oss-120b", *registry, *db],
        "recipes apply": ["gpt-oss-120b", *place, *registry, *topology],
        "recipes capture": ["c", *registry, *topology],
        "recipes run-line": ["gpt-oss-120b", *registry],
        "recipes share": [str(tmp_path / "out.toml"), *registry],
        "models index": [*roots, "--out", str(tmp_path / "lib"), *topology],
        "models pull": ["a/b", "--volume", "v", "--image", "i", "--dry-run", *topology],
        "prune ": [*roots, *registry, *topology],
        "priors init": db,
        "priors sources": db,
        "priors import": [*source, *db],
        "priors list": db,
        "priors report": db,
        "priors compare": ["--local", str(tmp_path / "bench.json"), *db],
        "priors export": ["--out", str(tmp_path / "out.json"), *db],
        "score ": ["--library", str(tmp_path / "lib")],
    }


def test_json_is_one_document_and_no_secret_appears(
    lines: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "ANVIL_ROUTER_TOKEN"):
        monkeypatch.setenv(name, CANARY)
    assert {f"{group} {sub}" for group, sub in COMMANDS} - lines.keys() == {"priors fetch"}
    for name, words in lines.items():
        group, sub = name.split(" ")
        docker = Docker(container()) if name == "recipes capture" else None
        result = CliRunner().invoke(GROUPS[group], [*([sub] if sub else []), *words, "--json"], obj=docker)
        assert result.exit_code == 0, (name, result.output)
        assert json.loads(result.stdout)["schema"].startswith(f"anvil.{group}"), name
        assert CANARY not in result.output, name
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size < 10**6]
    assert not [text for text in written if CANARY.encode() in text]
