"""The multiplexer's door: the router's limits and checks, its own four relays, the model list and its health."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from anvil.multiplexer import answers
from anvil.router import door
from anvil.router.door import Head, Refusal
from anvil.router.exchange import CallerGone, Plain
from anvil.router.lanes import POOLED, Lane, Pool, busy

if TYPE_CHECKING:
    from anvil.multiplexer.card import Log
    from anvil.multiplexer.relay import Relay
    from anvil.multiplexer.residency import Residency
    from anvil.router.config import ServerConfig
    from anvil.router.http_request import HttpRequest

RELAYED = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"})
READ = frozenset({"/v1/models", "/healthz"})
# All bodies above POOLED together, as in the router.
POOL_BYTES = 536_870_912


class Asked(Struct):
    """All that the multiplexer reads of a body."""

    model: str


class App:
    """``tokens``: empty means open to whoever reaches it, which config allows on loopback alone."""

    def __init__(
        self, limits: ServerConfig, tokens: tuple[bytes, ...], residency: Residency, relay: Relay, log: Log
    ) -> None:
        self._limits = limits
        self._tokens = tokens
        self._residency = residency
        self._relay = relay
        self._log = log
        self._lane = Lane("serve", limits.max_concurrency)
        self._pool = Pool(POOL_BYTES)
        self._created = int(time.time())

    async def serve(self, request: HttpRequest) -> None:
        """Answer one request; whatever happens, its connection learns that it is over."""
        try:
            await self._answer(request)
        except asyncio.CancelledError:
            if not request.gone:
                raise
        except CallerGone:
            return
        finally:
            request.end()

    async def _answer(self, request: HttpRequest) -> None:
        path = door.clean_path(request.target)
        try:
            self._admit(request, path)
            plain = await self._post(request, path) if path in RELAYED else self._get(path)
            if plain is not None:
                request.respond(plain, head_only=request.method == "HEAD")
        except Refusal as refusal:
            await self._refuse(request, refusal)
        except CallerGone:
            raise
        except Exception as error:  # the last resort: told, never a traceback or a dropped connection
            self._log.exception("internal error", error)
            if not request.answered:
                request.respond(answers.error(500, "internal_error", "the multiplexer failed on this request"))

    def _admit(self, request: HttpRequest, path: str) -> None:
        door.admit(request.head, request.version, () if path == "/healthz" else self._tokens)
        if path not in RELAYED and path not in READ:
            raise Refusal(404, "not_found", f"no route {path[:200]}", reason="not_found")
        allowed = ("POST",) if path in RELAYED else ("GET", "HEAD")
        if request.method not in allowed:
            allow = [("allow", ", ".join(allowed))]
            raise Refusal(405, "method_not_allowed", f"use {allowed[0]} here", reason="method", headers=allow)

    def _get(self, path: str) -> Plain:
        if path == "/healthz":
            return answers.healthz(self._residency)
        return answers.models(self._residency, self._created)

    async def _post(self, request: HttpRequest, path: str) -> Plain | None:
        length = _length(request.head, self._limits.max_body_bytes)
        if self._residency.closed:
            raise busy(close=True)
        self._lane.enter()
        try:
            if length <= POOLED:
                return await self._relayed(request, path)
            with self._pool.reserve(length):
                return await self._relayed(request, path)
        finally:
            self._lane.leave()

    async def _relayed(self, request: HttpRequest, path: str) -> Plain | None:
        data = await request.body()
        return await self._relay.serve(_model(data), path, request.head, data, request)

    async def _refuse(self, request: HttpRequest, refusal: Refusal) -> None:
        close = refusal.close or not await request.drained()
        plain = answers.error(refusal.status, refusal.type, refusal.message)
        plain.headers = [*refusal.headers, ("connection", "close")] if close else refusal.headers
        request.respond(plain, head_only=request.method == "HEAD")


def _length(head: Head, cap: int) -> int:
    """Raises Refusal; a body without a declared length is a 400 here (lab.md 11)."""
    try:
        return door.content_length(head, cap)
    except Refusal as refusal:
        if refusal.status == 411:
            refusal.status = 400
        raise


def _model(data: bytes) -> str:
    """Raises Refusal 400."""
    try:
        return msgspec.json.decode(data, type=Asked).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"the body must be a JSON object that names a model: {error}"
        raise Refusal(400, "invalid_request", message, reason="json") from None
