"""Where a client looks for its file on this machine: most can be told another folder by a variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Client -> variables, the strongest first, and the part of the usual path that each stands for (each was run).
MOVED: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "claude-code": (("CLAUDE_CONFIG_DIR", "~/.claude"),),
    "codex": (("CODEX_HOME", "~/.codex"),),
    "opencode": (("XDG_CONFIG_HOME", "~/.config"),),
    "pi": (("PI_CODING_AGENT_DIR", "~/.pi/agent"),),
    "openclaw": (
        ("OPENCLAW_CONFIG_PATH", "~/.openclaw/openclaw.json"),
        ("OPENCLAW_STATE_DIR", "~/.openclaw"),
        ("OPENCLAW_HOME", "~"),
    ),
}


def place(client: str, path: str, home: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The file that ``path`` (below ``~/``) means. With ``home`` it is somebody else's: our variables say nothing."""
    found = (home or Path.home()) / path[2:]
    if home is None:
        for name, usual in MOVED.get(client, ()):
            if environment.get(name):
                found = Path(os.path.expanduser(environment[name])) / path.removeprefix(usual).lstrip("/")
                break
    return _stronger(client, found)


def _stronger(client: str, found: Path) -> Path:
    """opencode reads a .jsonc beside the file after it, so that one has the last word."""
    beside = found.with_suffix(".jsonc")
    return beside if client == "opencode" and beside.exists() else found
