"""Commands of a page and what it says they print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ELLIPSIS, REST = "...", "…"


class Shown(NamedTuple):
    """One ``$ command`` of a console block, its words behind ``anvil``, and the lines below it."""

    line: str
    words: list[str]
    output: list[str]


def commands(page: Path) -> list[Shown]:
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    found: list[Shown] = []
    for line in "".join(blocks).replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            words = shlex.split(line[2:], comments=True)
            found.append(Shown(line[2:], words[1:] if words[0] == "anvil" else words, []))
        else:
            found[-1].output.append(line)
    return found


def prints(expected: list[str], said: str) -> str:
    """The first expected line that is not there, in order; "" when all are. ``...`` skips lines, ``…`` a part of one."""
    lines = iter(said.splitlines())
    for wanted in expected:
        if wanted == ELLIPSIS:
            continue
        pattern = ".*".join(map(re.escape, wanted.rstrip().split(REST)))
        if not any(re.fullmatch(pattern, line.rstrip()) for line in lines):
            return wanted
    return ""
