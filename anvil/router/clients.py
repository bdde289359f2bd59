"""GET /v1/harness: ready-made client configuration for this very router (contract 2.14)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import msgspec

from anvil import harness
from anvil.harness.model import Document, Model, Router, max_output
from anvil.router.exchange import Plain

if TYPE_CHECKING:
    from anvil.router.door import Head
    from anvil.router.runtime import Runtime

SCHEMA = "anvil-serving.router.harness/v1"
DEFAULT_TOKEN_ENV = "ANVIL_ROUTER_TOKEN"  # noqa: S105  # the name of a variable
_ENV = re.compile(r"(?!(AKIA|ASIA)[0-9A-Z]{16}$)[A-Z][A-Z0-9_]*")
_PARAMETERS = {"base_url", "token_env", "version", "format"}


class UnknownHarness(Exception):
    """No such client."""


class BadParameter(ValueError):
    """A query parameter cannot be used; the text says what would do."""


def catalogue() -> list[dict[str, str]]:
    return [{"name": known.name, "format": known.format, "path": known.path} for known in harness.HARNESSES.values()]


def document(runtime: Runtime, name: str, query: str, head: Head, scheme: str) -> Plain:
    """Raises UnknownHarness, BadParameter."""
    known = harness.HARNESSES.get(name)
    if known is None:
        raise UnknownHarness(name)
    options = _options(query)
    router = describe(runtime, _base_url(runtime, options, head, scheme), _token_env(runtime, options))
    release = options.get("version", "")
    version = known.generation(release) if release else ""
    if version is None:
        raise BadParameter(f"version {release[:40]!r} is not known; use one of {', '.join(known.versions) or 'none'}")
    rendered = known.render(router, version)
    if options.get("format") == "raw":
        if len(rendered.files) != 1:
            raise BadParameter(f"{name} has {len(rendered.files)} files; leave format out")
        return Plain(200, rendered.files[0].text.encode(), content_type="text/plain; charset=utf-8")
    return Plain(200, msgspec.json.encode(_body(name, router, rendered)))


def describe(runtime: Runtime, base_url: str, token_env: str) -> Router:
    """The router as its clients see it: servable presets in configuration order, windows of usable tiers only."""
    found = []
    for preset in runtime.config.presets:
        tiers = runtime.policy.usable(preset)
        if not tiers:
            continue
        window = max(tier.context_limit for tier in tiers)
        images = any(tier.vision for tier in tiers)
        found.append(
            Model(
                id=preset,
                name=next(offer.name for offer in runtime.offers if offer.id == preset),
                context_window=window,
                max_output_tokens=max_output(preset, window),
                input=("text", "image") if images else ("text",),
            )
        )
    identity = runtime.identity
    return Router(base_url, token_env, tuple(found), identity.release, identity.config_hash)


def _body(name: str, router: Router, rendered: Document) -> dict[str, object]:
    return {
        "harness": name,
        "schema": SCHEMA,
        "router": {"base_url": router.base_url, "release": router.release, "config_hash": router.config_hash},
        "env": rendered.env,
        "files": rendered.files,
        "models": router.models,
        "notes": rendered.notes,
    }


def _options(query: str) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    unknown = sorted(options.keys() - _PARAMETERS)
    if unknown:
        raise BadParameter(f"unknown parameter {unknown[0][:40]!r}; use {', '.join(sorted(_PARAMETERS))}")
    if options.get("format", "json") not in ("json", "raw"):
        raise BadParameter("format must be json or raw")
    return options


def _base_url(runtime: Runtime, options: dict[str, str], head: Head, scheme: str) -> str:
    url = options.get("base_url") or runtime.config.server.public_url or f"{scheme}://{head.get('host') or '127.0.0.1'}"
    if not _is_plain_url(url):
        raise BadParameter(f"base_url {url[:100]!r} is not an http(s) URL")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _is_plain_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # an unpaired bracket
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment


def _token_env(runtime: Runtime, options: dict[str, str]) -> str:
    name = options.get("token_env") or next(iter(runtime.config.server.auth_env), DEFAULT_TOKEN_ENV)
    if not _ENV.fullmatch(name):
        raise BadParameter("token_env must be the name of an environment variable, such as ANVIL_ROUTER_TOKEN")
    return name
