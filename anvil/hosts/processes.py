"""The process runtime: services as local processes under supervisord, with the compose runtime's interface.

supervisord keeps no labels, so each launcher notes in `run/NAME` what it started: revision, environment digest and a
count of starts. The note always tells of the process that really runs, also after supervisord restarted it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce
from anvil.hosts.containers import ServicesAnswer, ServiceState, State
from anvil.hosts.decision import Action, WantedService
from anvil.hosts.docker import documents
from anvil.hosts.files import FileState, FileText
from anvil.hosts.shell import NOT_FOUND, Commands, Struct, captured, reading, script
from anvil.hosts.supervisor import Program, folder_of, launcher, program_conf, usable_root
from anvil.hosts.supervisor_client import CLIENT
from anvil.hosts.text_file import difference, digest_of, write_command

_CTL = """python=$1 folder=$2 name=$3 client=$4
ctl() { "$python" -I -c "$client" "$folder/sock" "$@" </dev/null 9>&-; }
"""
# Two operators on one machine: the second waits. macOS has no flock; there supervisord itself serialises the requests.
_LOCK = """umask 027
exec 9>>"$folder/lock"
! command -v flock >/dev/null 2>&1 || flock -w 30 9 || { echo "busy: another run holds $folder/lock" >&2; exit 12; }
"""
# One that nobody can reach, its socket or its folder gone, would hold its services' ports against those of the new one.
_START = """folder=$1 python=$2
cd "$folder" || exit 1
ours() {
  ps -A -ww -o pid= -o args= | while read -r pid words; do
    case $words in *" -m supervisor.supervisord -c $folder/supervisord.conf") echo "$pid" ;; esac
  done
}
signal=TERM n=0
while left=$(ours) && [ -n "$left" ]; do
  [ $((n % 300)) -ne 0 ] || { kill -s "$signal" $left; signal=KILL; }
  n=$((n + 1))
  [ "$n" -lt 900 ] || { echo "supervisord $left does not end" >&2; exit 1; }
  sleep 0.1
done
env -i PATH="$PATH" HOME="$HOME" "$python" -m supervisor.supervisord -c "$folder/supervisord.conf" </dev/null || exit 1
n=0
until [ -S sock ]; do n=$((n + 1)); [ "$n" -lt 100 ] || { tail -n 5 logs/supervisord.log >&2; exit 1; }; sleep 0.1; done
"""
_UP = """ctl up "$name" || { tail -n 60 "$folder/logs/$name.log" >&2; exit 1; }"""
_REMOVE = """rm -f "$folder/programs/$name.conf" "$folder/programs/$name.sh"
ctl remove "$name" && rm -f "$folder/run/$name"
"""
_STATUS = f"""command -v "$1" >/dev/null 2>&1 || exit {NOT_FOUND}
[ -S "$2/sock" ] || {{ echo "down: no socket"; exit 1; }}
"$1" -I -c "$3" "$2/sock" states </dev/null || exit 1
echo --
for marker in "$2"/run/*; do
  case $marker in *.new) ;; *) [ ! -f "$marker" ] || echo "${{marker##*/}} $(cat "$marker")" ;; esac
done
exit 0
"""
_STATES: dict[str, State] = {
    "RUNNING": "running",
    "STARTING": "running",
    "BACKOFF": "restarting",
    "STOPPED": "exited",
    "STOPPING": "exited",
    "EXITED": "exited",
    "FATAL": "exited",
}


class ProcessServices(FactBase[ServicesAnswer]):
    """{name: state} of every program that supervisord knows; no supervisord is "daemon_down"."""

    def command(self, python: str, folder: str) -> StringCommand:
        return captured(_STATUS, python, folder, CLIENT)

    def process(self, output: list[str]) -> ServicesAnswer:
        got = reading(output)
        if got.code == NOT_FOUND:
            return ServicesAnswer(status="tool_missing", error="the machine's python was not found")
        if "down: " in got.text:
            return ServicesAnswer(status="daemon_down", error="supervisord does not run")
        if got.code:
            return ServicesAnswer(status="error", error=got.text.strip()[-500:])
        told, _, notes = got.text.partition("--\n")
        marks = {line.split()[0]: line.split()[1:] for line in notes.splitlines() if len(line.split()) == 4}
        rows = [row for row in documents(told) if isinstance(row, dict)]
        return ServicesAnswer(
            status="ok", services={row["name"]: _service(row, marks.get(row["name"], [])) for row in rows}
        )


def _service(row: dict[str, Any], mark: list[str]) -> ServiceState:
    word = row["statename"]
    revision, env, starts = mark or ("", "", "0")
    return ServiceState(
        state=_STATES.get(word, "unknown"),
        error="" if word in _STATES else f"supervisord reports {word}",
        restart_count=int(starts) if starts.isdigit() else 0,
        age_s=(age := max(0, row["now"] - row["start"]) if row["start"] else 0),
        made_s=age,
        exit_code=row["exitstatus"],
        revision=revision.strip("-"),
        env=env.strip("-"),
        pid=row["pid"],
    )


class ProcessRuntime(Struct, frozen=True, kw_only=True):
    """supervisord under `<root>/supervisor`, run by `python` (absolute, with `supervisor` installed)."""

    root: str
    python: str
    programs: dict[str, Program]

    def observe(self, on: Host, name: str, container: str) -> ServiceState:
        answer = on.get_fact(ProcessServices, self.python, folder_of(self.root))
        if answer.status in ("daemon_down", "tool_missing"):
            # Without supervisord nothing of ours runs; the deploy starts it before any service.
            return ServiceState(state="absent", error=answer.error)
        return answer.of(name)

    def logs(self, on: Host, name: str, container: str, lines: int) -> str:
        text = on.get_fact(FileText, f"{folder_of(self.root)}/logs/{name}.log").text
        return "\n".join(text.splitlines()[-lines:])

    def apply(self, action: Action, wanted: WantedService) -> Iterator[PyinfraCommand]:
        for path, (text, mode) in self.files(wanted.name, wanted.revision, wanted.env_digest).items():
            yield write_command(path, text, mode)
        yield self.ctl(_UP, wanted.name)

    def files(self, name: str, revision: str, env_digest: str) -> dict[str, tuple[str, str]]:
        """Path -> text and mode of what defines a program."""
        program, programs = self.programs[name], f"{folder_of(self.root)}/programs"
        return {
            f"{programs}/{name}.sh": (launcher(self.root, program, revision, env_digest), "750"),
            f"{programs}/{name}.conf": (program_conf(self.root, program), "640"),
        }

    def stop(self, live: ServiceState, name: str) -> Iterator[PyinfraCommand]:
        yield self.ctl('ctl stop "$name"', name)

    def remove(self, name: str, container: str) -> Iterator[PyinfraCommand]:
        yield self.ctl(_REMOVE, name)

    def ctl(self, text: str, name: str = "") -> StringCommand:
        return script(_CTL + _LOCK + text, self.python, folder_of(self.root), name, CLIENT)


@operation()
def supervisor_running(root: str, python: str) -> Commands:
    """
    Start supervisord as a daemon of its own session, unless it answers already.

    + python: an interpreter that has the package `supervisor`
    """
    if refused := usable_root(root):
        raise OperationError(refused)
    answer = host.get_fact(ProcessServices, python, folder_of(root))
    if answer.ok:
        host.noop("supervisord runs")
        return
    announce(f"supervisord: {answer.error}")
    yield script(_START, folder_of(root), python)


@operation()
def program_defined(root: str, program: Program) -> Commands:
    """
    Write a program's two files without starting it: the router is started by its release's own script.
    """
    made = ProcessRuntime(root=root, python="", programs={program.name: program})
    yield from _written(program.name, made.files(program.name, "", ""))


@operation()
def program_kept(runtime: ProcessRuntime, wanted: WantedService) -> Commands:
    """
    Put back the files of a service that runs as wanted: its next start, after a crash, would take what was edited.
    """
    live = runtime.observe(host, wanted.name, wanted.container)
    if live.state != "running" or live.revision != wanted.revision:
        host.noop(f"{wanted.name} is started from what is written then")
        return
    yield from _written(wanted.name, runtime.files(wanted.name, live.revision, live.env))


def _written(name: str, texts: Mapping[str, tuple[str, str]]) -> Commands:
    stale = {
        path: (text, mode)
        for path, (text, mode) in texts.items()
        if difference(host.get_fact(FileState, path), digest_of(text), mode, "")
    }
    if not stale:
        host.noop(f"{name} is defined")
        return
    announce(f"{name}: definition of the process")
    for path, (text, mode) in stale.items():
        yield write_command(path, text, mode)


@operation()
def supervisor_stopped(root: str, python: str) -> Commands:
    """
    Stop every service and supervisord itself.
    """
    answer = host.get_fact(ProcessServices, python, folder_of(root))
    if not answer.ok:
        host.noop(answer.error)
        return
    announce("supervisord: stopped with everything it runs")
    yield ProcessRuntime(root=root, python=python, programs={}).ctl("ctl shutdown")
