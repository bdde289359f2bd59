"""What an address answers as the host itself sees it. Needs curl there."""

from __future__ import annotations

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import NOT_FOUND, Answer, HiddenLines, Reading, captured, reading

_GET = """command -v curl >/dev/null 2>&1 || exit 127
curl -sS -i --noproxy '*' -m "$2" -K - -w '\\n%{http_code}\\n' "$1"
"""
_POST = """command -v curl >/dev/null 2>&1 || exit 127
curl -sS -i --noproxy '*' -m "$2" -K - -w '\\n%{http_code}\\n' -H 'content-type: application/json' -H 'expect:' \\
  --data-binary "$3" "$1"
"""


class ReplyAnswer(Answer, frozen=True, kw_only=True):
    """`code` 0: nobody answered, `error` says why. Header names are in lower case."""

    code: int = 0
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: str = ""


class Reply(FactBase[ReplyAnswer]):
    """GET; what curl reads on standard input (the authorisation header) is never on a command line."""

    def command(self, url: str, seconds: int) -> StringCommand:
        return captured(_GET, url, seconds)

    def process(self, output: list[str]) -> ReplyAnswer:
        return _reply(reading(output))


class PostReply(FactBase[ReplyAnswer]):
    """POST of one JSON body."""

    def command(self, url: str, seconds: int, body: str) -> StringCommand:
        return captured(_POST, url, seconds, body)

    def process(self, output: list[str]) -> ReplyAnswer:
        return _reply(reading(output))


def authorisation(token: str) -> HiddenLines:
    """curl's configuration on standard input; in its quotes a backslash escapes."""
    escaped = token.replace("\\", "\\\\").replace('"', '\\"')
    return HiddenLines([f'header = "Authorization: Bearer {escaped}"\n'])


def _reply(got: Reading) -> ReplyAnswer:
    if got.code == NOT_FOUND:
        return ReplyAnswer(status="tool_missing", error="curl is not installed")
    whole, _, code = got.text.strip().rpartition("\n")
    number = int(code) if code.strip().isdigit() else 0
    if not number:
        return ReplyAnswer(status="absent", error=got.text.strip())
    head, body = "", whole.replace("\r\n", "\n")
    while body.startswith("HTTP/"):  # an interim answer has a head of its own
        head, _, body = body.partition("\n\n")
    rows = (line.partition(":") for line in head.splitlines()[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in rows}
    return ReplyAnswer(status="ok", code=number, headers=headers, body=body)
