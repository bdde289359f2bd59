"""`--data key=value`: what this run was asked for. An unknown key refuses, and so does one the deploy would ignore."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pyinfra
from pyinfra.api.arguments import all_global_arguments
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh import ConnectorData
from pyinfra.context import host

# key -> the deploy files that use it (operations.md 8.1); None = all of them.
USED_BY: Mapping[str, Collection[str] | None] = {
    "only": ("serves", "serves_down", "weights", "status", "logs"),
    "recreate": ("serves", "full", "multiplexer"),
    "adopt": ("serves", "adopt", "multiplexer"),
    "retire": ("serves", "full", "retire"),
    "mode": None,
    "env_file": None,
    "image": ("router", "promote", "experiment"),
    "profile": ("promote", "router", "full"),
    "settings": ("promote",),
    "release": ("rollback",),
    "reload": ("promote",),
    "wait": ("serves", "full"),
    "timeout": ("serves", "full", "harness_verify"),
    "preflight": ("serves", "full", "multiplexer"),
    "vram": ("serves",),
    "allow_rewrite": ("harness_sync",),
    "restart": ("harness_sync",),
    "overwrite": ("harness_sync",),
    "confirm": ("retire", "harness_sync", "teardown"),
    "allow_drift": ("harness_sync",),
    "overwrite_url": ("harness_sync",),
    "messages": ("harness_verify",),
    "drop_secret": ("full", "serves", "adopt", "weights", "router", "multiplexer"),
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
# What pyinfra itself reads from a host's data: how to reach it, and `_sudo` and its like.
PYINFRA = frozenset(
    (*ConnectorData.__annotations__, *(name for name, _ in all_global_arguments() if name.startswith("_")))
)
_TRUE, _FALSE = ("true", "1", "yes", "True"), ("false", "0", "no", "False")


def refuse_unknown(overrides: Collection[str], deploy: str) -> None:
    """Raises PyinfraError for a key nobody knows, with a suggestion, or one this deploy file would ignore."""
    for key in overrides:
        if key in PYINFRA:
            continue
        if key not in USED_BY:
            near = difflib.get_close_matches(key, (*USED_BY, *PYINFRA), 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(USED_BY))}"
            raise PyinfraError(f"--data {key}: unknown key; {hint}")
        users = USED_BY[key]
        if users is not None and deploy and deploy not in users:
            raise PyinfraError(f"--data {key}: {deploy}.py does not use it; it belongs to {', '.join(users)}")


def refuse_empty(overrides: Mapping[str, object]) -> None:
    """Raises PyinfraError for a key without a value: an `only=` that lost its name must not mean everything."""
    for key, value in overrides.items():
        if key in USED_BY and not str(value).strip(" ,"):
            raise PyinfraError(f"--data {key}=: names nothing; give it a value or leave it out")


def refuse_bare(words: Iterable[str]) -> None:
    """Raises PyinfraError for `--data key` without a value: pyinfra itself ends in a traceback."""
    for given in option(words, "--data"):
        if "=" not in given:
            raise PyinfraError(f"--data {given}: write --data {given if given in USED_BY else 'key'}=value")


def check() -> None:
    """The same for the run at hand."""
    # Outside the command line (API mode) no deploy file runs: then every known key counts as used.
    running = getattr(host.state, "current_exec_filename", None) or ""
    overrides = host.state.inventory.override_data
    refuse_unknown(overrides, Path(running).stem)
    refuse_empty(overrides)


def text(key: str, default: str = "") -> str:
    """One value as text, as it was typed: pyinfra makes a number of a release id such as 12e4567890123456."""
    typed = as_typed(sys.argv[1:] if pyinfra.is_cli else ()).get(key)
    value = host.data.get(key) if typed is None else typed
    return default if value is None else str(value)


def as_typed(words: Iterable[str]) -> dict[str, str]:
    """The `--data` of a command line; the last of a key wins, as with pyinfra."""
    return dict(word.split("=", 1) for word in option(words, "--data") if "=" in word)


def option(words: Iterable[str], name: str) -> list[str]:
    """Every value given for an option, as `--name value` or `--name=value`."""
    found: list[str] = []
    before = ""
    for word in words:
        if before == name:
            found.append(word)
        elif word.startswith(f"{name}="):
            found.append(word.removeprefix(f"{name}="))
        before = word
    return found


def names(key: str) -> tuple[str, ...]:
    """A comma-separated list, in the order given, without repeats."""
    return tuple(dict.fromkeys(part.strip() for part in text(key).split(",") if part.strip()))


def chosen(key: str, known: Collection[str], default: str) -> str:
    """One of the known words. Raises PyinfraError for another."""
    value = text(key, default)
    if value != default and value not in known:
        raise PyinfraError(f"--data {key}={value}: expected {' or '.join(known)}")
    return value


def flag(key: str, default: bool) -> bool:
    """true or false. Raises PyinfraError for anything else."""
    value = text(key, str(default))
    if value not in _TRUE + _FALSE:
        raise PyinfraError(f"--data {key}={value}: expected true or false")
    return value in _TRUE


def number(key: str, default: int) -> int:
    value = text(key, str(default))
    if not (value.isascii() and value.isdecimal()):
        raise PyinfraError(f"--data {key}={value}: expected a whole number")
    return int(value)
