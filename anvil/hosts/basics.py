"""What a host is: platform, memory, disk, clock, and the programs a deploy needs there."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import Answer, captured, reading

_ASK = """echo "kernel $(uname -s)"; echo "release $(uname -r)"; echo "clock $(date +%s)"
if [ -r /proc/meminfo ]; then
  awk '/^MemTotal:/ {print "total", $2 * 1024} /^MemAvailable:/ {print "available", $2 * 1024}' /proc/meminfo
else echo "total $(sysctl -n hw.memsize 2>/dev/null)"; fi
folder=$1; while [ ! -e "$folder" ] && [ "$folder" != / ]; do folder=$(dirname "$folder"); done
df -Pk "$folder" | awk 'NR == 2 {print "free", $4 * 1024}'
"""
_PROGRAMS = """for program in "$@"; do command -v "$program" >/dev/null 2>&1 || echo "$program"; done"""
_MODULES = """command -v "$1" >/dev/null 2>&1 || exit 127
python=$1; shift
for module in "$@"; do
  "$python" -c 'import importlib, sys; importlib.import_module(sys.argv[1])' "$module" 2>/dev/null || echo "$module"
done
"""


class BasicsAnswer(Answer, frozen=True, kw_only=True):
    """Sizes in bytes, `clock` in seconds since 1970; 0 = not told. `free_bytes` counts the disk that holds the path."""

    kernel: str = ""
    wsl: bool = False
    clock: int = 0
    memory_bytes: int = 0
    available_bytes: int = 0
    free_bytes: int = 0


class MissingAnswer(Answer, frozen=True, kw_only=True):
    missing: tuple[str, ...] = ()


class LoginAnswer(Answer, frozen=True, kw_only=True):
    root: bool = False


class LoggedIn(FactBase[LoginAnswer]):
    """Whether commands run there as root, by login or by sudo."""

    def command(self) -> StringCommand:
        return captured("id -u")

    def process(self, output: list[str]) -> LoginAnswer:
        return LoginAnswer(status="ok", root=reading(output).text.strip() == "0")


class HostBasics(FactBase[BasicsAnswer]):
    def command(self, path: str) -> StringCommand:
        return captured(_ASK, path)

    def process(self, output: list[str]) -> BasicsAnswer:
        got = reading(output)
        told = dict(line.split(" ", 1) for line in got.lines if " " in line)
        number = {key: int(float(told.get(key) or 0)) for key in ("clock", "total", "available", "free")}
        return BasicsAnswer(
            status="ok" if told.get("kernel") else "error",
            error=got.text.strip() if got.code else "",
            kernel=told.get("kernel", ""),
            wsl="microsoft" in told.get("release", "").lower(),
            clock=number["clock"],
            memory_bytes=number["total"],
            available_bytes=number["available"],
            free_bytes=number["free"],
        )


class MissingPrograms(FactBase[MissingAnswer]):
    """Of these programs (names or absolute paths), the ones the host does not have."""

    def command(self, programs: list[str]) -> StringCommand:
        return captured(_PROGRAMS, *programs)

    def process(self, output: list[str]) -> MissingAnswer:
        return MissingAnswer(status="ok", missing=tuple(reading(output).lines))


class MissingModules(FactBase[MissingAnswer]):
    """Of these Python modules, the ones that interpreter cannot import; "tool_missing" when it does not exist."""

    def command(self, python: str, modules: list[str]) -> StringCommand:
        return captured(_MODULES, python, *modules)

    def process(self, output: list[str]) -> MissingAnswer:
        got = reading(output)
        if got.code == 127:
            return MissingAnswer(status="tool_missing", error="the interpreter was not found")
        return MissingAnswer(status="ok", missing=tuple(got.lines))
