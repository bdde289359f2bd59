"""One answer over HTTP, read whole, within a time and a size: whoever answers may be anybody."""

from __future__ import annotations

import time

import httpx

CAP = 64 << 20
_SHOWN = 300


def get(client: httpx.Client, url: str, *, seconds: float, connect: float) -> httpx.Response:
    """The answer with its body, whatever its status. Raises httpx.HTTPError, also for one that does not end."""
    with client.stream("GET", url, timeout=httpx.Timeout(seconds, connect=connect)) as answer:
        return read(answer, seconds=seconds)


def read(answer: httpx.Response, *, seconds: float) -> httpx.Response:
    """The same for an answer whose head is there."""
    end = time.monotonic() + seconds
    content = bytearray()
    for piece in answer.iter_bytes():
        content += piece
        if len(content) > CAP:
            raise httpx.RemoteProtocolError(f"an answer larger than {CAP >> 20} MiB")
        if time.monotonic() > end:
            raise httpx.ReadTimeout(f"no complete answer within {seconds:g} s")
    headers = {"content-type": answer.headers.get("content-type", "")}
    return httpx.Response(answer.status_code, headers=headers, content=bytes(content), request=answer.request)


def plain(text: str) -> str:
    """A stranger's text for a terminal: one line, cut, nothing that moves the cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _SHOWN]).split())[:_SHOWN]


def refusal(status: int, said: str) -> str:
    """What an answer other than 200 means to whoever asked a router."""
    if 300 <= status < 400:
        return f"a redirect ({status}): redirects are not followed, give the final --url"
    return f"the router answered {status}: {plain(said) or 'no message'}"


def trouble(error: Exception) -> str:
    """Why there was no answer, in a few words."""
    return plain(str(error)) or type(error).__name__
