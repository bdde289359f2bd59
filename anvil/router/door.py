"""Facts of a request that need no body: path, framing, credentials (contract 2.2, 2.5, 2.6, 2.8). Pure functions."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

GENERATION = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "messages",
    "/v1/responses": "responses",
    "/v1/messages/count_tokens": "count_tokens",
}
POST_ROUTES = {**GENERATION, "/v1/route": "route"}
GET_ROUTES = {
    "/v1/models": "models",
    "/v1/decisions": "decisions",
    "/v1/harness": "harness",
    "/metrics": "metrics",
    "/healthz": "healthz",
    "/health": "health",
    "/readyz": "readyz",
    "/api/hello": "hello",
    "/": "dashboard",
}
ITEM_ROUTES = {"/v1/models/": "model", "/v1/decisions/": "decision", "/v1/harness/": "harness_item"}
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/"})

HEADER_LINE_CAP = 16_384
HEADERS_CAP = 65_536
CREDENTIAL_CAP = 4_096
# Decimal digits of a Content-Length that can still be a size on any machine.
LENGTH_DIGITS = 18

Envelope = Literal["openai", "anthropic"]


class Refusal(Exception):
    """The request ends here. ``reason`` is the label of anvil_refused_total."""

    def __init__(
        self,
        status: int,
        type: str,
        message: str,
        *,
        reason: str,
        close: bool = False,
        headers: Iterable[tuple[str, str]] = (),
        generic: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.message = message
        self.reason = reason
        self.close = close
        self.headers = list(headers)
        self.generic = generic


class Head(Struct):
    """Headers the router looks at; ``doubled`` names those that came more than once, ``arrived`` is a perf_counter."""

    values: dict[str, str]
    doubled: set[str]
    size_error: bool = False
    arrived: float = 0.0

    def get(self, name: str) -> str | None:
        return self.values.get(name)


def clean_path(path: str) -> str:
    """Cut the query, strip trailing slashes; nothing is decoded or collapsed."""
    path = path.split("?", 1)[0]
    return path.rstrip("/") or "/" if path.endswith("/") else path


def envelope(path: str) -> Envelope:
    return "anthropic" if path == "/v1/messages" or path.startswith("/v1/messages/") else "openai"


def admit(head: Head, version: str, tokens: tuple[bytes, ...]) -> None:
    """What is judged before the route; no ``tokens`` means open. Raises Refusal 431, 400 or 401."""
    if head.size_error:
        raise Refusal(431, "invalid_request", "headers too large", reason="framing", close=True)
    if version == "1.1" and "host" not in head.values:
        raise Refusal(400, "invalid_request", "Host header missing", reason="framing", close=True)
    if "host" in head.doubled:  # RFC 9112 3.2: two hops could mean two hosts
        raise Refusal(400, "invalid_request", "more than one Host header", reason="framing", close=True)
    if tokens and not authorised(head, tokens):
        raise Refusal(401, "authentication_error", "a valid token is needed", reason="auth", generic=True)


def authorised(head: Head, tokens: tuple[bytes, ...]) -> bool:
    """Any presented Bearer or x-api-key credential matches any token; compared in constant time, no early exit."""
    if "authorization" in head.doubled or "x-api-key" in head.doubled:
        return False
    presented = [c for c in (_bearer(head.values.get("authorization")), head.values.get("x-api-key")) if c]
    good = False
    for credential in presented:
        data = credential.encode("latin-1").strip()  # as it came; blanks of other encodings are part of a token
        if not data:
            continue
        if len(data) > CREDENTIAL_CAP:
            return False
        for token in tokens:
            good |= hmac.compare_digest(data, token)
    return good


def _bearer(value: str | None) -> str | None:
    if not value:
        return None
    scheme, _, rest = value.partition(" ")
    return rest if scheme.lower() == "bearer" else None


def find_route(method: str, path: str) -> tuple[str, str]:
    """(route name, item id) for a known path. Raises Refusal 404 or 405."""
    name = POST_ROUTES.get(path)
    if name is not None:
        if method == "POST":
            return name, ""
        raise _method_not_allowed(method, "POST")
    name = GET_ROUTES.get(path)
    item = ""
    if name is None:
        for prefix, item_route in ITEM_ROUTES.items():
            if path.startswith(prefix):
                name, item = item_route, path[len(prefix) :]
    if name is None:
        raise Refusal(404, "not_found", f"no route {path[:200]}", reason="not_found", generic=True)
    if method in ("GET", "HEAD"):
        return name, item
    raise _method_not_allowed(method, "GET, HEAD")


def _method_not_allowed(method: str, allow: str) -> Refusal:
    return Refusal(
        405,
        "method_not_allowed",
        f"{method[:20]} is not allowed here; use {allow}",
        reason="method",
        headers=[("allow", allow)],
    )


def content_length(head: Head, cap: int) -> int:
    """Declared body size of a POST, 0 when absent. Raises Refusal in the order of contract 2.8."""
    if "transfer-encoding" in head.values:
        if "content-length" in head.values:
            raise Refusal(400, "invalid_request", "Transfer-Encoding with Content-Length", reason="framing", close=True)
        raise Refusal(
            411, "invalid_request", "send a Content-Length, not Transfer-Encoding", reason="framing", close=True
        )
    if "content-length" in head.doubled:
        raise Refusal(400, "invalid_request", "more than one Content-Length", reason="framing", close=True)
    value = head.values.get("content-length")
    if value is None:
        return 0
    if not (value.isascii() and value.isdigit()):
        raise Refusal(400, "invalid_request", "Content-Length is not a number", reason="framing", close=True)
    if len(value.lstrip("0")) > LENGTH_DIGITS or int(value) > cap:
        raise Refusal(413, "payload_too_large", f"the body may have at most {cap} bytes", reason="size", close=True)
    return int(value)
