"""The door: granian's RSGI calls become requests with a route, a lane and an answer; the last resort for defects."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from granian.rsgi import ProtocolClosed, ProtocolError

from anvil.router import body, control, dialects, door, generate
from anvil.router.door import Head, Refusal
from anvil.router.exchange import CallerGone, Plain
from anvil.router.lanes import busy
from anvil.router.runtime import Runtime
from anvil.router.watch import Outlet, Rounds, Watch

if TYPE_CHECKING:
    from anvil.router.loading import Loaded
    from anvil.router.server import Listen, Shared


class App:
    """One worker."""

    def __init__(self, loaded: Loaded, shared: Shared, listen: Listen) -> None:
        self.runtime = Runtime(loaded, shared, listen)
        self._shared = shared
        self._tokens = loaded.tokens
        self._server = loaded.config.server
        self._gulp_limit = body.gulp_limit(self._server)
        self._open = door.OPEN_PATHS | ({"/metrics"} if self._server.open_metrics else set())
        self._loop: asyncio.AbstractEventLoop
        self._rounds: Rounds

    # -- granian
    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rounds = Rounds(loop, self._server.idle_timeout_s)
        loop.add_signal_handler(signal.SIGUSR1, self.runtime.drain)
        self.runtime.start(loop)
        self._shared.ready.set()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.runtime.close()

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        method = scope.method
        path = door.clean_path(scope.path)
        head = door.read_head(scope.headers.items())
        dialect = "openai"
        try:
            dialect = self._admit(scope, head, path)
            name, item = door.find_route(method, path)
            if method == "POST":
                await self._post(scope, proto, head, name, dialect)
                return
            plain = await self._get(scope, proto, head, name, item)
            if plain is not None:
                self._reply(proto, plain, head_only=method == "HEAD")
        except Refusal as refusal:
            await self._refuse(proto, head, refusal, dialect, method)
        except CallerGone:
            self.runtime.caller_gone("body")
        except (ProtocolClosed, ProtocolError):
            self.runtime.caller_gone("body")
        except Exception as error:  # the last resort: a defect is told, never a dropped connection
            self.runtime.defect(error)
            self._reply(proto, _internal_error(dialect))

    # -- checks before the body
    def _admit(self, scope: Any, head: Head, path: str) -> str:
        if head.size_error:
            raise Refusal(431, "invalid_request", "headers too large", reason="framing", close=True)
        if scope.http_version == "1.1" and "host" not in head.values:
            raise Refusal(400, "invalid_request", "Host header missing", reason="framing", close=True)
        if self._tokens and path not in self._open and not door.authorised(head, self._tokens):
            raise Refusal(401, "authentication_error", "a valid token is needed", reason="auth", generic=True)
        return door.envelope(path)

    async def _post(self, scope: Any, proto: Any, head: Head, name: str, dialect: str) -> None:
        length = door.content_length(head, self._server.max_body_bytes)
        runtime = self.runtime
        if runtime.draining:
            raise busy(close=True)
        address = ""
        if runtime.clients.limit:
            address = scope.client.rsplit(":", 1)[0]
            runtime.clients.enter(address)
        try:
            lane = runtime.control_lane if name == "route" else runtime.serve_lane
            lane.enter()
            try:
                await self._serve(
                    Outlet(proto, self._loop, scope.http_version, scope.client), proto, head, name, length
                )
            finally:
                lane.leave()
        finally:
            if address:
                runtime.clients.leave(address)

    async def _serve(self, outlet: Outlet, proto: Any, head: Head, name: str, length: int) -> None:
        watch = Watch(outlet, proto, self._rounds, self._gulp_limit if length <= body.ONE_GULP else float("inf"))
        try:
            if length == 0:
                data = b""
            elif length <= body.ONE_GULP:
                data = await proto()
            else:
                data = await self._large_body(proto, length)
            watch.reading = False
            plain = await generate.HANDLERS[name](self.runtime, watch.outlet, head, data)
            if plain is not None:
                self._reply(proto, plain)
        except asyncio.CancelledError:
            if watch.slow:
                raise body.too_slow() from None
            if not watch.gone:
                raise
        finally:
            watch.stop()

    async def _large_body(self, proto: Any, length: int) -> bytes:
        if length <= body.POOLED:
            return await body.read_body(proto, length, self._server)
        with self.runtime.pool.reserve(length):
            return await body.read_body(proto, length, self._server)

    async def _get(self, scope: Any, proto: Any, head: Head, name: str, item: str) -> Plain | None:
        handler = control.HANDLERS[name]
        if name == "healthz":
            return control.healthz(self.runtime)
        if self.runtime.draining and name not in ("health", "readyz"):
            raise busy(close=True)
        self.runtime.control_lane.enter()
        try:
            known = not self._tokens or door.authorised(head, self._tokens)
            request = control.Request(
                scope, head, item, known, Outlet(proto, self._loop, scope.http_version, scope.client)
            )
            return await handler(self.runtime, request)
        finally:
            self.runtime.control_lane.leave()

    # -- answers
    def _reply(self, proto: Any, plain: Plain, *, head_only: bool = False) -> None:
        headers = [("content-type", plain.content_type), ("server", "anvil"), *plain.headers]
        if head_only:
            proto.response_empty(plain.status, [*headers, ("content-length", str(len(plain.body)))])
        else:
            proto.response_bytes(plain.status, headers, plain.body)

    async def _refuse(self, proto: Any, head: Head, refusal: Refusal, dialect: str, method: str) -> None:
        self.runtime.refused(refusal.reason)
        close = refusal.close or not await self._drained(proto, head)
        module = dialects.caller("openai" if refusal.generic else dialect)
        data = module.error(refusal.status, refusal.type, refusal.message)
        headers = [*refusal.headers, ("connection", "close")] if close else refusal.headers
        self._reply(proto, Plain(refusal.status, data, headers), head_only=method == "HEAD")

    async def _drained(self, proto: Any, head: Head) -> bool:
        value = head.values.get("content-length", "0")
        if "transfer-encoding" in head.values or "content-length" in head.doubled or not value.isdigit():
            return False
        return await body.drain(proto, int(value[:20]))


def _internal_error(dialect: str) -> Plain:
    return Plain(500, dialects.caller(dialect).error(500, "internal_error", "the router failed on this request"))
