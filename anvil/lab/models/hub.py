"""The one request the index may make, and only when asked: a model's README from the hub."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

HUB = "https://huggingface.co"
SECONDS = 30.0
_LIMIT = 4 << 20


def fetcher(environ: Mapping[str, str], transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client without redirects and without the environment's proxies; HF_TOKEN as bearer when it is set."""
    token = environ.get("HF_TOKEN", "").strip()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(
        base_url=HUB, headers=headers, timeout=SECONDS, follow_redirects=False, trust_env=False, transport=transport
    )


def readme(client: httpx.Client, repo: str) -> str | None:
    """The card's text, None for every failure: the index then simply has no card."""
    try:
        with client.stream("GET", f"/{repo}/raw/main/README.md") as answer:
            if answer.status_code != httpx.codes.OK:
                return None
            content = b""
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > _LIMIT:
                    return None
    except httpx.HTTPError:
        return None
    return content.decode("utf-8", errors="replace")
