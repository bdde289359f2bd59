"""The door: a caller's request becomes a route, a lane and an answer; the last resort for defects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from anvil.router import control, dialects, door, generate
from anvil.router.door import Refusal
from anvil.router.exchange import CallerGone, Plain
from anvil.router.lanes import POOLED, busy
from anvil.router.runtime import Runtime

if TYPE_CHECKING:
    from anvil.router.http_request import HttpRequest
    from anvil.router.loading import Loaded
    from anvil.router.server import Listen, Shared


class App:
    """One worker."""

    def __init__(self, loaded: Loaded, shared: Shared, listen: Listen) -> None:
        self.runtime = Runtime(loaded, shared, listen)
        self._tokens = loaded.tokens
        self._server = loaded.config.server
        self._open = door.OPEN_PATHS | ({"/metrics"} if self._server.open_metrics else set())

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.runtime.start(loop)

    def close(self) -> None:
        self.runtime.close()

    async def serve(self, request: HttpRequest) -> None:
        """Answer one request; whatever happens, its connection learns that it is over."""
        try:
            await self._answer(request)
        except asyncio.CancelledError:
            if not request.gone:
                raise
        finally:
            request.end()

    async def _answer(self, request: HttpRequest) -> None:
        method = request.method
        path = door.clean_path(request.target)
        dialect = "openai"
        try:
            dialect = self._admit(request, path)
            name, item = door.find_route(method, path)
            if method == "POST":
                plain = await self._post(request, name)
            else:
                plain = await self._get(request, name, item)
            if plain is not None:
                request.respond(plain, head_only=method == "HEAD")
        except Refusal as refusal:
            await self._refuse(request, refusal, dialect)
        except CallerGone:
            self.runtime.caller_gone("body")
        except Exception as error:  # the last resort: a defect is told, never a dropped connection
            self.runtime.defect(error)
            if not request.answered:
                request.respond(_internal_error(dialect))

    # -- checks before the body
    def _admit(self, request: HttpRequest, path: str) -> str:
        door.admit(request.head, request.version, () if path in self._open else self._tokens)
        return door.envelope(path)

    async def _post(self, request: HttpRequest, name: str) -> Plain | None:
        length = door.content_length(request.head, self._server.max_body_bytes)
        runtime = self.runtime
        if runtime.draining:
            raise busy(close=True)
        if runtime.clients.limit:
            runtime.clients.enter(request.client)
        try:
            lane = runtime.control_lane if name == "route" else runtime.serve_lane
            lane.enter()
            try:
                data = await self._body(request, length)
                return await generate.HANDLERS[name](runtime, request, request.head, data)
            finally:
                lane.leave()
        finally:
            if runtime.clients.limit:
                runtime.clients.leave(request.client)

    async def _body(self, request: HttpRequest, length: int) -> bytes:
        try:
            if length <= POOLED:
                return await request.body()
            with self.runtime.pool.reserve(length):
                return await request.body()
        except asyncio.CancelledError:
            self.runtime.caller_gone("body")
            raise

    async def _get(self, request: HttpRequest, name: str, item: str) -> Plain | None:
        handler = control.HANDLERS[name]
        if name == "healthz":
            return control.healthz(self.runtime)
        if self.runtime.draining and name not in ("health", "readyz"):
            raise busy(close=True)
        self.runtime.control_lane.enter()
        try:
            known = not self._tokens or door.authorised(request.head, self._tokens)
            return await handler(self.runtime, control.Request(request, item, known))
        finally:
            self.runtime.control_lane.leave()

    async def _refuse(self, request: HttpRequest, refusal: Refusal, dialect: str) -> None:
        self.runtime.refused(refusal.reason)
        close = refusal.close or not await request.drained()
        module = dialects.caller("openai" if refusal.generic else dialect)
        data = module.error(refusal.status, refusal.type, refusal.message)
        headers = [*refusal.headers, ("connection", "close")] if close else refusal.headers
        request.respond(Plain(refusal.status, data, headers), head_only=request.method == "HEAD")


def _internal_error(dialect: str) -> Plain:
    return Plain(500, dialects.caller(dialect).error(500, "internal_error", "the router failed on this request"))
