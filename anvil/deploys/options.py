"""`--data key=value`: what this run was asked for. An unknown key refuses, and so does one the deploy would ignore."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

# key -> the deploy files that use it (operations.md 8.1); None = all of them.
USED_BY: Mapping[str, Collection[str] | None] = {
    "only": ("serves", "serves_down", "weights", "status", "logs"),
    "recreate": ("serves", "full"),
    "adopt": ("serves", "adopt"),
    "retire": ("serves", "full", "retire"),
    "mode": None,
    "env_file": None,
    "image": ("router", "promote", "experiment"),
    "profile": ("promote", "router", "full"),
    "settings": ("promote",),
    "release": ("rollback",),
    "reload": ("promote",),
    "wait": ("serves", "full"),
    "timeout": ("serves", "full"),
    "preflight": ("serves", "full"),
    "vram": ("serves",),
    "allow_rewrite": ("harness_sync",),
    "restart": ("harness_sync",),
    "overwrite": ("harness_sync",),
    "confirm": ("retire", "harness_sync", "teardown"),
    "allow_drift": ("harness_sync",),
    "overwrite_url": ("harness_sync",),
    "drop_secret": None,
    "refresh": ("weights",),
    "name": ("retire", "logs"),
    "tail": ("logs",),
    "since": ("logs",),
    "model": ("experiment",),
    "gpu": ("experiment",),
    "port": ("experiment",),
    "served": ("experiment",),
    "context": ("experiment",),
    "memory": ("experiment",),
    "extra_args": ("experiment",),
    "present": ("experiment",),
    "out": ("calibrate",),
    "tiers": ("calibrate",),
    "classes": ("calibrate",),
    "max_tokens": ("calibrate",),
    "execute": ("cache_prune",),
    "protect": ("cache_prune",),
    "include_servable": ("cache_prune",),
}
_PYINFRA = ("ssh_", "winrm_", "local_", "_")
_TRUE, _FALSE = ("true", "1", "yes", "True"), ("false", "0", "no", "False")


def refuse_unknown(overrides: Collection[str], deploy: str) -> None:
    """Raises PyinfraError for a key nobody knows, with a suggestion, or one this deploy file would ignore."""
    for key in overrides:
        if key.startswith(_PYINFRA):
            continue
        if key not in USED_BY:
            near = difflib.get_close_matches(key, USED_BY, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(USED_BY))}"
            raise PyinfraError(f"--data {key}: unknown key; {hint}")
        users = USED_BY[key]
        if users is not None and deploy and deploy not in users:
            raise PyinfraError(f"--data {key}: {deploy}.py does not use it; it belongs to {', '.join(users)}")


def check() -> None:
    """The same for the run at hand."""
    # Outside the command line (API mode) no deploy file runs: then every known key counts as used.
    running = getattr(host.state, "current_exec_filename", None) or ""
    refuse_unknown(host.state.inventory.override_data, Path(running).stem)


def text(key: str, default: str = "") -> str:
    """One value as text; `--data tail=200` arrives as a number."""
    value = host.data.get(key)
    return default if value is None else str(value)


def names(key: str) -> tuple[str, ...]:
    """A comma-separated list, in the order given, without repeats."""
    return tuple(dict.fromkeys(part.strip() for part in text(key).split(",") if part.strip()))


def flag(key: str, default: bool) -> bool:
    """true or false. Raises PyinfraError for anything else."""
    value = text(key, str(default))
    if value not in _TRUE + _FALSE:
        raise PyinfraError(f"--data {key}={value}: expected true or false")
    return value in _TRUE


def number(key: str, default: int) -> int:
    value = text(key, str(default))
    if not value.isdigit():
        raise PyinfraError(f"--data {key}={value}: expected a whole number")
    return int(value)
