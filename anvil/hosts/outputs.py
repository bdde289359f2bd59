"""A command on a host that fills a folder, and the folder brought to the controller; an interrupted one goes on."""

from __future__ import annotations

import base64
import binascii
import io
import tarfile

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from anvil.hosts.announce import announce
from anvil.hosts.files import FILE_BYTES
from anvil.hosts.shell import Answer, Commands, captured, reading, script, streamed

# Secrets come by name from the machine's own file; they stand on no command line.
_RUN = """secrets=$1 names=$2 folder=$3; shift 3
mkdir -p -m 750 "$folder" || exit 1
[ ! -f "$secrets" ] || . "$secrets"
for name in $names; do export "$name"; done
exec "$@" </dev/null
"""
# Not through a pipe, which hides how tar ended: what it could not read would be missing in silence, and then removed.
_ARCHIVE = """cd "$1" || exit 44
held=$(mktemp) || exit 1
trap 'rm -f "$held"' EXIT
said=$(tar -czf "$held" . 2>&1) || { echo "$said"; exit 1; }
base64 < "$held"
echo end
"""


class ArchiveAnswer(Answer, frozen=True, kw_only=True):
    content: bytes = b""


class Archive(FactBase[ArchiveAnswer]):
    """A folder as a gzipped tar, at most about 20 MB of it."""

    def command(self, folder: str) -> StringCommand:
        return captured(_ARCHIVE, folder, limit=FILE_BYTES)

    def process(self, output: list[str]) -> ArchiveAnswer:
        got = reading(output)
        lines = got.text.split()
        if got.code or not lines or lines[-1] != "end":
            return ArchiveAnswer(status="absent" if got.code == 44 else "error", error=got.text[-200:].strip())
        try:
            return ArchiveAnswer(status="ok", content=base64.b64decode("".join(lines[:-1]), validate=True))
        except binascii.Error:
            return ArchiveAnswer(status="error", error="the folder is too large to bring back")


@operation()
def outputs_fetched(
    command: tuple[str, ...], folder: str, to: str, secrets: str = "", secret_names: tuple[str, ...] = ()
) -> Commands:
    """
    Run a command that fills a folder on the host, unpack the folder here, and remove it there.

    + folder: on the host; what an interrupted run left in it is there for the next one
    + to: on the controller
    + secrets: a file of NAME=value lines on the host; only `secret_names` are exported
    """
    announce(f"{folder}: filled, then brought to {to}")
    yield streamed(_RUN, secrets, " ".join(secret_names), folder, *command)
    yield FunctionCommand(_unpack, (folder, to), {})
    yield script('rm -rf -- "$1"', folder)


def _unpack(state: State, host: Host, folder: str, to: str) -> bool:
    answer = host.get_fact(Archive, folder)
    if not answer.ok:
        host.log_styled(f"{folder}: {answer.error or answer.status}", fg="red")
        return False
    try:
        with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:gz") as archive:
            archive.extractall(to, filter="data")
    except (tarfile.TarError, OSError) as error:
        host.log_styled(f"{to}: {error}", fg="red")
        return False
    return True
