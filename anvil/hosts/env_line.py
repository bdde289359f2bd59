"""One line of a file of environment variables that somebody else owns. The value is only ever on standard input."""

from __future__ import annotations

import hashlib
import re

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce
from anvil.hosts.files import DIGEST
from anvil.hosts.json_file import ResolvedPath
from anvil.hosts.shell import Answer, Commands, captured, reading, script

_PLAIN = re.compile(r"[A-Za-z0-9_.~+/=:@%,-]+")
# A last line without an end counts; NAME as typed in the topology holds no character that a pattern knows.
_FIND = (
    DIGEST
    + """[ -e "$1" ] || exit 44
[ -f "$1" ] && [ -r "$1" ] || { echo "is no readable file"; exit 1; }
line=$(grep -E "^[[:space:]]*(export[[:space:]]+)?$2=" "$1" | tail -n 1)
[ -n "$line" ] || exit 44
[ "$(grep -c -E "^[[:space:]]*(export[[:space:]]+)?$2=" "$1")" -eq 1 ] || { echo several; exit 0; }
printf '%s' "$line" | digest /dev/stdin
ls -l "$1" | cut -c 1-10
"""
)
_PUT = """umask 077
path=$1 name=$2
IFS= read -r wanted || exit 1
case $wanted in "$name="*) ;; *) echo "the line was cut short, $path is unchanged" >&2; exit 1 ;; esac
new=$(mktemp "$(dirname "$path")/.anvil-XXXXXXXX") || exit 1
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
is_ours() { printf '%s\\n' "$1" | grep -q -E "^[[:space:]]*(export[[:space:]]+)?$name="; }
put=false
if [ -e "$path" ]; then
  while IFS= read -r line || [ -n "$line" ]; do
    if ! is_ours "$line"; then printf '%s\\n' "$line"
    elif [ "$put" = false ]; then printf '%s\\n' "$wanted"; put=true; fi
  done < "$path" > "$new" || exit 1
fi
[ "$put" = true ] || printf '%s\\n' "$wanted" >> "$new" || exit 1
chmod 600 "$new" && mv -f "$new" "$path"
"""


class LineAnswer(Answer, frozen=True, kw_only=True):
    """`sha256` of the whole line, "several" when it is there more than once; `private`: mode 600."""

    sha256: str = ""
    private: bool = False


class EnvLine(FactBase[LineAnswer]):
    """The line that sets one variable; "absent" when there is none."""

    def command(self, path: str, variable: str) -> StringCommand:
        return captured(_FIND, path, variable)

    def process(self, output: list[str]) -> LineAnswer:
        got = reading(output)
        if got.code:
            return LineAnswer(status="absent" if got.code == 44 else "error", error=got.text.strip())
        found, mode = [*got.text.split(), "", ""][:2]
        return LineAnswer(status="ok", sha256=found, private=mode == "-rw-------")


@operation()
def env_line(path: str, variable: str, line: str) -> Commands:
    """
    Make the file at `path` (`~` and links allowed) set one variable, readable by its owner alone; other lines stay.

    + line: `NAME=value` as `line_of` makes it
    """
    found = host.get_fact(ResolvedPath, path)
    if not found.ok:
        raise OperationError(f"{path}: {found.error or 'its folder does not exist: nothing is set up for this user'}")
    live = host.get_fact(EnvLine, found.path, variable)
    if live.status not in ("ok", "absent"):
        raise OperationError(f"{path}: cannot be read: {live.error}")
    if live.private and live.sha256 == hashlib.sha256(line.encode()).hexdigest():
        host.noop(f"{path} sets {variable} already")
        return
    announce(f"{path}: {variable} {'set anew' if live.ok else 'added'}")
    yield script(_PUT, found.path, variable, _stdin=f"{line}\n")


def line_of(name: str, value: str) -> str:
    """The line for a value, quoted when a reader could see more in it. Raises ValueError for what no line can hold."""
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    if not value.isprintable() or "'" in value:
        raise ValueError(
            f"the value of {name} holds a character that a .env file cannot: a quote or a control character"
        )
    return f"{name}='{value}'"
