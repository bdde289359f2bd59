"""Which release of each client the lane runs, and where it comes from. Clients move weekly: raise a pin on purpose."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Pin:
    """One folder of the cache. ``packages`` are exact requirements in the registry's own notation, the first one is
    the client; ``megabytes`` is what the folder takes on disk."""

    name: str
    registry: Literal["npm", "pypi"]
    packages: tuple[str, ...]
    megabytes: int

    @property
    def version(self) -> str:
        return self.packages[0].replace("==", "@").rpartition("@")[2]

    @property
    def folder(self) -> str:
        """Name of the cache folder: another pin is another folder, so nothing is ever upgraded in place."""
        digest = hashlib.sha256("\n".join((self.registry, *self.packages)).encode()).hexdigest()
        return f"{self.name}-{digest[:12]}"


PINS: dict[str, Pin] = {
    pin.name: pin
    for pin in (
        Pin("node", "npm", ("node@24.21.0",), 189),
        Pin("sdk-py", "pypi", ("openai==3.54.0", "anthropic==2.12.0"), 108),
        Pin("sdk-js", "npm", ("openai@7.57.0", "@anthropic-ai/sdk@1.12.0", "zod@4.6.7"), 75),
        Pin("pi", "npm", ("@mariozechner/pi-coding-agent@0.73.1",), 204),
        Pin("claude-code", "npm", ("@anthropic-ai/claude-code@2.1.330",), 364),
        Pin("codex", "npm", ("@openai/codex@0.169.0",), 404),
        Pin("opencode", "npm", ("opencode-ai@1.18.33",), 354),
        Pin("aider", "pypi", ("aider-chat==0.86.2",), 687),
        Pin("openclaw", "npm", ("openclaw@2026.9.6",), 647),
        Pin("openclaw-2026.6", "npm", ("openclaw@2026.6.11",), 355),
    )
}
