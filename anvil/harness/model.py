"""What a client's configuration is made from: the router as its callers see it, and the document that results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

# Completion budgets per preset (contract router 2.14, operations D4), capped at the window.
MAX_OUTPUT = {"planning": 32_000, "review": 16_000, "long-context": 16_000, "quick-edit": 8_192, "chat": 8_192}
DEFAULT_MAX_OUTPUT = 8_192


class Model(Struct, frozen=True):
    """One servable preset. ``context_window`` in tokens: the largest among the tiers it may really use."""

    id: str
    name: str
    context_window: int
    max_output_tokens: int
    input: tuple[Literal["text", "image"], ...] = ("text",)


class Router(Struct, frozen=True):
    """One router. ``base_url`` has no /v1 and no trailing slash; ``token_env`` names a variable, never a value."""

    base_url: str
    token_env: str
    models: tuple[Model, ...]
    release: str | None = None
    config_hash: str | None = None

    def pick(self, *wanted: str) -> str:
        """The first of ``wanted`` presets that is served, else the first served one."""
        ids = [model.id for model in self.models]
        return next((preset for preset in wanted if preset in ids), ids[0] if ids else "")


class File(Struct, frozen=True, omit_defaults=True):
    """One file of the client. ``merge`` says how it joins an existing one: deep, env (lines) or replace.

    ``owns`` are dotted paths of objects that are wholly ours: a deep merge replaces them. A ``path`` that does not
    start with ~ is a place for people, not a file.
    """

    path: str
    format: Literal["json", "json5", "toml", "yaml", "env"]
    merge: Literal["deep", "env", "replace"]
    content: Mapping[str, object]
    text: str
    owns: tuple[str, ...] = ()


class Document(Struct, frozen=True):
    """Everything one client needs. ``env`` maps variable names to ``${NAME}`` references or secret-free values."""

    env: dict[str, str]
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()


class Harness(Struct, frozen=True):
    """One client. ``versions`` are the known release generations where its format depends on them ("" = does not)."""

    name: str
    format: str
    path: str
    render: Callable[[Router, str], Document]
    versions: tuple[str, ...] = ()

    def generation(self, release: str) -> str | None:
        """The known generation of a client's release: itself, or what 2026.9.6 belongs to; None when unknown."""
        return next((known for known in self.versions if f"{release}.".startswith(f"{known}.")), None)


def max_output(preset: str, window: int) -> int:
    """Completion budget of a preset in tokens."""
    return min(MAX_OUTPUT.get(preset, DEFAULT_MAX_OUTPUT), window)


def title(preset: str) -> str:
    """A preset's name for people: ``long-context`` is "Long Context"."""
    return " ".join(word.capitalize() for word in preset.replace("_", " ").replace("-", " ").split())
