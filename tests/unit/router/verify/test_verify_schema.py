"""Contract 12.5: what the schema evaluator judges, what it lets pass, and where it stops."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.verify import schema, strict_json

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=9,
)


def _conforms(value: object, rules: object) -> bool:
    return schema.conforms(value, msgspec.json.encode(rules))


def _schema_of(value: object) -> dict[str, object]:
    """The tightest schema of one value that the evaluated keywords can express."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {name: _schema_of(member) for name, member in value.items()},
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, list):
        return {"type": "array", "prefixItems": [_schema_of(item) for item in value], "items": False}
    return {"const": value}


@given(JSON_VALUES)
def test_a_value_conforms_to_its_own_schema(value: object) -> None:
    assert _conforms(value, _schema_of(value))
    assert _conforms(value, {"anyOf": [False, _schema_of(value)]})
    assert _conforms(value, {"$ref": "#/$defs/v", "$defs": {"v": _schema_of(value)}})


@given(st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=3), st.text(max_size=3), JSON_VALUES)
def test_an_undeclared_member_violates(value: dict[str, object], name: str, member: object) -> None:
    rules = _schema_of(value)
    if name not in value:
        assert not _conforms({**value, name: member}, rules)
        assert not _conforms(value, {"required": [name]})


@given(JSON_VALUES, st.binary(max_size=30))
def test_anything_but_a_schema_accepts_everything(value: object, data: bytes) -> None:
    assert schema.conforms(value, b"[" + data)
    for rules in (True, None, 5, "x", [], {}):
        assert _conforms(value, rules)
    assert not _conforms(value, False)


@pytest.mark.parametrize(
    ("value", "rules", "conforms"),
    [
        (1, {"type": "integer"}, True),
        (1.0, {"type": "integer"}, True),
        (1.5, {"type": "integer"}, False),
        (True, {"type": "integer"}, False),
        (True, {"type": "number"}, False),
        (1, {"type": "boolean"}, False),
        (None, {"type": "string"}, False),
        (None, {"type": "string", "nullable": True}, True),
        (None, {"type": "string", "nullable": False}, False),
        (None, {"enum": ["a"], "nullable": True}, True),
        ("a", {"type": ["string", "null"]}, True),
        (5, {"type": ["string", "null"]}, False),
        (5, {"type": ["string", "file"]}, True),
        (5, {"type": []}, True),
        (True, {"const": 1}, False),
        (1.0, {"const": 1}, True),
        ([True], {"enum": [[1]]}, False),
        ({"a": [0]}, {"enum": [{"a": [False]}]}, False),
        ({"a": [0]}, {"enum": [{"a": [0.0]}]}, True),
        (5, {"enum": []}, False),
        ({"a": 1}, {"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, True),
        ({"b": 1}, {"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, False),
        ({"b": 1}, {"patternProperties": {"b": {}}, "additionalProperties": False}, True),
        ([1, "a"], {"items": {"type": "integer"}}, False),
        ([1, "a", "b"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, True),
        ([1, 2], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, False),
        ([], {"prefixItems": [{"type": "integer"}]}, True),
        (["a", 1], {"items": [{"type": "string"}, {"type": "string"}]}, False),
        (5, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, True),
        (5, {"oneOf": [{"type": "string"}, {"type": "null"}]}, False),
        (5, {"allOf": [{"type": "integer"}, {"const": 6}]}, False),
        (5, {"$ref": "other.json"}, True),
        (5, {"$ref": "#anchor"}, True),
        (5, {"$ref": "#/$defs/x/0", "$defs": {"x": [{"type": "string"}]}}, False),
        (5, {"$ref": "#/$defs/x/9", "$defs": {"x": [{"type": "string"}]}}, True),
        (5, {"$ref": "#/$defs/x", "$defs": {"x": {"type": "integer"}}, "const": 6}, False),
        ("b", {"pattern": "^a", "format": "uuid", "minLength": 9, "not": {}, "if": True, "then": False}, True),
    ],
)
def test_keyword(value: object, rules: object, conforms: bool) -> None:
    assert _conforms(value, rules) is conforms


def _nested(levels: int, leaf: object) -> object:
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


def test_levels_end_the_judgement() -> None:
    rules = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#"}}]}
    assert not _conforms(_nested(9, 5), rules)
    assert _conforms(_nested(100, 5), rules)


def test_steps_end_the_judgement() -> None:
    rules = {"items": {"type": "integer"}}
    assert not _conforms([1] * 90_000 + ["x"], rules)
    assert _conforms([1] * 100_001 + ["x"], rules)
    assert _conforms(0, {"allOf": [{"enum": list(range(3200))}] * 1001 + [False]})


def test_the_cache_is_bounded_and_skips_long_schemas() -> None:
    for number in range(400):
        assert schema.conforms(number, b'{"const":%d}' % number)
    long = b'{"const":"' + b"x" * 20_000 + b'"}'
    held = schema._cached.cache_info().currsize
    assert not schema.conforms("y", long)
    assert schema._cached.cache_info().currsize == held == schema.CACHED_SCHEMAS


@given(JSON_VALUES)
def test_strict_json_reads_what_json_is(value: object) -> None:
    text = msgspec.json.encode(value).decode()
    assert strict_json.decode(text) == value
    assert strict_json.decode_sequence(f"{text}\n{text}") == [value, value]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        "-Infinity",
        "1e999",
        "[1,]",
        "{'a':1}",
        "01",
        "+1",
        '"\\x"',
        '"a\nb"',
        "\ufeff1",
        '"\ud800"',
        '"\\ud800"',
        "1 2",
        "tru",
        "[" * 129 + "]" * 129,
        "[" * 100_000,
        '{"a":' * 200 + "1" + "}" * 200,
    ],
)
def test_strict_json_refuses(text: str) -> None:
    with pytest.raises(strict_json.NotJson):
        strict_json.decode(text)


def test_strict_json_takes_128_levels_and_brackets_in_strings() -> None:
    assert strict_json.decode("[" * 128 + "]" * 128) is not None
    assert strict_json.decode('"' + "[" * 500 + '"') == "[" * 500


def test_a_long_chain_of_references_is_followed_and_not_a_fault_of_the_answer() -> None:
    """Generated schemas have hundreds of definitions that name each other."""
    links = {f"d{at}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/d{at + 1}"}}} for at in range(999)}
    rules: dict[str, object] = {"$ref": "#/$defs/d0", "$defs": links}
    assert _conforms({"next": {"next": {}}}, rules)
    assert not _conforms({"next": {"next": 1}}, rules)
