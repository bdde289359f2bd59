"""The parameters of GET /v1/decisions, read strictly, and the filter they make (contract 2.13)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from anvil.router.decisions.record import (
    ENDPOINTS,
    FAILURE_CLASSES,
    ID_PATTERN,
    OUTCOMES,
    WORK_CLASSES,
    Decision,
    timestamp,
)

MAX_LIMIT: Final = 1000
# more than any console asks for; keeps a hostile query string from building large sets
MAX_PARAMETERS: Final = 200
NO_CLASS: Final = "-"
LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


class BadQuery(ValueError):
    """The query string cannot be accepted: answer 400 with this text."""


class Query(Struct, frozen=True, kw_only=True):
    """``None`` and empty sets mean "any". ``since`` is inclusive, ``until`` exclusive, both in the form of ``ts``.

    ``work_class`` may hold "-" for records without a class. ``limit`` is None when the caller gave none.
    """

    limit: int | None = None
    before: str | None = None
    after: str | None = None
    since: str | None = None
    until: str | None = None
    tier: frozenset[str] = frozenset()
    work_class: frozenset[str] = frozenset()
    preset: frozenset[str] = frozenset()
    endpoint: frozenset[str] = frozenset()
    outcome: frozenset[str] = frozenset()
    failure_class: frozenset[str] = frozenset()
    status: frozenset[int] = frozenset()
    fell_back: bool | None = None
    committed: bool | None = None
    caller_model: str | None = None
    format: Literal["json", "jsonl"] = "json"
    follow: bool = False

    @property
    def page(self) -> int:
        return 100 if self.limit is None else self.limit

    @property
    def oldest_first(self) -> bool:
        return self.after is not None

    def predicate(self) -> Callable[[Decision], bool]:
        """The filter over everything but the cursors, with only the tests this query needs."""
        tests = _tests(self)
        if not tests:
            return lambda record: True
        return lambda record: all(test(record) for test in tests)

    def in_window(self, decision_id: str) -> bool:
        """Whether the cursors let this id through."""
        return (self.before is None or decision_id < self.before) and (self.after is None or decision_id > self.after)


def _tests(query: Query) -> list[Callable[[Decision], bool]]:
    q = query
    candidates: list[tuple[bool, Callable[[Decision], bool]]] = [
        (q.since is not None, lambda r: r.ts >= (q.since or "")),
        (q.until is not None, lambda r: r.ts < (q.until or "")),
        (bool(q.tier), lambda r: r.served_tier in q.tier),
        (bool(q.work_class), lambda r: (r.work_class or NO_CLASS) in q.work_class),
        (bool(q.preset), lambda r: r.intent is not None and r.intent.preset in q.preset),
        (bool(q.endpoint), lambda r: r.endpoint in q.endpoint),
        (bool(q.outcome), lambda r: r.outcome in q.outcome),
        (bool(q.failure_class), lambda r: any(a.failure_class in q.failure_class for a in r.attempts)),
        (bool(q.status), lambda r: r.status in q.status),
        (q.fell_back is not None, lambda r: r.fell_back == q.fell_back),
        (q.committed is not None, lambda r: r.committed == q.committed),
        (q.caller_model is not None, lambda r: r.caller_model == q.caller_model),
    ]
    return [test for wanted, test in candidates if wanted]


# ------------------------------------------------------------------------------------------------ parsing


def parse(query_string: str, *, accept: str = "") -> Query:
    """A Query from a URL's query string (without ``?``) and the Accept header.

    Raises BadQuery, whose text names the parameter and what it may be.
    """
    values: dict[str, object] = {}
    for name, text in _pairs(query_string):
        if name in _SETS:
            known = values.setdefault(name, set())
            assert isinstance(known, set)
            known.add(_SETS[name](name, text))
        elif name in _SINGLES:
            if name in values:
                raise BadQuery(f"{name} may be given once")
            values[name] = _SINGLES[name](name, text)
        else:
            raise BadQuery(f"unknown parameter {name[:64]!r}, known are: {', '.join(sorted([*_SETS, *_SINGLES]))}")
    if "text/event-stream" in accept.lower():
        values.setdefault("follow", True)
    query = msgspec.convert(values, Query)
    _refuse_unfollowable(query)
    return query


def _pairs(query_string: str) -> list[tuple[str, str]]:
    if not query_string:
        return []
    try:
        return parse_qsl(
            query_string,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        raise BadQuery(
            f"the query string must be at most {MAX_PARAMETERS} name=value pairs, percent-encoded UTF-8"
        ) from None


def _refuse_unfollowable(query: Query) -> None:
    if not query.follow:
        return
    if query.before is not None or query.until is not None:
        raise BadQuery("before and until do not go with follow")
    if query.format != "json":
        raise BadQuery("format does not go with follow")


def _limit(name: str, text: str) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
    if not 1 <= number <= MAX_LIMIT:
        raise BadQuery(f"{name} must be a whole number from 1 to {MAX_LIMIT}")
    return number


def _status(name: str, text: str) -> int:
    if not re.fullmatch(r"[1-5][0-9]{2}", text):
        raise BadQuery(f"{name} must be an HTTP status")
    return int(text)


def _cursor(name: str, text: str) -> str:
    if not ID_PATTERN.fullmatch(text):
        raise BadQuery(f"{name} must be a decision id, dec_ and 24 hexadecimal digits")
    return text


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadQuery(f"{name} must be true or false")
    return text == "true"


def _follow(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise BadQuery(f"{name} must be 1 or 0")
    return text == "1"


def _text(name: str, text: str) -> str:
    if not 0 < len(text) <= 256:
        raise BadQuery(f"{name} must have 1 to 256 characters")
    return text


def _format(name: str, text: str) -> str:
    if text not in ("json", "jsonl"):
        raise BadQuery(f"{name} must be json or jsonl")
    return text


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+ -]\d\d:\d\d)")


def _moment(name: str, text: str) -> str:
    seconds = _unix_seconds(text)
    if seconds is None or not 0 <= seconds < LATEST:
        raise BadQuery(f"{name} must be an RFC 3339 time with offset, or unix seconds")
    return timestamp(seconds)


def _unix_seconds(text: str) -> float | None:
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        return float(text)
    if not _RFC_3339.fullmatch(text):
        return None
    # a "+" that was not percent-encoded arrives as a space
    spelled = text[:11] + text[11:].replace(" ", "+")
    try:
        seconds = datetime.fromisoformat(spelled.upper()).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def _one_of(*vocabularies: frozenset[str]) -> Callable[[str, str], str]:
    known = frozenset().union(*vocabularies)

    def read(name: str, text: str) -> str:
        if text not in known:
            raise BadQuery(f"{name} must be one of: {', '.join(sorted(known))}")
        return text

    return read


_SETS: dict[str, Callable[[str, str], object]] = {
    "tier": _text,
    "work_class": _one_of(WORK_CLASSES, frozenset({NO_CLASS})),
    "preset": _text,
    "endpoint": _one_of(ENDPOINTS),
    "outcome": _one_of(OUTCOMES),
    "failure_class": _one_of(FAILURE_CLASSES),
    "status": _status,
}
_SINGLES: dict[str, Callable[[str, str], object]] = {
    "limit": _limit,
    "before": _cursor,
    "after": _cursor,
    "since": _moment,
    "until": _moment,
    "fell_back": _flag,
    "committed": _flag,
    "caller_model": _text,
    "format": _format,
    "follow": _follow,
}
