"""``anvil probe``: ask a running router how it is. Standard library only; it is the image's health check."""

from __future__ import annotations

import http.client
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import IO

from anvil.cli.arguments import Parser
from anvil.cli.exit_codes import UNREACHABLE

TIMEOUT_S = 4.0
CHUNK, LIMIT = 1 << 16, 16 << 20
PATHS = {
    "healthz": ("/healthz", "does it run, and which release and configuration; the default"),
    "readyz": ("/readyz", "may it serve, and how is each tier"),
    "models": ("/v1/models", "the models callers may name"),
}
DESCRIPTION = "Ask a running router how it is. Exit 0: it says yes. 1: it says no. 2: usage. 3: nothing answers."


def run(argv: list[str]) -> int:
    """Print the JSON body; 0 on 2xx, 1 on any other answer, 3 on none within 4 s, 2 on usage errors."""
    parser = Parser(prog="anvil probe", description=DESCRIPTION, allow_abbrev=False)
    what = parser.add_mutually_exclusive_group()
    for name, (path, meaning) in PATHS.items():
        what.add_argument(f"--{name}", dest="what", action="store_const", const=path, help=meaning)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the router; default: %(default)s")
    parser.add_argument("--token-env", help="variable that holds the token; default: ANVIL_ROUTER_TOKEN")
    options = parser.parse_args(argv)
    if not _is_url(options.url):
        parser.error("--url must be an http or https URL, for example http://127.0.0.1:8000")
    request = urllib.request.Request(options.url.rstrip("/") + (options.what or "/healthz"))  # noqa: S310
    token = _token(options.token_env)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    return _ask(request)


def _is_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """The token is for the router that was named, not for wherever an answer points."""


def _ask(request: urllib.request.Request) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        try:
            answer, code = opener.open(request, timeout=TIMEOUT_S), 0
        except urllib.error.HTTPError as error:
            answer, code = error, 1
        with answer:
            print(_body(answer))
        return code
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "reason", None) or str(error) or type(error).__name__
        print(f"no answer from {request.full_url}: {said}", file=sys.stderr)
        return UNREACHABLE


def _body(answer: IO[bytes]) -> str:
    """Raises TimeoutError, OSError, HTTPException: a router's answer is short and there at once."""
    end = time.monotonic() + TIMEOUT_S
    content = b""
    while piece := answer.read(CHUNK):
        content += piece
        if len(content) > LIMIT or time.monotonic() > end:
            raise TimeoutError("the answer does not end")
    if getattr(answer, "length", None):  # http.client counts down what Content-Length promised
        raise ConnectionError("the answer broke off")
    return content.decode("utf-8", "replace")


def _token(name: str | None) -> str:
    """The named variable, else the first set one of ANVIL_TOKEN_ENV, else ANVIL_ROUTER_TOKEN."""
    names = [name] if name else [*os.environ.get("ANVIL_TOKEN_ENV", "").split(","), "ANVIL_ROUTER_TOKEN"]
    for candidate in names:
        value = os.environ.get(candidate.strip(), "").strip()
        if value:
            return value
    return ""
