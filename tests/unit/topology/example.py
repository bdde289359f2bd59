"""Topologies for tests: the shipped example as plain data, with changes by dotted key."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from anvil.topology.check import check
from anvil.topology.finding import Finding
from anvil.topology.load import loads
from anvil.topology.model import Topology

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "inventory" / "topology.toml"
LOCAL = ROOT / "inventory" / "local.toml"
ENVIRON = {"HOME": "/home/someone", "ANVIL_WEIGHTS": "/weights/tiny.gguf"}
GONE = object()

CLOUD: dict[str, Any] = {
    "cloud": True,
    "base_url": "https://api.example.com",
    "model": "frontier-x",
    "context_limit": 200000,
    "dialect": "anthropic",
    "cost_input_per_mtok": 3.0,
    "cost_output_per_mtok": 15.0,
}


def document(changes: dict[str, Any] | None = None, file: Path = EXAMPLE) -> dict[str, Any]:
    """The file's data with each `a/b/c` key set to its value; GONE removes it."""
    made = copy.deepcopy(tomllib.loads(file.read_text(encoding="utf-8")))
    for place, value in (changes or {}).items():
        *tables, key = place.split("/")
        table = made
        for name in tables:
            table = table.setdefault(name, {})
        if value is GONE:
            del table[key]
        else:
            table[key] = copy.deepcopy(value)
    return made


def topology(changes: dict[str, Any] | None = None, file: Path = EXAMPLE) -> Topology:
    return loads(tomli_w.dumps(document(changes, file)), ENVIRON, "topology.toml")


def findings(changes: dict[str, Any] | None = None, file: Path = EXAMPLE) -> list[Finding]:
    return check(topology(changes, file))
