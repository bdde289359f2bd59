"""The commands of docs/deploy.md as a reader meets them; a rehearsal types each of them (test_docs.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.rehearsal.lab import ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text()
BLOCK = re.compile(r"^```(sh|toml)\n(.*?)^```$", re.M | re.S)
INLINE = re.compile(r"(?<!`)`((?:\.venv/bin/|deploy/\w+\.py|anvil \w+ \w)[^`]*)`(?!`)")
SECTION = re.compile(r"^##+ (.+)$", re.M)
PYINFRA = ".venv/bin/pyinfra inventory/hosts.py "


@dataclass(frozen=True)
class Step:
    section: str
    kind: str
    text: str


def steps(page: str) -> list[Step]:
    """Commands (`sh`) and tables for the topology (`toml`) in the order in which a reader meets them."""
    blocks = [(each.start(), each[1], each[2]) for each in BLOCK.finditer(page)]
    prose = BLOCK.sub(lambda each: " " * len(each[0]), page)
    inline = [(each.start(), "sh", " ".join(each[1].split())) for each in INLINE.finditer(prose)]
    headings = [(each.start(), each[1]) for each in SECTION.finditer(page)]
    found = []
    for at, kind, text in sorted([*blocks, *inline]):
        section = next((title for start, title in reversed(headings) if start < at), "")
        lines = [text] if kind == "toml" else [line.split("  #")[0].rstrip() for line in text.splitlines()]
        found += [Step(section, kind, PYINFRA + line if line.startswith("deploy/") else line) for line in lines]
    return found
