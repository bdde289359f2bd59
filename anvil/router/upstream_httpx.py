"""httpx types over our own transport, for discovery, tokenizers and readiness probes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from anvil.router.upstream import Connection, Upstream, UpstreamError

DEFAULT_TIMEOUT_S = 5.0
_OWN_HEADERS = frozenset(
    {"host", "user-agent", "accept", "accept-encoding", "content-length", "connection", "transfer-encoding"}
)


class _Body(httpx.AsyncByteStream):
    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self._connection.next(self._timeout):
                yield data
        except UpstreamError as error:
            raise httpx.ReadError(error.label) from None

    async def aclose(self) -> None:
        self._connection.finish()


class TierTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests to one tier, whatever host their URL names."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions.get("timeout") or {}
        timeout = float(timeouts.get("read") or DEFAULT_TIMEOUT_S)
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in _OWN_HEADERS]
        body = await request.aread()
        path = request.url.raw_path.decode("ascii")
        try:
            connection = await self._upstream.send(request.method, path, body, head_timeout=timeout, headers=headers)
        except UpstreamError as error:
            raise httpx.ConnectError(error.label, request=request) from None
        return httpx.Response(
            connection.status, headers=list(connection.headers.items()), stream=_Body(connection, timeout)
        )


def client(upstream: Upstream, base_url: str, *, timeout: float = DEFAULT_TIMEOUT_S) -> httpx.AsyncClient:
    """An httpx client bound to one tier: no environment proxies, no redirects."""
    return httpx.AsyncClient(
        transport=TierTransport(upstream), base_url=base_url, timeout=timeout, trust_env=False, follow_redirects=False
    )
