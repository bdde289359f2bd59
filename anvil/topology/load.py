"""inventory/topology.toml -> Topology. Every error names file, table and key, and all of a file are reported
together."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

from anvil.topology.convert import convert
from anvil.topology.expand import expand_document
from anvil.topology.model import Topology

VARIABLE = "ANVIL_TOPOLOGY"
DEFAULT = Path("inventory/topology.toml")
SCHEMA = "anvil.topology/v1"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class TopologyError(Exception):
    """The problems of a topology, each a line `FILE: TABLE.KEY: sentence`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def path(environ: Mapping[str, str], default: Path) -> Path:
    """Where the topology lies: ANVIL_TOPOLOGY when set and not blank, else ``default``."""
    named = environ.get(VARIABLE, "").strip()
    return Path(named).expanduser() if named else default


def load(file: Path, environ: Mapping[str, str], name: str | None = None) -> Topology:
    """Read and convert a topology file. ``environ`` resolves the references of ``expand``; ``name`` is how messages
    call it.

    Raises TopologyError, also when the file is missing or unreadable.
    """
    shown = name or str(file)
    try:
        text = file.read_text(encoding="utf-8-sig")  # Windows editors put a mark in front
    except FileNotFoundError:
        raise TopologyError([f"{shown}: no such file; write one, or point {VARIABLE} at it"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError([f"{shown}: cannot be read: {error}"]) from None
    return loads(text, environ, shown)


def loads(text: str, environ: Mapping[str, str], name: str) -> Topology:
    """The same for a text already in hand. Raises TopologyError."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        hint = "; a topology is written in TOML" if name.endswith((".json", ".yaml", ".yml")) else ""
        raise TopologyError([f"{name}: not TOML: {error}{hint}"]) from None
    problems = [*expand_document(document, environ), *_control_characters(document), *_unsayable(document)]
    topology = convert(document, Topology, "", problems)
    if problems:
        raise TopologyError([f"{name}: {problem}" for problem in problems])
    if not isinstance(topology, Topology):  # pragma: no cover - convert promises a problem with every INVALID
        raise AssertionError(name)
    return topology


def _control_characters(document: dict[str, Any]) -> list[str]:
    """No template quoting survives them (contract 3.2); prestart lines may hold tabs and newlines."""
    return [
        f"{where}: holds a control character"
        for where, text in texts(document)
        if (_CONTROL_IN_LINES if ".prestart[" in where else _CONTROL).search(text)
    ]


def _unsayable(value: Any, where: str = "") -> Iterator[str]:
    """TOML can say inf, nan and dates; neither JSON nor any key here can."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _unsayable(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unsayable(inner, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where}: {value} is no finite number"
    elif isinstance(value, (date, time)):
        yield f"{where}: a date or time is no value here; write it as a string"


def texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a document, keys included, with the place it stands at."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield where or "top level", key
            yield from texts(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from texts(inner, f"{where}[{index}]")
