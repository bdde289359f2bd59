"""One request to the resident model and its answer back, byte for byte, as it comes (contract lab.md 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from anvil.multiplexer import answers
from anvil.multiplexer.refusal import Refused
from anvil.router.exchange import CallerGone
from anvil.router.upstream import Connection, Upstream, UpstreamError

if TYPE_CHECKING:
    from anvil.multiplexer.card import Log
    from anvil.multiplexer.config import MultiplexerConfig, Row
    from anvil.multiplexer.residency import Residency
    from anvil.multiplexer.standing import Lease
    from anvil.router.door import Head
    from anvil.router.exchange import Plain
    from anvil.router.http_request import HttpRequest

CONNECT_S = 3.0
UPSTREAM_S = 900.0
HEALTH_S = 1.5
# What engines answer until their model is loaded; a resident has loaded its own.
STILL_LOADING = 503
# What an engine may want to know of the caller; its own credentials are not ours to give.
FORWARDED = ("content-type", "anthropic-version", "anthropic-beta", "traceparent", "tracestate")
COPIED = (b"content-type", b"content-encoding", b"content-length")


class Relay:
    """``residency`` gives leases; one client per model talks to the engines."""

    def __init__(self, config: MultiplexerConfig, log: Log) -> None:
        self.residency: Residency
        self._log = log
        self._upstreams = {
            row.name: Upstream(config.base_url(row), connect_timeout=CONNECT_S) for row in config.registry
        }

    async def serve(self, model: str, path: str, head: Head, data: bytes, request: HttpRequest) -> Plain | None:
        """Relay one request. A Plain is for the door to send; None when the answer has gone out. Raises CallerGone."""
        headers = [(name, value) for name in FORWARDED if (value := head.get(name)) and value.isascii()]
        for again in (True, False):
            try:
                async with self.residency.lease(model) as lease:
                    plain = await self._tried(lease, path, headers, data, request, again=again)
            except Refused as refused:
                return answers.refused(refused)
            if plain is not RETRY:
                return plain
        raise AssertionError("unreachable: the second try never asks for a third")

    async def ready(self, row: Row) -> bool:
        """Whether the engine's /health says 200."""
        try:
            connection = await self._upstreams[row.name].send("GET", "/health", b"", head_timeout=HEALTH_S)
        except UpstreamError:
            return False
        connection.abort("only its status matters")
        return connection.status == 200

    def close(self) -> None:
        for upstream in self._upstreams.values():
            upstream.close()

    async def _tried(
        self, lease: Lease, path: str, headers: list[tuple[str, str]], data: bytes, request: HttpRequest, *, again: bool
    ) -> Plain | None:
        streams = "event-stream" in (request.head.get("accept") or "")
        upstream = self._upstreams[lease.row.name]
        sending = asyncio.ensure_future(
            upstream.send("POST", path, data, head_timeout=UPSTREAM_S, headers=headers, streams=streams)
        )
        lease.on_cut = lambda: _cancel(sending)
        try:
            connection = await sending
        except UpstreamError as error:
            return await self._unreachable(lease, error, again=again)
        except asyncio.CancelledError:
            if lease.was_cut:
                return answers.refused(Refused("backend_unavailable", "cut by a swap to another model; try again"))
            _drop(sending)
            raise
        lease.on_cut = lambda: connection.abort("cut")
        if lease.was_cut:  # in the moment in which the answer's head came
            connection.abort("cut")
        if again and connection.status == STILL_LOADING and await self.residency.replaced(lease):
            connection.abort("a copy that its runtime restarted, not the resident")
            return RETRY
        try:
            await _relayed(connection, request)
        except UpstreamError as error:
            return self._broken(lease, error, request)
        finally:
            connection.finish()
        return None

    async def _unreachable(self, lease: Lease, error: UpstreamError, *, again: bool) -> Plain | None:
        gone = await self.residency.lost(lease)
        if gone and again and error.label.startswith("connect"):
            return RETRY  # nothing of the request was sent, and the next lease starts the model again
        self._log.error("no answer", model=lease.row.name, reason=error.label)
        return answers.refused(Refused("backend_unavailable", f"{lease.row.name} does not answer ({error.label})"))

    def _broken(self, lease: Lease, error: UpstreamError, request: HttpRequest) -> Plain | None:
        reason = "cut by a swap to another model" if lease.was_cut else error.label
        self._log.error("an answer broke off", model=lease.row.name, reason=reason)
        if not request.streaming:
            return answers.refused(Refused("backend_unavailable", f"{lease.row.name}: {reason}"))
        request.break_off()
        raise CallerGone


RETRY = answers.error(503, "backend_unavailable", "the model died; asking again")


def _cancel(sending: asyncio.Future[Connection]) -> None:
    sending.cancel()


def _drop(sending: asyncio.Future[Connection]) -> None:
    """Nobody waits any more; the head may have come in the same moment, and then the engine is let go too."""
    if not sending.cancel() and not sending.cancelled() and sending.exception() is None:
        sending.result().abort("the caller has left")


async def _relayed(connection: Connection, request: HttpRequest) -> None:
    """Status, the copied headers and the body; each piece is sent as soon as it is there."""
    headers = [(name.decode(), value.decode("latin-1")) for name in COPIED if (value := connection.headers.get(name))]
    request.begin(connection.status, headers)
    while data := await connection.next(UPSTREAM_S):
        await request.send(data)
