"""A plugin of ours put into an operator's OpenClaw document for a check, and taken out again. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from anvil.harness.openclaw_place import Place
from anvil.harness.refusal import Refusal

Json = dict[str, Any]
ID = "anvil-fire-logger"


def with_logger(document: Mapping[str, Any], path: str, log: str) -> Json:
    """The document with the plugin named, allowed and granted. ``path`` and ``log`` are absolute there.

    Raises Refusal where the operator denied it, or switched plugins off.
    """
    root = Place(copy.deepcopy(dict(document)), "", [])
    root.no_include()
    plugins = root.child("plugins")
    if ID in plugins.array("deny"):
        raise Refusal(f"plugins.deny holds {ID}: take it out for the check")
    if plugins.value.get("enabled") is False:
        raise Refusal("plugins.enabled is false: no hook runs, so there is nothing to check")
    grant = {"allowConversationAccess": True}
    plugins.child("entries").value[ID] = {"enabled": True, "hooks": grant, "config": {"log": log}}
    paths = plugins.child("load").own_array("paths")
    paths += [path] if path not in paths else []
    allow = plugins.value.get("allow")
    if isinstance(allow, list) and ID not in allow:
        allow.append(ID)
    return root.value


def without_logger(document: Mapping[str, Any], path: str) -> Json:
    """The document without it; what is empty then and held nothing else goes too."""
    found = copy.deepcopy(dict(document))
    plugins = found.get("plugins")
    if not isinstance(plugins, dict):
        return found
    entries, load, allow = (plugins.get(key) for key in ("entries", "load", "allow"))
    named = isinstance(entries, dict) and entries.pop(ID, None) is not None
    if isinstance(allow, list) and ID in allow:
        allow.remove(ID)
    paths = load.get("paths") if isinstance(load, dict) else None
    if isinstance(paths, list) and path in paths:
        paths.remove(path)
        named = True
    if named:
        _drop_empty(found)
    return found


def _drop_empty(document: Json) -> None:
    plugins = document["plugins"]
    load = plugins.get("load")
    if isinstance(load, dict) and load.get("paths") == []:
        del load["paths"]
    for key in ("entries", "load"):
        if plugins.get(key) == {}:
            del plugins[key]
    if plugins == {}:
        del document["plugins"]
