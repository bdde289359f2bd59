"""A client's JSON or JSON5 document: tolerant reading, limits, and writing back (contract operations.md 12.2).

JSON5 needs the package json-five of the extra ``deploy``; it is imported only when a text is not plain JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from anvil.harness.refusal import Refusal, Unreadable

MAX_BYTES = 5 * 1024 * 1024
# The JSON5 reader needs about 15 microseconds a byte: beyond this it would look hung.
MAX_JSON5_BYTES = 1024 * 1024
MAX_DEPTH = 64
# Line separators may stand in JSON5 strings, but the reader takes them for the end of the line: noncharacters stand in.
_SEPARATORS, _STAND_INS = "\u2028\u2029", "\ufdd0\ufdd1"
_STRING_OR_COMMENT = re.compile(r"//[^\n\r]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", re.DOTALL)
KINDS = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}


class Json5Missing(Refusal):
    """The text needs the JSON5 reader, which is not installed."""


def parse(content: bytes) -> tuple[dict[str, Any], bool]:
    """The document and whether it is plain JSON (no comments or other JSON5); empty bytes are an empty document.

    Raises Unreadable with line and column, Json5Missing.
    """
    text = decoded(content)
    if not text.strip():
        return {}, True
    try:
        value, plain = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant), True
    except json.JSONDecodeError:
        value, plain = _json5(text), False
    except RecursionError:
        raise Unreadable(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise error if isinstance(error, Refusal) else Unreadable("a number has too many digits") from None
    if not isinstance(value, dict):
        raise Unreadable(f"top level is {KINDS[type(value)]}, an object is needed")
    _check(value, 1)
    return value, plain


def decoded(content: bytes) -> str:
    """UTF-8 text without a byte order mark. Raises Unreadable."""
    if len(content) > MAX_BYTES:
        raise Unreadable(f"{len(content)} bytes, more than {MAX_BYTES}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode("utf-8-sig", "replace"))
        raise Unreadable("not UTF-8", line, column) from None


def dumped(document: object) -> str:
    """Two-space indent, non-ASCII kept, trailing newline."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def same(left: object, right: object) -> bool:
    """Equal as JSON values: key order ignored, 1 equals 1.0 and never true."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def reader(module: str) -> ModuleType:
    """A module of json-five. Raises Json5Missing."""
    try:
        return import_module(f"json5.{module}")
    except ImportError:
        raise Json5Missing(
            "the file is JSON5 (comments or the like), and the reader is missing: pip install 'anvil-serving[deploy]'"
        ) from None


def _json5(text: str) -> Any:
    if len(text) > MAX_JSON5_BYTES:
        raise Unreadable(f"not plain JSON, and more than {MAX_JSON5_BYTES} characters; write it as plain JSON")
    parser, loader = reader("parser"), reader("loader").DefaultLoader(parse_constant=_no_constant)
    taken = shielded(text)
    scalar = loader.load if taken == text else lambda node: _restored(loader.load(node))
    try:
        return _value(parser.parse_source(taken).value, scalar)
    except Refusal:
        raise
    except RecursionError:
        raise Unreadable(f"nested deeper than {MAX_DEPTH}") from None
    except Exception as error:
        # On broken input its recovery may trip over itself: whatever it raises, the text cannot be read.
        raise Unreadable(_reason(error), *_place(error, text)) from None


def shielded(text: str) -> str:
    """The text as the reader can take it, every character at its place."""
    hidden = str.maketrans(_SEPARATORS, _STAND_INS)
    if not any(each in text for each in _SEPARATORS) or any(each in text for each in _STAND_INS):
        return text
    return _STRING_OR_COMMENT.sub(lambda found: found[0].translate(hidden) if found[0][0] in "\"'" else found[0], text)


def _restored(value: Any) -> Any:
    return value.translate(str.maketrans(_STAND_INS, _SEPARATORS)) if isinstance(value, str) else value


def _value(node: Any, scalar: Callable[[Any], Any]) -> Any:
    """The library's own loader keeps the last of two equal keys in silence, so objects are made here."""
    if hasattr(node, "key_value_pairs"):
        return _unique([(scalar(key), _value(value, scalar)) for key, value in node.key_value_pairs])
    if hasattr(node, "trailing_comma"):
        return [_value(item, scalar) for item in node.values]
    found = scalar(node)
    return _joined(found) if isinstance(found, str) else found


def _reason(error: Exception) -> str:
    found = re.search(
        r"(Illegal (?:character|line terminator)|multiple trailing commas|Octals|Unexpected EOF)", str(error)
    )
    expected = re.search(r"Was expecting ([A-Za-z ]+?)(?: in or near|\n|$)", str(error))
    parts = [found[1].lower() if found else "neither JSON nor JSON5"]
    return ", ".join(parts + ([f"expected {expected[1]}"] if expected else []))


def _place(error: Exception, text: str) -> tuple[int, int]:
    index = getattr(getattr(error, "token", None), "index", None)
    if index is None and (found := re.search(r"(?:at index |\(char )(\d+)", str(error))):
        index = int(found[1])
    return _position(text[:index]) if index is not None else (0, 0)


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = _joined(str(key))
        if name in found:
            raise Unreadable(f"key {name[:60]!r} stands twice in one object; delete one of the two")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise Unreadable(f"{name} is not allowed: JSON has no such number")


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Unreadable(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, float) and not math.isfinite(value):
        raise Unreadable("a number is too large")
    if isinstance(value, str) and re.search(r"[\ud800-\udfff]", value):
        raise Unreadable("a string holds half of a surrogate pair")
    for item in _children(value):
        _check(item, depth + isinstance(item, dict | list))


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _joined(text: str) -> str:
    """Surrogate pairs written as two escapes become one character, as JSON reads them; a lone half stays."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
