"""How each client wants to be configured. Pure: a router's description in, documents out."""

from anvil.harness import aider, claude_code, cline, codex, continue_dev, openclaw, opencode, pi, sdk
from anvil.harness.model import Document, Harness, Router

HARNESSES: dict[str, Harness] = {
    known.name: known
    for known in (
        openclaw.HARNESS,
        claude_code.HARNESS,
        codex.HARNESS,
        opencode.HARNESS,
        pi.HARNESS,
        aider.HARNESS,
        cline.HARNESS,
        continue_dev.HARNESS,
        sdk.OPENAI,
        sdk.ANTHROPIC,
    )
}


def render(name: str, router: Router, version: str = "") -> Document:
    """The document of the client ``name``. Raises KeyError for an unknown one."""
    return HARNESSES[name].render(router, version)
