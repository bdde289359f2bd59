"""Whether an endpoint answers at all, and what it says about itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import msgspec

from anvil.lab.chat import Failure, whole
from anvil.lab.endpoint import Endpoint

PROBE_S = 5.0
LIST_S = 15.0
_POLL_S = 0.5
_WINDOW_KEYS = ("max_model_len", "max_context_length", "context_length")
# what the engines themselves write as owned_by
_OWNERS: Mapping[str, str] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp"}


class Unreachable(Exception):
    """Nothing was measured. ``kind``: unreachable or loading."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Seen(msgspec.Struct, frozen=True):
    """What the endpoint says: the window of one request in tokens, engine, version; None = not said."""

    window: int | None = None
    engine: str | None = None
    engine_version: str | None = None
    notes: tuple[str, ...] = ()


async def reach(
    http: httpx.AsyncClient,
    endpoint: Endpoint,
    wait_s: float = 0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Return once /health gives any answer but 503. An engine that loads or is not up yet gets ``wait_s`` seconds.

    Raises Unreachable.
    """
    waited = 0.0
    while True:
        trouble = await _trouble(http, endpoint)
        if trouble is None:
            return
        if waited >= wait_s:
            raise trouble
        await sleep(_POLL_S)
        waited += _POLL_S


async def _trouble(http: httpx.AsyncClient, endpoint: Endpoint) -> Unreachable | None:
    try:
        async with asyncio.timeout(PROBE_S), http.stream("GET", f"{endpoint.root}/health") as answer:
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        said = endpoint.masked(str(error)) or type(error).__name__
        return Unreachable("unreachable", f"nothing answers at {endpoint.root} within {PROBE_S:g} s ({said})")
    if status == 503:
        return Unreachable("loading", f"{endpoint.root}/health says 503: the engine is loading; give it time by --wait")
    return None


async def look(http: httpx.AsyncClient, endpoint: Endpoint) -> Seen:
    """What /v1/models and /version say; an endpoint without them is none the worse."""
    rows = _rows(await _json(http, f"{endpoint.base_url}/models", LIST_S))
    version = await _json(http, f"{endpoint.root}/version", PROBE_S)
    said = version.get("version") if isinstance(version, dict) else None
    version_text = said if isinstance(said, str) else None
    if not rows:
        return Seen(engine_version=version_text)
    row = next((row for row in rows if row.get("id") == endpoint.model), rows[0])
    names = [str(row.get("id")) for row in rows]
    note = f"the endpoint lists {', '.join(names[:5])}, not {endpoint.model}"
    return Seen(
        window=window_of(row),
        engine=_OWNERS.get(str(row.get("owned_by"))),
        engine_version=version_text,
        notes=() if endpoint.model in names else (note,),
    )


def window_of(row: Mapping[str, Any]) -> int | None:
    """The window in tokens of a row of /v1/models; llama.cpp has it under meta (one slot's share)."""
    meta = row.get("meta")
    values = [row.get(key) for key in _WINDOW_KEYS] + [meta.get("n_ctx") if isinstance(meta, dict) else None]
    return next((value for value in values if type(value) is int and value > 0), None)


def _rows(document: object) -> list[dict[str, Any]]:
    data = document.get("data") if isinstance(document, dict) else None
    return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []


async def _json(http: httpx.AsyncClient, url: str, timeout_s: float) -> object:
    try:
        async with asyncio.timeout(timeout_s), http.stream("GET", url) as answer:
            return msgspec.json.decode(await whole(answer)) if answer.status_code == 200 else None
    except (httpx.HTTPError, TimeoutError, Failure, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
