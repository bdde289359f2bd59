"""The control lane: health, readiness, models, decisions, metrics, dashboard (contract 2.9, 2.10, 2.13, 2.15)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from anvil.router import clients, models, readiness
from anvil.router.decisions import BadQuery, TooManyFollowers, parse_query
from anvil.router.door import POST_ROUTES, Head, Refusal
from anvil.router.exchange import Plain
from anvil.router.http_request import HttpRequest
from anvil.router.lanes import busy

if TYPE_CHECKING:
    from anvil.router.runtime import Runtime

ROUTES = sorted(POST_ROUTES)
PAGE_PARTS = {"style.css": "text/css", "page.js": "text/javascript"}
PAGE_HEADERS = [("content-security-policy", "default-src 'self'"), ("x-content-type-options", "nosniff")]


class Request(Struct):
    """A GET past the door. ``known``: it carries a valid token, or none is needed."""

    http: HttpRequest
    item: str
    known: bool

    @property
    def head(self) -> Head:
        return self.http.head

    @property
    def query(self) -> str:
        return self.http.query


def healthz(runtime: Runtime) -> Plain:
    """Liveness from memory; touches no tier and waits for nothing."""
    identity = runtime.identity
    return Plain(
        200,
        msgspec.json.encode(
            {
                "status": "draining" if runtime.draining else "ok",
                "dialects": ["anthropic", "openai"],
                "routes": ROUTES,
                "release": identity.release,
                "config_hash": identity.config_hash,
                "mode": identity.mode,
                "uptime_s": int(time.time() - runtime.started),
            }
        ),
    )


async def health(runtime: Runtime, request: Request) -> Plain:
    return healthz(runtime)


async def hello(runtime: Runtime, request: Request) -> Plain:
    """Claude Code's reachability probe (facts: ``HEAD /api/hello``)."""
    return Plain(200, b"{}")


async def readyz(runtime: Runtime, request: Request) -> Plain:
    probe = request.known and parse_qs(request.query).get("probe") == ["1"]
    return await readiness.report(runtime, full=request.known, probe=probe)


async def model_list(runtime: Runtime, request: Request) -> Plain:
    anthropic = request.head.get("anthropic-version") is not None
    return Plain(200, runtime.models_anthropic if anthropic else runtime.models_openai)


async def model(runtime: Runtime, request: Request) -> Plain:
    offer = models.find(runtime.offers, request.item)
    if offer is None:
        raise _unknown(f"no model {request.item[:200]}")
    row = models.anthropic_row if request.head.get("anthropic-version") is not None else models.openai_row
    return Plain(200, msgspec.json.encode(row(offer)))


async def decisions(runtime: Runtime, request: Request) -> Plain | None:
    try:
        query = parse_query(request.query, accept=request.head.get("accept") or "")
    except BadQuery as error:
        raise Refusal(400, "invalid_request", str(error), reason="json", generic=True) from None
    if query.follow:
        if request.http.method == "HEAD":
            return Plain(200, b"", content_type="text/event-stream")
        await _follow(runtime, request, query)
        return None
    runtime.settle()
    page = await runtime.recorder.query(query)
    if query.format == "jsonl":
        return Plain(200, page.jsonl(), content_type="application/jsonl")
    return Plain(200, page.json())


async def _follow(runtime: Runtime, request: Request, query: Any) -> None:
    if runtime.draining:
        raise busy(close=True)
    try:
        follower = runtime.recorder.follow(query, request.head.get("last-event-id"))
    except TooManyFollowers:
        raise Refusal(
            503, "server_busy", "too many followers", reason="busy", headers=[("retry-after", "1")], generic=True
        ) from None
    try:
        await request.http.start([])
        async for data in follower:
            await request.http.send(data)
    finally:
        follower.close()


async def decision(runtime: Runtime, request: Request) -> Plain:
    runtime.settle()
    record = await runtime.recorder.get(request.item)
    if record is None:
        raise _unknown(f"no decision {request.item[:64]}")
    return Plain(200, record)


async def metrics(runtime: Runtime, request: Request) -> Plain:
    runtime.settle()
    runtime.sync_reloads()
    content_type, body = await asyncio.to_thread(runtime.metrics.render, request.head.get("accept") or "")
    return Plain(200, body, content_type=content_type)


async def dashboard(runtime: Runtime, request: Request) -> Plain:
    """The page, or with ``?style.css`` and ``?page.js`` its parts: every open path but the health ones is ``/``."""
    if not runtime.config.server.dashboard:
        raise _unknown("no route /")
    name = request.query if request.query in PAGE_PARTS else "index.html"
    page = files("anvil.web").joinpath(name).read_bytes()
    return Plain(200, page, PAGE_HEADERS, f"{PAGE_PARTS.get(name, 'text/html')}; charset=utf-8")


async def harness_list(runtime: Runtime, request: Request) -> Plain:
    return Plain(200, msgspec.json.encode(clients.catalogue()))


async def harness_item(runtime: Runtime, request: Request) -> Plain:
    try:
        return clients.document(runtime, request.item, request.query, request.head, request.http.scheme)
    except clients.UnknownHarness:
        raise _unknown(f"no harness {request.item[:64]}") from None
    except clients.BadParameter as error:
        raise Refusal(400, "invalid_request", str(error), reason="json", generic=True) from None


def _unknown(message: str) -> Refusal:
    return Refusal(404, "not_found", message, reason="not_found", generic=True)


HANDLERS: dict[str, Callable[[Runtime, Request], Awaitable[Plain | None]]] = {
    "models": model_list,
    "model": model,
    "decisions": decisions,
    "decision": decision,
    "harness": harness_list,
    "harness_item": harness_item,
    "metrics": metrics,
    "health": health,
    "healthz": health,
    "readyz": readyz,
    "hello": hello,
    "dashboard": dashboard,
}
