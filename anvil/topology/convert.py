"""Plain data -> structs, every problem of every key in one pass, each named `table.key: sentence`.

msgspec stops at the first error and elides dictionary keys in its paths; here each struct field is converted by itself.
"""

from __future__ import annotations

import difflib
import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from anvil.topology.model import ELSEWHERE, SHAPES, CloudTier, LocalTier, Serve, ServeTier, Tier

_ENGINES: dict[str, type[Struct]] = {str(form.__struct_config__.tag): form for form in get_args(Serve)}
_TIERS = (ServeTier, LocalTier, CloudTier)
# msgspec prints a pattern's repr.
_SHAPES = {repr(form.__metadata__[0].pattern)[1:-1]: words for form, words in SHAPES.items()}
_REGEX = re.compile(r"expected str matching regex '(.*)'$")
_SHORT_WORD = re.compile(r"[A-Za-z0-9._/-]{1,40}")
_AT = re.compile(r" - at `(?:key` in `)?\$?([^`]*)`$")


class _Invalid:
    """Stands for a value whose problems are already noted."""


INVALID = _Invalid()


def convert(raw: Any, target: Any, where: str, problems: list[str]) -> Any:
    """The value as ``target``, or INVALID after appending `where: sentence` lines to ``problems``."""
    if target in (Serve, Tier):
        return _tagged(raw, target, where, problems)
    struct = _struct_of(target)
    if struct is not None:
        return _struct(raw, struct, where, problems)
    if get_origin(target) is dict and get_args(target)[1] is not Any:
        return _entries(raw, target, where, problems)
    try:
        return msgspec.convert(raw, target)
    except msgspec.ValidationError as error:
        problems.append(_line(where, raw, target, str(error)))
        return INVALID


def _belongs(struct: type[Struct], key: str) -> str:
    """Where a key is at home that people like to write into this table, or ""."""
    return next((f"; {words}" for keys, words in ELSEWHERE.get(struct, {}).items() if key in keys), "")


def nearest(word: str, known: Any) -> str:
    """` (did you mean "x"?)`, or the known words when none is close."""
    words = sorted(str(each) for each in known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(words)}" if words else ""


def _struct_of(target: Any) -> type[Struct] | None:
    options = get_args(target) if get_origin(target) in (Union, UnionType) else (target,)
    found = [each for each in options if isinstance(each, type) and issubclass(each, Struct)]
    return found[0] if len(found) == 1 else None


def _struct(raw: Any, struct: type[Struct], where: str, problems: list[str]) -> Any:
    if not isinstance(raw, dict):
        problems.append(f"{where}: expected a table, got {_kind(raw)}")
        return INVALID
    before = len(problems)
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    unknown = [key for key in raw if key not in fields]
    problems += [f"{_join(where, key)}: unknown key{_belongs(struct, key) or nearest(key, fields)}" for key in unknown]
    missing = [name for name, field in fields.items() if field.required and name not in raw]
    problems += [f"{_join(where, name)}: required key is missing" for name in missing]
    values = {
        name: convert(raw[name], field.type, _join(where, name), problems)
        for name, field in fields.items()
        if name in raw
    }
    return struct(**values) if len(problems) == before else INVALID


def _entries(raw: Any, target: Any, where: str, problems: list[str]) -> Any:
    key_type, value_type = get_args(target)
    if not isinstance(raw, dict):
        of_tables = value_type in (Serve, Tier) or _struct_of(value_type) is not None
        problems.append(f"{where}: expected a table{' of tables' if of_tables else ''}, got {_kind(raw)}")
        return INVALID
    made = {}
    for key, value in raw.items():
        name = convert(key, key_type, where, problems)
        made[name] = convert(value, value_type, _join(where, key), problems)
    return made


def _tagged(raw: Any, target: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(raw, dict):
        problems.append(f"{where}: expected a table, got {_kind(raw)}")
        return INVALID
    if target == Tier:
        return _tier(raw, where, problems)
    engine = raw.get("engine")
    if not isinstance(engine, str) or engine not in _ENGINES:
        said = "required key is missing" if engine is None else f"{engine!r} is no engine"
        problems.append(f"{where}.engine: {said}; known: {', '.join(_ENGINES)}")
        return INVALID
    return _struct({key: value for key, value in raw.items() if key != "engine"}, _ENGINES[engine], where, problems)


def _tier(raw: dict[str, Any], where: str, problems: list[str]) -> Any:
    """`serve`, `cloud = true` or neither decides the form; keys of two forms at once are refused by the form's own
    keys."""
    form: type[Struct] = ServeTier if "serve" in raw else CloudTier if raw.get("cloud") else LocalTier
    if form is LocalTier and not {"base_url", "model"} & raw.keys():
        problems.append(
            f'{where}: a tier needs `serve = "NAME"`, or base_url and model, or cloud = true, base_url and model'
        )
        return INVALID
    rest = (
        raw if form is CloudTier else {key: value for key, value in raw.items() if key != "cloud" or value is not False}
    )
    return _struct(rest, form, where, problems)


def _line(where: str, raw: Any, target: Any, message: str) -> str:
    inner = _AT.search(message)
    if inner:
        message, where = message[: inner.start()], where + (inner[1] or "")
    text = message[0].lower() + message[1:].replace("`", "")
    text = text.replace("str of length >= 1", "text that is not empty").replace(
        "of length >= 1", "with at least one entry"
    )
    regex = _REGEX.match(text)
    if regex:
        text = f"expected {_SHAPES.get(regex[1], f'text matching {regex[1]}')}"
    if text.startswith("invalid enum value"):
        text = f"expected one of {', '.join(repr(word) for word in _words(target))}"
    if isinstance(raw, (str, int, float)) and "got" not in text and "never its value" not in text:
        text = f"{text}, got {raw!r}"
    return f"{where}: {text}{_rewritten(raw, text) if text.startswith('expected') else ''}"


def _rewritten(raw: Any, text: str) -> str:
    """How a value of the wrong kind is written, where that can be told: `; write 9001 without quotes`."""
    wanted = text.removeprefix("expected ").split(", got ")[0]
    if isinstance(raw, str) and wanted.startswith(("int", "float", "bool")):
        plain = re.fullmatch(r"true|false" if wanted.startswith("bool") else r"\d+(\.\d+)?", raw.strip())
        return f"; write {plain[0]} without quotes" if plain else ""
    if wanted.startswith("str") and type(raw) in (int, float):
        return f'; write "{raw}" in quotes'
    if wanted.startswith("array") and isinstance(raw, str) and _SHORT_WORD.fullmatch(raw):
        return f'; write ["{raw}"]'
    return ""


def _words(target: Any) -> list[str]:
    if get_origin(target) is Literal:
        return [str(each) for each in get_args(target)]
    return [word for inner in get_args(target) for word in _words(inner)]


def _kind(raw: Any) -> str:
    return {bool: "a bool", str: "a string", int: "a number", float: "a number", list: "a list", dict: "a table"}.get(
        type(raw), type(raw).__name__
    )


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
