"""A client's file joined to what the user already has in it: the wanted text and what a diff may show. Pure."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from msgspec import Struct

from anvil.harness import claude_code, openclaw, openclaw_merge, toml_edit, toml_text
from anvil.harness.json5_document import decoded, dumped, parse, same
from anvil.harness.json5_edit import written
from anvil.harness.masking import masked
from anvil.harness.model import File
from anvil.harness.openclaw_merge import Options
from anvil.harness.refusal import Refusal


class Joined(Struct, frozen=True):
    """``text`` None: the file is in step. ``before`` and ``after`` are masked, for people."""

    text: str | None
    before: str
    after: str
    notes: tuple[str, ...] = ()


def joined(name: str, file: File, current: bytes | None, options: Options, *, rewrite: bool = False) -> Joined:
    """``name`` is the client, ``current`` the file's bytes or None where there is none. Raises Refusal."""
    if file.format == "toml":
        return _toml(file, decoded(current or b""))
    if file.format == "yaml":
        return _yaml(file, decoded(current or b""))
    if file.format == "env":
        raise Refusal(f"{name} is configured by variables, there is no file to change")
    return _json(name, file, current or b"", options, rewrite)


def _json(name: str, file: File, current: bytes, options: Options, rewrite: bool) -> Joined:
    document, _ = parse(current)
    if name == openclaw.HARNESS.name:
        wanted, found = openclaw_merge.merge(document, file.content, options=options)
        notes = tuple(map(str, found))
    else:
        wanted = deep(document, file.content, file.owns)
        notes = claude_code.conflicts(wanted) if name == claude_code.HARNESS.name else ()
    text = None if document and same(document, wanted) else written(current, wanted, rewrite=rewrite)
    before = _shown(document, file.content) if current.strip() else ""
    return Joined(text, before, _shown(wanted, file.content), notes)


def deep(
    current: Mapping[str, Any], ours: Mapping[str, Any], owns: tuple[str, ...] = (), path: str = ""
) -> dict[str, Any]:
    """Objects are joined, except those that ``owns`` names by dotted path; everything else of ours replaces."""
    found = copy.deepcopy(dict(current))
    for key, value in ours.items():
        here, live = f"{path}.{key}".lstrip("."), found.get(key)
        if isinstance(value, Mapping) and isinstance(live, dict) and here not in owns:
            found[key] = deep(live, value, owns, here)
        elif isinstance(value, Mapping) and live is not None and not isinstance(live, dict):
            raise Refusal(f"{here} is not an object; correct it by hand")
        else:
            found[key] = copy.deepcopy(value)
    return found


def _toml(file: File, current: str) -> Joined:
    wanted = toml_edit.merged(current, file.content)
    before, after = tomllib.loads(current), tomllib.loads(wanted)
    shown = toml_text.dumps(masked(before, file.content)) if before else ""
    return Joined(None if wanted == current else wanted, shown, toml_text.dumps(masked(after, file.content)))


def _yaml(file: File, current: str) -> Joined:
    if not current.strip():
        return Joined(file.text, "", file.text)
    if current == file.text or _holds(current, file.content):
        return Joined(None, "", "")
    raise Refusal(
        f"the file is there already, and YAML would lose its comments; put these entries in by hand:\n{file.text}"
    )


def _holds(current: str, content: Mapping[str, Any]) -> bool:
    """Whether each of our models stands in the list as we would write it."""
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise Refusal("reading YAML needs a package that is missing: pip install 'anvil-serving[deploy]'") from None
    try:
        live = yaml.safe_load(current)
    except yaml.YAMLError:
        raise Refusal("the file is not YAML that can be read; correct it first") from None
    models = live.get("models") if isinstance(live, dict) else None
    return isinstance(models, list) and all(row in models for row in content["models"])


def _shown(document: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    return dumped(masked(document, ours))
