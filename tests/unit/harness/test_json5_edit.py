"""Comments and formatting survive a change (example E6 of contract operations.md 12.4)."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.harness import openclaw
from anvil.harness.json5_document import dumped, parse, same
from anvil.harness.json5_edit import CommentsLost, written
from anvil.harness.openclaw_merge import merge
from tests.unit.harness.samples import FIVE

OPERATORS = b"""// mine
{
  gateway: {port: 18789}, // keep
  models: {
    providers: {
      anvil: {
        baseUrl: 'http://a/v1', // where it is
        models: [
          {id: 'chat', contextWindow: 4}, // small
        ]
      },
    }
  },
  agents: {defaults: {models: {'anvil/gone': {}, 'anvil/chat': {params: {}}}}}
}
"""


def test_e6_a_change_keeps_every_comment() -> None:
    current, plain = parse(OPERATORS)
    assert not plain
    wanted, _ = merge(current, openclaw.document(FIVE))
    text = written(OPERATORS, wanted)
    assert same(parse(text.encode())[0], wanted)
    for kept in ("// mine", "gateway: {port: 18789}, // keep", "baseUrl: 'http://a/v1', // where it is", "}, // small"):
        assert kept in text
    assert '"anvil/planning": {}' in text
    assert "anvil/gone" not in text
    assert same(merge(parse(text.encode())[0], openclaw.document(FIVE))[0], wanted)


@pytest.mark.parametrize(
    ("old", "wanted", "new"),
    [
        ("{a: 1}", {"a": 2}, "{a: 2}"),
        ("{}//c", {"a": 1}, '{"a": 1}//c'),
        ("{a: 1} //c", {"a": 1, "b": [2]}, '{a: 1, "b": [2]} //c'),
        ("{a: 1,} //c", {"a": 1, "b": 2}, '{a: 1, "b": 2} //c'),
        ("{a: 1, b: 2} //c", {"b": 2}, "{b: 2} //c"),
        ("{a: 1, b: 2} //c", {"a": 1}, "{a: 1,} //c"),
        ("{a: 1, b: 2} //c", {"a": 1, "d": 3}, '{a: 1, "d": 3} //c'),
        ("{\n  a: 1 // one\n}", {"a": 1, "b": 2}, '{\n  a: 1, // one\n  "b": 2\n}'),
        ("{\n  // none\n}", {"b": {"c": 2}}, '{\n  // none\n  "b": {\n    "c": 2\n  }\n}'),
        ("{\n  a: 1,\n  b: 2, // two\n  c: 3\n}", {"a": 1, "b": 2}, "{\n  a: 1,\n  b: 2, // two\n}"),
        ("{a: [1, 2 /* two */]}", {"a": [1, 2, 3]}, "{a: [1, 2, /* two */ 3]}"),
        ("{a: {b: 1, c: 2}} //c", {"a": 1}, "{a: 1} //c"),
    ],
)
def test_edits_are_small(old: str, wanted: Any, new: str) -> None:
    text = written(old.encode(), wanted)
    assert same(parse(text.encode())[0], wanted)
    assert text == new


@pytest.mark.parametrize(
    ("old", "wanted", "line"),
    [
        ("{\n  a: {b: 1, /* why */ c: 2}\n}", {"a": {"c": 2}}, None),
        ("{\n  a: {\n    b: 1 // gone with it\n  }\n}", {"a": 3}, 3),
        ("{\n  a: [ /* first */ {id: 1}, {id: 2}]\n}", {"a": [{"id": 2}]}, 2),
        ("{a: 1, // same\n b: [ // same\n]}", {"a": 1}, 2),
    ],
)
def test_a_comment_that_cannot_stay_is_named_by_its_line(old: str, wanted: Any, line: int | None) -> None:
    if line is None:
        assert "/* why */" in written(old.encode(), wanted)
        return
    with pytest.raises(CommentsLost) as problem:
        written(old.encode(), wanted)
    assert problem.value.line == line
    assert written(old.encode(), wanted, rewrite=True) == dumped(wanted)


def test_json5_without_comments_may_always_become_plain() -> None:
    assert written(b"{a: ['x', 'y']}", {"a": ["y"]}) == '{a: ["y"]}'


def test_plain_json_is_written_plainly() -> None:
    assert written(b'\xef\xbb\xbf{"a": 1}', {"a": 2}) == '{\n  "a": 2\n}\n'


@pytest.mark.parametrize("text", [OPERATORS, dumped(parse(OPERATORS)[0]).encode()], ids=["json5", "json"])
def test_the_line_ends_of_windows_stay(text: bytes) -> None:
    original = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")
    wanted, _ = merge(parse(original)[0], openclaw.document(FIVE))
    new = written(original, wanted)
    assert same(parse(new.encode())[0], wanted)
    assert new.count("\r\n") == new.count("\n") > original.count(b"\n")


KEYS = st.sampled_from(["a", "b", "c d", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x'\"", "a\nb", "//no", "/*no*/", "😀"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
SPACE = st.sampled_from(["", " ", "\n", "/*c*/", " // line\n", "\r\n\t"])


@st.composite
def json5(draw: st.DrawFn, value: Any) -> str:
    """The value in one of its many spellings."""

    def space() -> str:
        return draw(SPACE)

    if not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    if isinstance(value, dict):
        names = [key if key == "a" and draw(st.booleans()) else json.dumps(key) for key in value]
        items = [
            f"{name}{space()}:{space()}{draw(json5(item))}" for name, item in zip(names, value.values(), strict=True)
        ]
        opening, closing = "{}"
    else:
        items = [draw(json5(item)) for item in value]
        opening, closing = "[]"
    inside = ",".join(f"{space()}{item}{space()}" for item in items)
    trailing = "," + space() if items and draw(st.booleans()) else space()
    return opening + inside + trailing + closing


@settings(max_examples=200, deadline=None)
@given(st.data(), st.dictionaries(KEYS, VALUES, max_size=3), st.dictionaries(KEYS, VALUES, max_size=3))
def test_whatever_is_written_holds_what_was_wanted(data: st.DataObject, current: Any, other: Any) -> None:
    text = "// top\n" + data.draw(json5(current))
    wanted = copy.deepcopy(current) | other
    for key in data.draw(st.sets(st.sampled_from(sorted(wanted)), max_size=1)) if wanted else ():
        del wanted[key]
    comments = text.count("c*/") + text.count("// line")
    try:
        new = written(text.encode(), wanted)
    except CommentsLost:
        assert comments
        new = written(text.encode(), wanted, rewrite=True)
        assert new == dumped(wanted)
    else:
        assert new.startswith("// top\n")
        assert new.count("c*/") + new.count("// line") >= comments
    assert same(parse(new.encode())[0], wanted)
