"""The short way to a Messages turn gives what the long one gives, for every body: equal turns, equal refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.router.dialects import anthropic_messages
from anvil.router.dialects import anthropic_request as reading
from anvil.router.dialects.anthropic_tools import cut_tools
from anvil.router.reading import MAX_DEPTH
from anvil.router.turn import BadRequest, Turn
from tests.unit.router.dialects.anthropic_samples import NONCE, claude_code

texts = st.sampled_from(["", " ", "plan the fix", "w " * 300, "é日 b", "<system-reminder>x</system-reminder>", NONCE])
odd: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), texts, st.just([]), st.just({"a": [1]}), st.just({"a": "x" * 150})
)
MARKS = {"cache_control": st.just({"type": "ephemeral"}) | odd, "strange": odd}
text_part = st.fixed_dictionaries({"type": st.just("text"), "text": texts}, optional={**MARKS, "citations": odd})
source = st.fixed_dictionaries(
    {"type": st.sampled_from(["base64", "url", "text", "content", "file"])},
    optional={"data": texts, "content": st.lists(text_part, max_size=2) | odd, "file_id": texts, "x": odd},
)
image = st.fixed_dictionaries({"type": st.just("image"), "source": source | odd}, optional=MARKS)
document = st.fixed_dictionaries({"type": st.just("document"), "source": source}, optional={"context": odd, **MARKS})
thinking = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts}, optional={"signature": texts})
use = st.fixed_dictionaries(
    {"type": st.just("tool_use"), "id": st.just("c"), "name": st.just("f"), "input": odd}, optional={"caller": odd}
)
result = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": st.just("c")},
    optional={"content": texts | st.lists(text_part | image, max_size=2) | odd, "is_error": odd, **MARKS},
)
opaque = st.fixed_dictionaries({"type": st.sampled_from(["server_tool_use", "new"])}, optional={"x": odd})
parts = text_part | text_part | use | result | image | document | thinking | opaque | texts
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "user", "assistant", "system", "x"]),
        "content": texts | st.lists(parts, max_size=4),
    },
    optional={"output_config": odd},
)
TOOLS = [{"name": f"tool_{at}", "description": "é", "input_schema": {"type": "object"}} for at in range(3)]
fields = st.fixed_dictionaries(
    {"messages": st.lists(messages, max_size=4), "max_tokens": st.integers(1, 9) | odd},
    optional={
        "system": texts | st.lists(text_part | texts, max_size=2) | odd,
        "model": texts,
        "stream": st.booleans() | odd,
        "thread": odd,
        "temperature": odd,
        "stop_sequences": st.lists(texts, max_size=2) | odd,
        "tools": st.just(TOOLS) | st.just([*TOOLS, 5]) | odd,
        "tool_choice": st.just({"type": "auto"}) | odd,
        "metadata": odd,
        "thinking": st.just({"type": "adaptive"}) | odd,
    },
)


def outcome(data: bytes) -> Turn | str:
    try:
        return anthropic_messages.parse(data)
    except BadRequest as error:
        return error.message


def the_long_way(data: bytes) -> Turn | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_usual_turn", lambda *_: None)
        return outcome(data)


@given(fields, st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=400, deadline=None)
def test_both_ways_lead_to_the_same_turn(body: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    for _ in range(2):  # the second time the tools are remembered
        assert outcome(data) == the_long_way(data)


BASE = b'{"max_tokens":5,"messages":[{"role":"user","content":"hi"}]'


@pytest.mark.parametrize(
    "frame",
    [
        BASE + b',"tools":%b}',
        BASE + b',"tools":%b,"tools":[]}',
        BASE + b',"tools":[],"metadata":%b}',
        BASE + b',"tools":[%b]}',
        BASE + b',"system":"%b"}',
        BASE + b',"tools":%b',
        b'{"max_tokens":5,"messages":%b}',
        b'{"max_tokens":5,"messages":[{"role":"user","content":%b}]}',
    ],
)
def test_remembered_tools_count_only_where_they_belong(frame: bytes) -> None:
    tools = json.dumps(TOOLS).encode()
    known = BASE + b',"tools":' + tools + b"}"
    assert isinstance(outcome(known), Turn)
    assert cut_tools(known) is not None
    data = frame % tools
    assert outcome(data) == the_long_way(data)


# where a value may nest, and how deep that place lies
PLACES = {
    b'"metadata":%b': 1,
    b'"system":[{"type":"text","text":"a","citations":%b}]': 3,
    b'"system":[{"type":"text","text":"a","cache_control":%b}]': 3,
    b'"messages":[{"role":"user","content":"a","output_config":%b}]': 3,
    b'"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":%b}]}]': 5,
    b'"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":%b}]}]': 5,
    b'"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","x":%b}}]}]': 6,
    b'"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{"x":%b}}]}]}]': 8,
    b'"tools":[{"name":"f","input_schema":{"a":%b}}]': 4,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("levels", [MAX_DEPTH - 10, MAX_DEPTH, MAX_DEPTH + 1, 100_000])
@pytest.mark.parametrize("filler", [b"", b'"' + b"x" * 200 + b'",'])
def test_nesting_is_refused_alike(place: bytes, levels: int, filler: bytes) -> None:
    inside = levels - PLACES[place]
    value = b"[" + filler + b"[" * (inside - 1) + b"]" * inside
    data = b'{"max_tokens":5,"messages":[{"role":"user","content":"hi"}],%b}' % (place % value)
    found = outcome(data)
    assert found == the_long_way(data)
    assert (found == "the body nests deeper than 128 levels") is (levels > MAX_DEPTH)


@pytest.mark.parametrize("text", [b"\xff", b"\\ud800", b"\xed\xa0\x80", b"a\nb", b"\\x"])
@pytest.mark.parametrize("place", [*PLACES, b'"system":%b', b'"messages":[{"role":"user","content":%b}]'])
def test_texts_are_read_as_strictly(text: bytes, place: bytes) -> None:
    data = b'{"max_tokens":5,"messages":[{"role":"user","content":"hi"}],%b}' % (place % (b'"%b"' % text))
    assert outcome(data) == the_long_way(data)


def test_claude_code_takes_the_short_way() -> None:
    assert reading._usual_turn(claude_code(), needs_cap=True) is not None
