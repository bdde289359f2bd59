"""The owned document joined to an operator's OpenClaw document (contract operations.md 12.3, rules M1-M12). Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from anvil.harness import openclaw_policy
from anvil.harness.openclaw import PRIMARY, PROVIDER
from anvil.harness.openclaw_features import Features
from anvil.harness.openclaw_place import Note, Place, warn
from anvil.harness.refusal import Refusal

Json = dict[str, Any]
_PROVIDER_KEPT = ("baseUrl", "apiKey")


class Options(Struct, frozen=True):
    """``overwrite_url``: a live baseUrl gives way to ours. ``overwrite``: only the owned document remains (M11)."""

    overwrite_url: bool = False
    overwrite: bool = False


def merge(
    current: Mapping[str, Any] | None,
    owned: Mapping[str, Any],
    features: Features | None = None,
    options: Options | None = None,
) -> tuple[Json, tuple[Note, ...]]:
    """The wanted document and what people should know; ``None`` or an empty document gives the owned one (M12).

    Raises Refusal naming the path.
    """
    features, options = features or Features(), options or Options()
    if not current or options.overwrite:
        wanted = copy.deepcopy(dict(owned))
        return wanted, ((warn("everything outside the owned document is dropped"),) if current else ())
    root = Place(copy.deepcopy(dict(current)), "", [])
    root.no_include()
    for provider, ours in owned["models"]["providers"].items():
        presets = [f"{provider}/{row['id']}" for row in ours["models"]]
        _models(root, owned["models"]["mode"], provider, ours, features, options)
        _agents(root, owned["agents"]["defaults"]["model"]["primary"], provider, presets, features)
        openclaw_policy.report_gone(root, provider, presets)
    if "plugins" in owned:
        _plugins(root, owned["plugins"], features)
        _see_chosen(root, owned["plugins"]["entries"])
    return root.value, tuple(root.notes)


# ------------------------------------------------------------------------------------------------ M1-M4: provider


def _models(root: Place, mode: str, provider: str, ours: Json, features: Features, options: Options) -> None:
    models = root.child("models")
    if models.value.get("mode") == "replace":
        models.note('models.mode stays "replace": the catalogue is closed on purpose, and anvil is named in it')
    else:
        models.value["mode"] = mode
    live = models.child("providers").child(provider)
    for key in _PROVIDER_KEPT:
        if not live.value.get(key) or (key == "baseUrl" and options.overwrite_url):
            live.value[key] = ours[key]
    if live.value["baseUrl"] != ours["baseUrl"]:
        live.warn(f"{live.path}.baseUrl stays {_shown(live.value['baseUrl'])}; our document says {ours['baseUrl']}")
    for key, value in _allowed(ours, features.provider_keys, live).items():
        if key not in (*_PROVIDER_KEPT, "models"):
            live.value[key] = copy.deepcopy(value)
    live.value["models"] = _rows(live, ours["models"], features)


def _shown(url: object) -> str:
    return re.sub(r"//[^/@]*@", "//…@", str(url))


def _rows(live: Place, ours: list[Json], features: Features) -> list[Json]:
    found: dict[Any, Json] = {}
    for number, row in enumerate(live.array("models")):
        if not isinstance(row, dict):
            live.note(f"{live.path}.models[{number}] is not an object and is dropped")
        else:
            found.setdefault(str(row.get("id")), row)
    rows = []
    for wanted in ours:
        place = Place(found.get(wanted["id"], {}), f"{live.path}.models[{wanted['id']}]", live.notes)
        place.no_include()
        rows.append(_row(place, _allowed(wanted, features.model_keys, live)))
    return rows


def _row(place: Place, ours: Json) -> Json:
    for key, value in ours.items():
        if isinstance(value, dict):
            place.child(key).value.update(value)
        else:
            place.value[key] = copy.deepcopy(value)
    tokens = place.value.get("contextTokens")
    if tokens is not None and not _fits(tokens, place.value["contextWindow"]):
        del place.value["contextTokens"]
        place.note(f"{place.path}.contextTokens is dropped: it does not fit the window")
    return place.value


def _fits(tokens: object, window: int) -> bool:
    return isinstance(tokens, int | float) and not isinstance(tokens, bool) and tokens <= window


def _allowed(ours: Json, keys: frozenset[str] | None, place: Place) -> Json:
    held = sorted(ours.keys() - keys) if keys is not None else []
    for key in held:
        place.note(f"{key} is left out below {place.path}: this release does not know it")
    return {key: value for key, value in ours.items() if key not in held}


# ---------------------------------------------------------------------------------------------- M5-M7: the agents


def _agents(root: Place, primary: str, provider: str, presets: list[str], features: Features) -> None:
    agents = root.child("agents")
    defaults = agents.child("defaults")
    _primary(defaults, primary, provider)
    openclaw_policy.catalogue(defaults, provider, presets)
    if features.has_model_policy:
        openclaw_policy.allow(defaults, provider, presets)
        openclaw_policy.report_agents(agents)


def _primary(defaults: Place, primary: str, provider: str) -> None:
    model = defaults.value.get("model")
    fallbacks: object = None
    if not isinstance(model, str):
        place = defaults.child("model")
        if place.value.get("primary") is None:
            place.value["primary"] = primary
        model, fallbacks = place.value["primary"], place.value.get("fallbacks")
    others = fallbacks if isinstance(fallbacks, list) else []
    native = any(isinstance(name, str) and not name.startswith(f"{provider}/") for name in others)
    if isinstance(model, str) and _resolved(defaults, model).startswith(f"{provider}/") and not native:
        defaults.warn(
            f"{defaults.path}.model is {model} and no fallback lies outside {provider}: "
            "a failure of the router would have nowhere to go"
        )


def _resolved(defaults: Place, name: str) -> str:
    """What an alias stands for."""
    entries = defaults.value.get("models")
    for reference, entry in entries.items() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and entry.get("alias") == name:
            return str(reference)
    return name


# --------------------------------------------------------------------------------------------------- M8: plugins


def _plugins(root: Place, ours: Json, features: Features) -> None:
    plugins = root.child("plugins")
    for identity, entry in ours["entries"].items():
        if identity in plugins.array("deny"):
            raise Refusal(f"plugins.deny holds {identity}: take it out, or take the plugin out of the topology")
        _entry(plugins.child("entries").child(identity), entry, features)
        allow = plugins.value.get("allow")
        if isinstance(allow, list) and identity not in allow:
            allow.append(identity)
    if plugins.value.get("enabled") is False:
        plugins.warn("plugins.enabled is false: the intent plugin will not run")
    paths = plugins.child("load").own_array("paths")
    paths += [path for path in ours["load"]["paths"] if path not in paths]


def _entry(place: Place, ours: Json, features: Features) -> None:
    if place.value.get("enabled") is False:
        place.warn(f"{place.path}.enabled is false and stays so: the intent plugin will not run")
    else:
        place.value["enabled"] = True
    for key, value in _allowed(ours, features.plugin_entry_keys, place).items():
        if isinstance(value, dict):
            place.child(key).value.update(copy.deepcopy(value))


def _see_chosen(root: Place, ours: Mapping[str, Any]) -> None:
    """The plugin takes every preset but its primary for one that somebody chose, and leaves such turns alone."""
    defaults = root.child("agents").child("defaults")
    model = defaults.value.get("model")
    named = model.get("primary") if isinstance(model, dict) else model
    provider, _, preset = _resolved(defaults, str(named)).partition("/")
    for identity in ours:
        config = root.child("plugins").child("entries").child(identity).value.get("config") or {}
        unchosen = config.get("primaryPreset", PRIMARY)
        if provider == config.get("provider", PROVIDER) and preset != unchosen:
            defaults.warn(
                f"agents.defaults.model is {provider}/{preset}, and the intent plugin takes {unchosen} for a turn that"
                f" nobody chose a model for: it will leave every turn alone; make {preset} the gateway's primary in the"
                " topology"
            )
