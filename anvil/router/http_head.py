"""A request's head, read strictly: what two servers could read differently is refused (RFC 9112; contract 2.2, 2.5)."""

from __future__ import annotations

import re
import time

from msgspec import Struct

from anvil.router.door import HEADER_LINE_CAP, HEADERS_CAP, LENGTH_DIGITS, Head

HEADER_COUNT_CAP = 100
# Names seen before need no second look; callers can invent names, so the table is bounded.
_NAMES_CAP = 512

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[\x21-\x7e\x80-\xff]+")
# Everything but visible text, space and tab.
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_names: dict[str, str] = {}


class BadHead(Exception):
    """The head cannot be trusted: answer ``status`` and close."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestHead(Struct):
    """``length``: bytes of the body, None when the framing cannot be trusted (the door will say so)."""

    method: str
    target: str
    query: str
    version: str
    head: Head
    keep_alive: bool
    length: int | None


def parse(block: bytes) -> RequestHead:
    """Read ``block``, everything before the empty line. Raises BadHead 400 or 431."""
    lines = block.decode("latin-1").split("\r\n")
    method, target, version = _request_line(lines[0])
    values: dict[str, str] = {}
    doubled: set[str] = set()
    if len(lines) > HEADER_COUNT_CAP + 1:
        raise BadHead(431, "too many headers")
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = _names.get(name) or _name(name)
        if not colon:
            raise BadHead(400, "a header line without a colon")
        value = value.strip(" \t")
        if not value.isprintable() and _BAD_VALUE.search(value):
            raise BadHead(400, "a header value with control characters")
        if known in values:
            doubled.add(known)
            if known == "connection":  # a list: every line of it counts
                values[known] += f",{value}"
        else:
            values[known] = value
    large = len(block) > HEADER_LINE_CAP and (len(block) > HEADERS_CAP or max(map(len, lines)) > HEADER_LINE_CAP)
    path, _, query = target.partition("?")
    head = Head(values, doubled, large, time.perf_counter())
    return RequestHead(method, path, query, version, head, _keep_alive(values, version), _length(values, doubled))


def _request_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
        raise BadHead(400, "malformed request line")
    method, target, protocol = parts
    if protocol not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadHead(400, "this server speaks HTTP/1.0 and HTTP/1.1")
    if not target.startswith("/") and target.lower().startswith(("http://", "https://")):
        target = "/" + target.split("://", 1)[1].partition("/")[2]  # the absolute form proxies are sent
    return method, target, protocol[5:]


def _name(name: str) -> str:
    """Lower case of a header name not met before; a folded line or a space before the colon ends here too."""
    if not _TOKEN.fullmatch(name):
        raise BadHead(400, "malformed header name")
    known = name.lower()
    if len(_names) < _NAMES_CAP:
        _names[name] = known
    return known


def _keep_alive(values: dict[str, str], version: str) -> bool:
    wish = values.get("connection")
    if wish is None:
        return version == "1.1"
    words = {word.strip() for word in wish.lower().split(",")}
    return "close" not in words and (version == "1.1" or "keep-alive" in words)


def _length(values: dict[str, str], doubled: set[str]) -> int | None:
    if "transfer-encoding" in values or "content-length" in doubled:
        return None
    value = values.get("content-length")
    if value is None:
        return 0
    if not (value.isascii() and value.isdigit()) or len(value.lstrip("0")) > LENGTH_DIGITS:
        return None
    return int(value)
