"""One published document over https (lab contract 9.2)."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from anvil.lab.priors.store import RAW_LIMIT

SECONDS = 30.0
_HOPS = 5


class Document(NamedTuple):
    content: bytes
    content_type: str
    url: str


class FetchError(Exception):
    """Nothing was fetched; one line says why."""


def fetch(url: str, *, insecure: bool = False, transport: httpx.BaseTransport | None = None) -> Document:
    """Redirects are followed on the same host only. Raises ValueError for a URL that is not allowed, FetchError."""
    host = _host(url, insecure)
    with httpx.Client(timeout=SECONDS, trust_env=False, follow_redirects=False, transport=transport) as client:
        for _ in range(_HOPS):
            answer = _get(client, url)
            if isinstance(answer, Document):
                return answer
            url = answer
            try:
                same = _host(url, insecure) == host
            except ValueError:
                same = False
            if not same:
                raise FetchError(f"redirected to {url}: another place; fetch that yourself if you trust it")
    raise FetchError(f"{url}: more than {_HOPS} redirects")


def _host(url: str, insecure: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (insecure and parts.scheme == "http"):
        raise ValueError(f"{url}: is no https URL (--insecure allows http)")
    if not parts.hostname or parts.username or parts.password:
        raise ValueError(f"{url}: needs a host, and no user or password in it")
    return parts.hostname


def _get(client: httpx.Client, url: str) -> Document | str:
    """The document, or where it moved."""
    try:
        with client.stream("GET", url) as answer:
            if answer.has_redirect_location:
                return str(answer.url.join(answer.headers["location"]))
            if answer.status_code != httpx.codes.OK:
                raise FetchError(f"{url}: HTTP {answer.status_code}")
            return Document(_body(answer, url), answer.headers.get("content-type", ""), url)
    except httpx.HTTPError as error:
        raise FetchError(f"{url}: {str(error) or type(error).__name__}") from None


def _body(answer: httpx.Response, url: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    for chunk in answer.iter_bytes():
        size += len(chunk)
        if size > RAW_LIMIT:
            raise FetchError(f"{url}: larger than {RAW_LIMIT} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
