"""Facts about files: exact bytes, digest, mode. Empty is not missing, unreadable is not absent."""

from __future__ import annotations

import base64
import binascii
from typing import Literal

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import Answer, Reading, captured, reading

FILE_BYTES = 32 << 20  # Larger than any document we own; a fact must not fill the controller's memory.
ABSENT = 44

# `ls` tells "does not exist" from "may not look"; `test -e` cannot.
_EXISTS = f'LC_ALL=C; export LC_ALL; ls -d -- "$1" >/dev/null || exit {ABSENT}\n'
# P18: gateways may be macOS, where neither sha256sum nor GNU stat exist.
DIGEST = """digest() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum < "$1" | cut -d' ' -f1
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256 < "$1" | cut -d' ' -f1
  else openssl dgst -sha256 < "$1" | sed 's/^.*= *//'; fi
}
"""
_STAT = """describe() {
  if [ -L "$1" ]; then printf 'link\\n'; elif [ -d "$1" ]; then printf 'directory\\n'
  elif [ -f "$1" ]; then printf 'file\\n'; else printf 'other\\n'; fi
  stat -c '%a %U:%G %u:%g' -- "$1" 2>/dev/null || stat -f '%Lp %Su:%Sg %u:%g' -- "$1"
  readlink "$1" || echo
}
"""

Kind = Literal["file", "directory", "link", "other"]


class TextAnswer(Answer, frozen=True, kw_only=True):
    content: bytes = b""

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class StatAnswer(Answer, frozen=True, kw_only=True):
    """`mode` in octal digits ("640"), `owner` as "user:group", `ids` the same in numbers, `target` of a link."""

    kind: Kind = "file"
    mode: str = ""
    owner: str = ""
    ids: str = ""
    target: str = ""

    def belongs_to(self, owner: str) -> bool:
        """`owner` as chown takes it: names or numbers (a container's user has no name on the host); "" = anyone."""
        halves = zip(owner.split(":"), self.owner.split(":"), self.ids.split(":"), strict=False)
        return all(half in (called, number) for half, called, number in halves if half)

    def has_mode(self, mode: str) -> bool:
        return self.mode.lstrip("0") == mode.lstrip("0")


class FileAnswer(StatAnswer, frozen=True, kw_only=True):
    """Stat and digest in one round trip; a directory or a link to nothing has no digest."""

    sha256: str = ""


def _failure(got: Reading) -> dict[str, str]:
    if got.code == ABSENT and "No such file or directory" in got.text:
        return {"status": "absent"}
    return {"status": "error", "error": got.text.strip() or f"exit status {got.code}"}


class FileText(FactBase[TextAnswer]):
    """Exact bytes of one file, at most 24 MiB."""

    def command(self, path: str) -> StringCommand:
        return captured(_EXISTS + 'wc -c < "$1" && base64 < "$1"', path, limit=FILE_BYTES)

    def process(self, output: list[str]) -> TextAnswer:
        got = reading(output)
        if got.code:
            return TextAnswer(**_failure(got))  # type: ignore[arg-type]  # the keys are Answer's
        size, _, encoded = got.text.strip().partition("\n")
        try:
            content = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            return TextAnswer(status="error", error="the file is too large to read")
        if not size.strip().isdigit() or len(content) != int(size):
            return TextAnswer(status="error", error="the file is too large to read, or changed while it was read")
        return TextAnswer(status="ok", content=content)


class FileStat(FactBase[StatAnswer]):
    def command(self, path: str) -> StringCommand:
        return captured(_EXISTS + _STAT + 'describe "$1"', path)

    def process(self, output: list[str]) -> StatAnswer:
        got = reading(output)
        return StatAnswer(**_failure(got)) if got.code else StatAnswer(**_stat(got.lines))  # type: ignore[arg-type]  # ditto


class AgeAnswer(Answer, frozen=True, kw_only=True):
    """Seconds since the file was last written, by the host's own clock."""

    age_s: float = 0.0


class FileAge(FactBase[AgeAnswer]):
    def command(self, path: str) -> StringCommand:
        body = 'date +%s && { stat -c %Y -- "$1" 2>/dev/null || stat -f %m -- "$1"; }'
        return captured(_EXISTS + body, path)

    def process(self, output: list[str]) -> AgeAnswer:
        got = reading(output)
        if got.code:
            return AgeAnswer(**_failure(got))  # type: ignore[arg-type]  # the keys are Answer's
        now, written = (float(line) for line in got.lines[:2])
        return AgeAnswer(status="ok", age_s=max(0.0, now - written))


class FileState(FactBase[FileAnswer]):
    """What decides whether a file must be written again."""

    def command(self, path: str) -> StringCommand:
        body = 'describe "$1"; if [ -f "$1" ]; then digest "$1"; fi'
        return captured(_EXISTS + _STAT + DIGEST + body, path)

    def process(self, output: list[str]) -> FileAnswer:
        got = reading(output)
        if got.code:
            return FileAnswer(**_failure(got))  # type: ignore[arg-type]  # the keys are Answer's
        lines = got.lines
        digest = lines[3].strip() if len(lines) > 3 else ""
        return FileAnswer(**_stat(lines), sha256=digest)  # type: ignore[arg-type]  # the keys are StatAnswer's


def _stat(lines: list[str]) -> dict[str, str]:
    mode, owner, ids = (*lines[1].split(), "", "", "")[:3]
    target = lines[2] if len(lines) > 2 else ""
    return {"status": "ok", "kind": lines[0], "mode": mode, "owner": owner, "ids": ids, "target": target}
