"""What a release's own JSON Schema tells."""

from __future__ import annotations

from typing import Any

from anvil.harness.openclaw_features import Features, features


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def schema(**defaults: Any) -> dict[str, Any]:
    row = closed(id={}, name={}, compat={})
    provider = {
        "anyOf": [{"type": "null"}, closed(baseUrl={}, models={"type": "array", "items": {"$ref": "#/$defs/row"}})]
    }
    return {
        "$defs": {"row": row},
        **closed(
            models=closed(providers={"type": "object", "additionalProperties": provider}),
            agents=closed(defaults={"allOf": [closed(**defaults)]}),
            plugins=closed(entries={"additionalProperties": closed(enabled={}, config={})}),
        ),
    }


def test_keys_are_found_through_references_and_alternatives() -> None:
    assert features(schema(modelPolicy=closed(allow={}))) == Features(
        has_model_policy=True,
        provider_keys=frozenset({"baseUrl", "models"}),
        model_keys=frozenset({"id", "name", "compat"}),
        plugin_entry_keys=frozenset({"enabled", "config"}),
    )


def test_a_release_without_model_policy() -> None:
    assert features(schema(model={})).has_model_policy is False


def test_an_open_object_holds_nothing_back() -> None:
    opened = schema()
    opened["properties"]["plugins"]["properties"]["entries"]["additionalProperties"]["additionalProperties"] = {}
    assert features(opened).plugin_entry_keys is None


def test_an_unknown_schema_holds_nothing_back() -> None:
    assert features({}) == Features(has_model_policy=False)
    assert features({"$ref": "#/nowhere/at/all"}) == Features(has_model_policy=False)


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert features({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}) == Features(has_model_policy=False)
