"""The worked examples of contract operations.md 12.4 and the rules M1-M12."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.harness import openclaw
from anvil.harness.json5_document import same
from anvil.harness.openclaw_features import Features
from anvil.harness.openclaw_merge import Options, merge
from anvil.harness.refusal import Refusal
from tests.unit.harness.samples import FIVE, router

DATA = Path(__file__).with_name("data")
PLUGIN = openclaw.Plugin(
    "openclaw-anvil-intent-router", "/home/u/plugin", "ANVIL_ROUTER_TOKEN", ("planning",), "advise"
)
OWNED = openclaw.document(router("chat", "planning"), plugin=PLUGIN)
PLAIN = openclaw.document(router("chat", "planning"))

E1_BEFORE = (DATA / "e1_before.json").read_text()
E1_AFTER = (DATA / "e1_after.json").read_text()


def wanted(current: Any, owned: Any = PLAIN, **known: Any) -> Any:
    return merge(current, owned, **known)[0]


def texts(current: Any, owned: Any = PLAIN, **known: Any) -> list[str]:
    return [str(note) for note in merge(current, owned, **known)[1]]


def provider(**live: Any) -> dict[str, Any]:
    return {"models": {"providers": {"anvil": live}}}


def defaults(**live: Any) -> dict[str, Any]:
    return {"agents": {"defaults": live}}


# ----------------------------------------------------------------------------------------- worked examples


def test_e1_byte_for_byte_with_the_operators_key_order() -> None:
    found, notes = merge(json.loads(E1_BEFORE), OWNED)
    assert json.dumps(found) == json.dumps(json.loads(E1_AFTER))
    assert [str(note) for note in notes] == [
        "WARN models.providers.anvil.baseUrl stays http://10.1.1.5:8000/v1; our document says http://100.64.0.10:8000/v1"
    ]


def test_e2_a_string_primary_stays_and_no_allowlist_is_made() -> None:
    found, notes = merge({"agents": {"defaults": {"model": "openai/gpt-5.5"}}}, PLAIN)
    assert found["agents"] == {"defaults": {"model": "openai/gpt-5.5"}}
    assert found["models"] == PLAIN["models"]
    assert [str(note) for note in notes] == ["no allowlist in force"]


def test_e3_null_models_become_ours() -> None:
    assert wanted({"models": None, "x": 1})["models"] == PLAIN["models"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["openai/*"], ["openai/*", "anvil/*"]),
        ([], []),
        (["anvil/chat", "anvil/planning"], ["anvil/chat", "anvil/planning"]),
        (["anvil/gone", "anvil/chat"], ["anvil/chat", "anvil/*"]),
        (["anvil/gone"], ["anvil/*"]),
        (["anvil/*"], ["anvil/*"]),
    ],
)
def test_e5_model_policy(before: list[str], after: list[str]) -> None:
    found = wanted(defaults(modelPolicy={"allow": before}))
    assert found["agents"]["defaults"]["modelPolicy"] == {"allow": after}


def test_without_the_feature_a_model_policy_is_left_alone() -> None:
    found = wanted(defaults(modelPolicy={"allow": ["openai/*"]}), features=Features(has_model_policy=False))
    assert found["agents"]["defaults"]["modelPolicy"] == {"allow": ["openai/*"]}


@pytest.mark.parametrize("current", [{}, {"models": None}, json.loads(E1_BEFORE), defaults(model="openai/x")])
def test_e7_a_second_merge_changes_nothing(current: Any) -> None:
    once = wanted(current, OWNED)
    assert same(wanted(once, OWNED), once)


# ------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    "path", ["models", "models.providers", "models.providers.anvil", "agents", "agents.defaults", "plugins",
             "plugins.entries", "plugins.load", "plugins.entries.openclaw-anvil-intent-router"],
)  # fmt: skip
@pytest.mark.parametrize("wrong", [[], "text", 3, True, {"$include": "./other.json"}])
def test_m1_what_is_no_object_of_this_file_refuses_with_its_path(path: str, wrong: Any) -> None:
    document: Any = wrong
    for key in reversed(path.split(".")):
        document = {key: document}
    with pytest.raises(Refusal) as problem:
        merge(document, OWNED)
    assert str(problem.value).startswith(path)


def test_an_include_at_the_top_refuses() -> None:
    with pytest.raises(Refusal, match=r"^\$include"):
        merge({"$include": "./base.json"}, PLAIN)


def test_an_include_elsewhere_is_the_operators() -> None:
    document = {"channels": {"$include": "./channels.json"}}
    assert wanted(document)["channels"] == document["channels"]


def test_m2_a_closed_catalogue_stays_closed() -> None:
    assert wanted({"models": {"mode": "replace"}})["models"]["mode"] == "replace"
    assert "replace" in texts({"models": {"mode": "replace"}})[0]


def test_m3_an_empty_key_is_filled_and_a_marker_stays() -> None:
    assert wanted(provider(apiKey=""))["models"]["providers"]["anvil"]["apiKey"] == "${ANVIL_ROUTER_TOKEN}"
    marker = {"source": "env", "provider": "default", "id": "X"}
    assert wanted(provider(apiKey=marker))["models"]["providers"]["anvil"]["apiKey"] == marker


def test_m3_the_url_moves_only_when_asked() -> None:
    live = provider(baseUrl="http://me:pw@old/v1")
    assert wanted(live)["models"]["providers"]["anvil"]["baseUrl"] == "http://me:pw@old/v1"
    assert "pw" not in texts(live)[0]
    moved = wanted(live, options=Options(overwrite_url=True))
    assert moved["models"]["providers"]["anvil"]["baseUrl"] == "http://100.64.0.10:8000/v1"


def test_m3_a_timeout_is_written_only_when_declared() -> None:
    declared = openclaw.document(router("chat"), timeout_s=600)
    assert wanted(provider(timeoutSeconds=5), declared)["models"]["providers"]["anvil"]["timeoutSeconds"] == 600
    assert wanted(provider(timeoutSeconds=5))["models"]["providers"]["anvil"]["timeoutSeconds"] == 5


def rows(*live: Any, **known: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = wanted(provider(models=list(live)), **known)["models"]["providers"]["anvil"]["models"]
    return found


def test_m4_rows_keep_what_is_not_ours_and_follow_our_order() -> None:
    found = rows(
        {"id": "planning", "cost": {"input": 1}, "contextTokens": 1000}, {"id": "gone"}, "text", {"id": "planning"}
    )
    assert [row["id"] for row in found] == ["chat", "planning"]
    assert found[1]["cost"] == {"input": 1}
    assert found[1]["contextTokens"] == 1000


@pytest.mark.parametrize("tokens", [131_073, "many", True])
def test_m4_a_context_beyond_the_window_is_dropped(tokens: Any) -> None:
    assert "contextTokens" not in rows({"id": "chat", "contextTokens": tokens})[0]
    assert any(
        "contextTokens is dropped" in text for text in texts(provider(models=[{"id": "chat", "contextTokens": tokens}]))
    )


def test_a_key_that_the_release_does_not_know_is_left_out() -> None:
    known = Features(
        model_keys=frozenset({"id", "name", "contextWindow"}), provider_keys=frozenset({"baseUrl", "models"})
    )
    assert set(rows(features=known)[0]) == {"id", "name", "contextWindow"}
    assert "api" not in wanted({"x": 1}, features=known)["models"]["providers"]["anvil"]


def test_m5_a_primary_is_set_only_where_there_is_none() -> None:
    assert wanted(defaults(model={"fallbacks": ["openai/x"]}))["agents"]["defaults"]["model"] == {
        "fallbacks": ["openai/x"], "primary": "anvil/chat",
    }  # fmt: skip
    assert wanted(defaults(model={"primary": "openai/x"}))["agents"]["defaults"]["model"] == {"primary": "openai/x"}


@pytest.mark.parametrize(
    ("model", "warns"),
    [("anvil/chat", True), ("openai/x", False), ({"primary": "anvil/chat", "fallbacks": ["anvil/planning"]}, True),
     ({"primary": "anvil/chat", "fallbacks": ["openai/x"]}, False), (None, True), ("mine", True)],
)  # fmt: skip
def test_m5_a_router_without_a_way_out_is_warned_of(model: Any, warns: bool) -> None:
    live = defaults(model=model, models={"anvil/chat": {"alias": "mine"}})
    assert any("nowhere to go" in text for text in texts(live)) is warns


def test_m6_the_map_follows_the_presets_and_keeps_wildcards() -> None:
    found = wanted(defaults(models={"anvil/*": {}, "anvil/gone": {}, "openai/x": None, "anvil/chat": None}))
    assert found["agents"]["defaults"]["models"] == {
        "anvil/*": {},
        "openai/x": None,
        "anvil/chat": {},
        "anvil/planning": {},
    }


def test_m6_a_map_of_another_kind_is_left_alone() -> None:
    assert wanted(defaults(models=["anvil/gone"]))["agents"]["defaults"]["models"] == ["anvil/gone"]
    assert "agents.defaults.models is not an object: left alone" in texts(defaults(models=["anvil/gone"]))


@pytest.mark.parametrize(
    ("live", "path"),
    [
        (defaults(model="anvil/gone"), "agents.defaults.model"),
        (defaults(model={"primary": "openai/x", "fallbacks": ["anvil/gone"]}), "agents.defaults.model.fallbacks[0]"),
        (defaults(heartbeat={"model": "anvil/gone"}), "agents.defaults.heartbeat.model"),
        ({"agents": {"list": [{"id": "a", "model": "anvil/gone"}]}}, "agents.list[0].model"),
    ],
)
def test_who_still_asks_for_a_preset_that_is_gone_is_named(live: Any, path: str) -> None:
    assert f"WARN {path} is anvil/gone, which the router does not offer" in texts(live)
    kept: Any = wanted(live)["agents"]
    assert kept.get("list", kept["defaults"]) == live["agents"].get("list", kept["defaults"])


@pytest.mark.parametrize("name", ["anvil/chat", "anvil/*", "openai/gone", "anvil/gone is what I had", "gone"])
def test_no_other_name_is_reported(name: str) -> None:
    assert not any("does not offer" in text for text in texts(defaults(heartbeat={"model": name})))


def test_m7_an_agents_own_policy_is_reported() -> None:
    live = {"agents": {"entries": {"main": {"modelPolicy": {"allow": ["openai/*"]}}, "b": {}}}}
    assert any("agents.entries.main" in text for text in texts(live))
    assert wanted(live)["agents"]["entries"] == live["agents"]["entries"]


def test_m8_a_disabled_plugin_stays_disabled() -> None:
    live = {
        "plugins": {"entries": {PLUGIN.id: {"enabled": False, "config": {"mine": 1, "route": "off"}}}, "allow": ["a"]}
    }
    entry = wanted(live, OWNED)["plugins"]["entries"][PLUGIN.id]
    assert entry["enabled"] is False
    assert entry["config"]["mine"] == 1
    assert entry["config"]["route"] == "advise"
    assert wanted(live, OWNED)["plugins"]["allow"] == ["a", PLUGIN.id]
    assert any(text.startswith("WARN plugins.entries") for text in texts(live, OWNED))


def test_m8_a_denied_plugin_refuses() -> None:
    with pytest.raises(Refusal, match=r"^plugins\.deny"):
        merge({"plugins": {"deny": [PLUGIN.id]}}, OWNED)


def test_m11_overwrite_leaves_ours_alone_and_says_so() -> None:
    found, notes = merge(json.loads(E1_BEFORE), OWNED, options=Options(overwrite=True))
    assert found == OWNED
    assert notes[0].level == "warn"


@pytest.mark.parametrize("current", [None, {}])
def test_m12_nothing_there_gives_the_owned_document(current: Any) -> None:
    found, notes = merge(current, OWNED)
    assert found == OWNED
    assert found is not OWNED
    assert notes == ()


# --------------------------------------------------------------------------------------------- properties

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
REFERENCES = st.sampled_from(["anvil/chat", "anvil/gone", "anvil/*", "openai/x", "mine"])
SOME_REFERENCES = st.lists(REFERENCES, max_size=3)
WORDS = st.lists(st.text(max_size=2), max_size=2)


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with any of the keys, or null."""
    return st.none() | st.fixed_dictionaries({}, optional=optional)


def entries(name: str, entry: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.fixed_dictionaries({}, optional={"other": JSON, name: st.none() | st.just(entry)})


ROWS = st.lists(
    st.integers()
    | st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from(["chat", "planning", "gone"]),
            "cost": JSON,
            "contextTokens": JSON,
            "compat": st.none() | st.just({"a": 1}),
        },
    ),
    max_size=3,
)
PROVIDER = some(
    baseUrl=st.sampled_from(["", "http://h/v1"]),
    apiKey=st.sampled_from([None, "k"]),
    headers=JSON,
    models=st.none() | ROWS,
)
DEFAULTS = some(
    workspace=JSON,
    model=REFERENCES | some(primary=st.none() | REFERENCES, fallbacks=SOME_REFERENCES),
    models=st.none() | st.dictionaries(REFERENCES, st.none() | st.just({"params": {}, "alias": "mine"}), max_size=3),
    modelPolicy=some(allow=SOME_REFERENCES, x=JSON),
)
DOCUMENTS = some(
    gateway=JSON,
    meta=JSON,
    models=some(
        mode=st.sampled_from(["merge", "replace", None]), other=JSON, providers=some(openai=JSON, anvil=PROVIDER)
    ),
    agents=some(entries=JSON, defaults=DEFAULTS),
    plugins=some(
        entries=entries(PLUGIN.id, {"enabled": False}), allow=WORDS, slots=JSON, load=some(paths=st.none() | WORDS)
    ),
)
# Everything a merge may touch; M9: nothing else.
OURS = (
    ("models", "mode"),
    *(("models", "providers", "anvil", key) for key in ("models", "baseUrl", "apiKey", "api")),
    ("agents", "defaults", "model"),
    ("agents", "defaults", "models"),
    ("agents", "defaults", "modelPolicy", "allow"),
    ("plugins", "entries", PLUGIN.id),
    ("plugins", "load", "paths"),
    ("plugins", "allow"),
)


def foreign(document: Any) -> Any:
    """The document without what we may touch; null and empty objects on the way to it count as absent."""
    rest = copy.deepcopy(document)
    for path in OURS:
        chain = [rest]
        for key in path[:-1]:
            chain.append(chain[-1].get(key) if isinstance(chain[-1], dict) else None)
        for parent, key in zip(reversed(chain), reversed(path), strict=True):
            if isinstance(parent, dict) and (key == path[-1] or parent.get(key) in (None, {})):
                parent.pop(key, None)
    return rest


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_merging_twice_is_merging_once_and_foreign_keys_stay(current: Any) -> None:
    before = copy.deepcopy(current)
    once, _ = merge(current, OWNED)
    assert same(current, before)
    assert same(merge(once, OWNED)[0], once)
    if current:
        assert same(foreign(once), foreign(current))
    refs = {row["id"] for row in once["models"]["providers"]["anvil"]["models"]}
    assert refs == {"chat", "planning"}


def test_the_owned_document_is_the_contracts() -> None:
    document = openclaw.document(FIVE, timeout_s=600, plugin=PLUGIN, router_url="http://100.64.0.10:8000/v1")
    anvil = document["models"]["providers"]["anvil"]
    assert list(anvil) == ["baseUrl", "apiKey", "api", "timeoutSeconds", "models"]
    assert anvil["baseUrl"] == "http://100.64.0.10:8000/v1"
    assert [(row["name"], row["maxTokens"]) for row in anvil["models"]] == [
        ("Anvil · Chat", 8192), ("Anvil · Quick Edit", 8192), ("Anvil · Review", 16000), ("Anvil · Planning", 32000),
        ("Anvil · Long Context", 16000),
    ]  # fmt: skip
    assert document["agents"] == {"defaults": {"model": {"primary": "anvil/chat"}}}
    assert document["plugins"]["load"]["paths"] == ["/home/u/plugin"]
    assert "plugins" not in openclaw.document(FIVE)
