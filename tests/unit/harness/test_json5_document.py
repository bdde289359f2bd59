"""Reading what people and OpenClaw write, and refusing what cannot be understood."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.harness import json5_document
from anvil.harness.json5_document import MAX_BYTES, Json5Missing, dumped, parse, same
from anvil.harness.refusal import Unreadable


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("// c\n{a: 1}", {"a": 1}),
        ("{/* c */ 'a b': 'it\\'s', \"d\": [1, 2,],}", {"a b": "it's", "d": [1, 2]}),
        (
            "{h: 0xFF, p: +1, m: -2.5, l: .5, t: 5., e: 1e3}",
            {"h": 255, "p": 1, "m": -2.5, "l": 0.5, "t": 5.0, "e": 1000.0},
        ),
        ("{s: 'one \\\ntwo'}", {"s": "one two"}),
        ("{s: '\\ud83d\\ude00', ä: '//no'}", {"s": "😀", "ä": "//no"}),
    ],
)
def test_json5_is_read(text: str, value: Any) -> None:
    assert parse(text.encode()) == (value, False)


@pytest.mark.parametrize("content", [b"", b" \n\t", b"\xef\xbb\xbf", b"{}", b"\xef\xbb\xbf{}"])
def test_nothing_is_an_empty_plain_document(content: bytes) -> None:
    assert parse(content) == ({}, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "top level is an array"),
        (b'"x"', "top level is a string"),
        (b"null", "top level is null"),
        (b"// c\n[1]", "top level is an array"),
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b"{a:{b:1,'b':2}}", "'b' stands twice"),
        (b"{\\u0061:1, a:2}", "'a' stands twice"),
        (b'{"a":NaN}', "NaN is not allowed"),
        (b"{a:-Infinity}", "Infinity is not allowed"),
        (b'{"a":1e999}', "too large"),
        (b"{a:1e999}", "too large"),
        (b'{"a":' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\xff"}', "line 1 column 7: not UTF-8"),
        (b'{"a":\n  [1, 2', "line 2 column"),
        (b'{"apiKey":"literal-secret" x}', "line 1 column 28"),
        (b"{a: 1}}", "line 1 column 7"),
        (b"{a: 1} /* open", "line 1 column 8: illegal character"),
        (b"{a:1 ;}", "illegal character"),
        (b"{a:01}", "octals"),
        (b"{a:undefined}", "expected value"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper"),
        (b"{a:" * 70 + b"1" + b"}" * 70, "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b" " * (MAX_BYTES + 1), "more than"),
        (b"//" + b" " * json5_document.MAX_JSON5_BYTES, "write it as plain JSON"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(content: bytes, said: str) -> None:
    with pytest.raises(Unreadable) as problem:
        parse(content)
    assert said in str(problem.value)
    assert "literal-secret" not in str(problem.value)


def test_depth_64_is_the_last_allowed() -> None:
    assert parse(b'{"a":' * 64 + b"1" + b"}" * 64)[1]
    with pytest.raises(Unreadable):
        parse(b'{"a":' * 65 + b"1" + b"}" * 65)


def test_five_mebibytes_of_plain_json_are_read() -> None:
    head, tail = b'{"a":"', b'"}'
    content = head + b"x" * (MAX_BYTES - len(head) - len(tail)) + tail
    assert len(parse(content)[0]["a"]) > 5_000_000


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="{}[]:,'\"\\/*\n ax01.+-eu;\ud83d", max_size=12) | st.text(max_size=8))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        value, _ = parse(text.encode("utf-8", "surrogatepass"))
    except Unreadable:
        return
    assert isinstance(value, dict)
    json.loads(dumped(value))


def test_without_the_reader_plain_json_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(json5_document, "import_module", missing)
    assert parse(b'{"a": 1}') == ({"a": 1}, True)
    with pytest.raises(Json5Missing, match=r"anvil-serving\[deploy\]"):
        parse(b"{a: 1}")


def test_importing_the_room_needs_only_msgspec() -> None:
    program = (
        "import sys, anvil.harness, anvil.harness.joining\n"
        "top = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in top - {'typing_extensions'} if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, env=_paths())
    assert done.stdout.strip() == "['anvil', 'msgspec']", done.stderr


def _paths() -> dict[str, str]:
    """Without site, so that nothing is imported by a .pth file."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": True}, {"a": 1}, False),
        ([1, 2], [2, 1], False),
        ([True], [1], False),
        (None, False, False),
        ({"a": None}, {}, False),
        ([{"a": 0}], [{"a": False}], False),
    ],
)
def test_sameness_is_that_of_json(left: Any, right: Any, equal: bool) -> None:
    assert same(left, right) is equal


def test_text_is_two_space_json_with_its_letters() -> None:
    assert dumped({"n": "Anvil · Ü", "l": [1]}) == '{\n  "n": "Anvil · Ü",\n  "l": [\n    1\n  ]\n}\n'


def test_line_separators_in_strings_are_what_they_are() -> None:
    text = "{'a\u2028b': 'x\u2029', c: \"it's\u2028\", /* '\u2028 */ d: '\\u2028', e: 1,}"
    assert parse(text.encode()) == ({"a\u2028b": "x\u2029", "c": "it's\u2028", "d": "\u2028", "e": 1}, False)
    both = "{a: '\ufdd0', b: '\u2028'}"  # no stand-in is left: told, never mixed up
    with pytest.raises(Unreadable):
        parse(both.encode())
    assert parse("{a: '\ufdd0'}".encode())[0] == {"a": "\ufdd0"}
