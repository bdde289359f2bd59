"""Facts asked over HTTP on the host itself, with whatever client the host has."""

from __future__ import annotations

import json

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import NOT_FOUND, Answer, captured, reading

_GET = r"""get() {
  if command -v curl >/dev/null 2>&1; then
    curl -sS --noproxy '*' -m 5 --max-filesize 2000000 -w '\n%{http_code}\n' "$1" 2>/dev/null || printf '\n000\n'
  elif command -v wget >/dev/null 2>&1; then  # It does not tell which error status it met, only that it met one: 8.
    wget -q --no-proxy -T 5 -t 1 -O - "$1"
    case $? in 0) printf '\n200\n' ;; 8) printf '\n503\n' ;; *) printf '\n000\n' ;; esac
  elif command -v python3 >/dev/null 2>&1; then
    python3 -c '
import sys, urllib.request, urllib.error
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    with opener.open(sys.argv[1], timeout=5) as answer:
        print(answer.read(2000000).decode("utf-8", "replace"), answer.status, sep="\n")
except urllib.error.HTTPError as error: print("", error.code, sep="\n")
except OSError: print("", "000", sep="\n")' "$1"
  else return 127; fi
}
"""


class HttpAnswer(Answer, frozen=True, kw_only=True):
    """`code` 0: nothing answered."""

    code: int = 0
    body: str = ""


class EndpointAnswer(Answer, frozen=True, kw_only=True):
    """What an engine says of itself. `models` maps id to its window in tokens (0: not told)."""

    health: int = 0
    models: dict[str, int] = msgspec.field(default_factory=dict)


class Http(FactBase[HttpAnswer]):
    """GET one URL from the host; no redirects followed, no proxy used."""

    def command(self, url: str) -> StringCommand:
        return captured(_GET + 'get "$1"', url)

    def process(self, output: list[str]) -> HttpAnswer:
        got = reading(output)
        if got.code == NOT_FOUND:
            return HttpAnswer(status="tool_missing", error="neither curl, wget nor python3 is installed")
        body, code = _answer(got.text)
        return HttpAnswer(status="ok" if code else "absent", code=code, body=body)


class Endpoint(FactBase[EndpointAnswer]):
    """An engine's health and model list in one round trip; the list is asked for only once it is healthy."""

    def command(self, health_url: str, models_url: str) -> StringCommand:
        body = 'h=$(get "$1") || exit $?\nprintf "%s\\n" "$h" | tail -n 1\ncase $h in *200) get "$2";; esac'
        return captured(_GET + body, health_url, models_url)

    def process(self, output: list[str]) -> EndpointAnswer:
        got = reading(output)
        if got.code == NOT_FOUND:
            return EndpointAnswer(status="tool_missing", error="neither curl, wget nor python3 is installed")
        first, _, rest = got.text.partition("\n")
        health = int(first) if first.strip().isdigit() else 0
        body, code = _answer(rest)
        return EndpointAnswer(
            status="ok" if health else "absent", health=health, models=_models(body) if code == 200 else {}
        )


def _answer(text: str) -> tuple[str, int]:
    body, _, code = text.strip().rpartition("\n")
    return body, int(code) if code.strip().isdigit() else 0


def _models(body: str) -> dict[str, int]:
    try:
        rows = json.loads(body).get("data") or []
        return {str(row["id"]): int(row.get("max_model_len") or 0) for row in rows}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
