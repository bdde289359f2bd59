"""Which configuration file a process runs, and under which mode (contract 3.1, 22).

Path: --config > ANVIL_CONFIG_<MODE> > the manifest's entry > the shipped file. Mode: --mode > ANVIL_MODE > the
manifest's active_mode > agentic. Blank always means unset; --config runs without a mode.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from anvil.router.config.rules import shown
from anvil.router.config.tables import IGNORED

MODES = ("agentic", "flexibility")
DEFAULT_MODE = "agentic"
MODE_VARIABLE = "ANVIL_MODE"
MANIFEST_VARIABLE = "ANVIL_MODES_CONFIG"
PATH_VARIABLES = {"agentic": "ANVIL_CONFIG_AGENTIC", "flexibility": "ANVIL_CONFIG_FLEXIBILITY"}

_SHIPPED_FOLDER = Path(__file__).with_name("shipped")
SHIPPED = {"agentic": _SHIPPED_FOLDER / "local.toml", "flexibility": _SHIPPED_FOLDER / "flexibility.toml"}

_MANIFEST_KEYS = ("active_mode", *MODES)


class ModeError(Exception):
    """A usage error: exit 2, one line."""


class Selected(Struct, frozen=True):
    """mode is None when --config named the file."""

    path: Path
    mode: str | None


class _Manifest(Struct, frozen=True):
    file: Path
    active_mode: str | None
    paths: dict[str, str]


def select(
    flag_config: str | None,
    flag_mode: str | None,
    environ: Mapping[str, str],
    shipped: Mapping[str, Path] = SHIPPED,
) -> Selected:
    """The file and mode to run. Raises ModeError for contradicting, missing or unknown selectors."""
    config, asked = _set(flag_config), _set(flag_mode)
    if config and asked:
        raise ModeError("--config and --mode exclude each other; --config runs one file without a mode")
    if config:
        return Selected(Path(config).expanduser(), None)
    manifest_path = _set(environ.get(MANIFEST_VARIABLE))
    if not (asked or manifest_path or _set(environ.get(MODE_VARIABLE))):
        raise ModeError(
            f"nothing to run: give --config PATH or --mode {'|'.join(MODES)}, "
            f"or set {MODE_VARIABLE} or {MANIFEST_VARIABLE}"
        )
    manifest = _read_manifest(Path(manifest_path).expanduser()) if manifest_path else None
    mode = _mode(asked, environ, manifest)
    return Selected(_path(mode, environ, manifest, shipped), mode)


def _set(value: str | None) -> str | None:
    return (value or "").strip() or None


def _mode(asked: str | None, environ: Mapping[str, str], manifest: _Manifest | None) -> str:
    sources = [
        ("--mode", asked),
        (MODE_VARIABLE, _set(environ.get(MODE_VARIABLE))),
        (f"active_mode of {manifest.file}" if manifest else "", manifest.active_mode if manifest else None),
    ]
    for source, value in sources:
        if value is None:
            continue
        if value not in MODES:
            raise ModeError(f'unknown mode "{value[:60]}" from {source}; known modes: {", ".join(MODES)}')
        return value
    return DEFAULT_MODE


def _path(mode: str, environ: Mapping[str, str], manifest: _Manifest | None, shipped: Mapping[str, Path]) -> Path:
    variable = PATH_VARIABLES[mode]
    named = _set(environ.get(variable))
    if named:
        return Path(named).expanduser()
    listed = manifest.paths.get(mode) if manifest else None
    if manifest and listed:
        return manifest.file.parent / Path(listed).expanduser()
    if not shipped[mode].is_file():
        raise ModeError(
            f"no configuration for mode {mode}; set {variable}, or list it in a manifest ({MANIFEST_VARIABLE})"
        )
    return shipped[mode]


def _read_manifest(file: Path) -> _Manifest:
    where = f"{MANIFEST_VARIABLE}: {file}"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModeError(f"{where}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ModeError(f"{where}: is not valid TOML: {error}") from None
    _refuse_unknown(document, ("modes", "server", "router", *IGNORED), f"{where}: top level")
    table = document.get("modes")
    if not isinstance(table, dict):
        raise ModeError(f"{where}: the table [modes] is missing")
    _refuse_unknown(table, _MANIFEST_KEYS, f"{where}: [modes]")
    for key, value in table.items():
        if not isinstance(value, str):
            raise ModeError(f"{where}: [modes]: {key} must be a string, not {shown(value)}")
    paths = {mode: path for mode in MODES if (path := _set(table.get(mode)))}
    return _Manifest(file, _set(table.get("active_mode")), paths)


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise ModeError(
                f'{where}: unknown key "{key}"' + (f'; did you mean "{near[0]}"?' if near else "; remove it")
            )
