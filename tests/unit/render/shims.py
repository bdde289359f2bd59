"""A scripted container engine, clock and supervisor on PATH, for running go-live.sh in seconds of fake time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from anvil.render import golive
from anvil.topology.load import loads
from tests.unit.topology.example import ENVIRON, EXAMPLE, LOCAL, document

OLD, NEW, OTHER = "a" * 16, "b" * 16, "c" * 16
HASH = "f" * 16

# What runs is described by files in state/: live = the running release, since = its start, base = restarts so far.
# behaviour/ID: ok, crash-N (dies N s after its start, every time), mute (no good answer), stale (answers as another
# release), poor (lacks a preset), hashless (another config hash), unstartable.
_WORLD = """
here=${0%/*} state=${0%/*}/../state
read -r root <"$here/root"
read -r now <"$state/clock" || :
get() { value=$2; [ ! -f "$state/$1" ] || read -r value <"$state/$1" || :; }
current() { link=$(readlink "$root/router/current"); link=${link##*/}; }
of=  # "next-" for the router that takes callers while the other one is replaced
load() {
  get "${of}live" ''; live=$value
  get "${of}since" 0; since=$value
  get "${of}base" 0; base=$value
  get "behaviour/$live" ok; how=$value
  age=$((now - since))
}
crashed() { case $how in crash-*) [ "$age" -ge "${how#crash-}" ] ;; *) false ;; esac; }
begin() {
  current
  echo "$link" >"$state/${of}live"
  echo "$now" >"$state/${of}since"
  echo "$1" >"$state/${of}base"
  load
}
tick() {  # the restart policy relaunches a dead router with whatever is current
  load
  status=running restarts=$base
  [ -n "$of" ] || [ ! -e "$state/stopped" ] || { status=exited; return; }
  crashed || return 0
  [ -z "$of" ] || { status=exited; return; }
  restarts=$((base + 1 + (age - ${how#crash-}) / 2))
  status=restarting
  current
  [ "$link" = "$live" ] || { begin "$restarts"; status=running; }
}
probe() {
  [ "$status" = running ] && [ "$how" != mute ] || return 1
  release=$live hash=HASH
  [ "$how" != stale ] || release=0000000000000000
  [ "$how" != hashless ] || hash=0000000000000000
  case $1 in
    --healthz) printf '{"status":"ok","release":"%s","config_hash":"%s"}\\n' "$release" "$hash" ;;
    --models) echo "$ANVIL_TOKEN_ENV" >"$state/tokens"; [ "$how" = poor ] && echo '{"data": []}' || echo '{"data": [{"id": "chat"}, {"id": "review"}]}' ;;
    --readyz) [ ! -e "$state/unready" ] ;;
  esac
}
start() {
  current
  get "behaviour/$link" ok
  [ "$value" != unstartable ] || exit 1
  rm -f "$state/stopped"
  begin 0
  cp "$root/router/current/$1" "$state/defined"
  echo "start-$now" >"$state/started"
}
""".replace("HASH", HASH)

_DOCKER = """#!/bin/sh
. "${0%/*}/world.sh"
printf '%s\\n' "$*" >>"$state/calls"
for name; do :; done
[ "$1" != exec ] || { name=$4; export "$3"; }
case $name in
  *-socket | socket)
    case "$1 $*" in
      inspect*NetworkMode*) echo anvil n1 ;;
      inspect*) [ -e "$state/socket" ] && echo "running $(cat "$state/socket")" ;;
      compose*) current; sed -n 's/.*"anvil.revision": "\\(50.*\\)".*/\\1/p' "$root/router/releases/$link/compose.yaml" >"$state/socket" ;;
      rm*) rm -f "$state/socket" ;;
      stop*) : ;;
      *) exit 64 ;;
    esac
    exit ;;
  *-next | next) of=next- ;;
esac
tick
called=$(sed -n 's/^ *container_name: "\\(.*\\)"$/\\1/p' "$state/defined" 2>/dev/null)
another() { [ -z "$of" ] && [ -n "$called" ] && [ "$1" != "$called" ]; }
label() { sed -n "s/.*\\"anvil.$1\\": \\"\\(.*\\)\\".*/\\1/p" "$state/defined" | head -n 1; }
case "$1 $2" in
  'inspect -f')
    [ -n "$live" ] || exit 1
    ! another "$name" || exit 1
    case $3 in
      *NetworkMode*) get network n1; echo "anvil $value" ;;
      *Status*) get started s0; echo "$status $restarts $value sha256:image" ;;
      *) printf '%s %s sha256:image\\n' "$(label revision)" "$(label env)" ;;
    esac ;;
  'image inspect') echo sha256:image ;;
  'network inspect') echo n1 ;;
  'ps -aq') get misnamed ''; echo "$value" ;;
  'exec '*)
    case "$*" in
      *' sh -c kill -s '*' 1') if crashed; then exit 1; fi; case $5 in *HUP*) begin "$base" ;; esac ;;
      *) ! another "$name" || exit 1; probe "$7" ;;
    esac ;;
  'rm -f') [ -n "$of" ] || exit 64; rm -f "$state/next-live" ;;
  'logs --tail' | 'stop -t') [ -n "$of" ] ;;
  'compose '*)
    case "$*" in
      *' stop router') touch "$state/stopped" ;;
      *' up -d '*' next') begin 0 ;;
      *' up -d '*) start compose.yaml; echo n1 >"$state/network" ;;
      *) exit 64 ;;
    esac ;;
  *) exit 64 ;;
esac
"""
_PYTHON = """#!/bin/sh
. "${0%/*}/world.sh"
if [ "$1" = -c ]; then exec REAL "$@"; fi
printf '%s\\n' "$*" >>"$state/calls"
tick
note() { mkdir -p "$root/supervisor/run"; printf 'x y %s\\n' "$((restarts + 1))" >"$root/supervisor/run/router"; }
verb=$5
[ "$2" != anvil ] || verb=probe
case $verb in
  probe) probe "$4" ;;
  status)
    [ -n "$live" ] || { echo 'router: ERROR (no such process)'; exit 4; }
    note
    case $status in
      running) echo 'router   RUNNING   pid 7, uptime 0:00:01' ;;
      restarting) echo 'router   BACKOFF   Exited too quickly' ;;
      *) echo 'router   STOPPED   Not started' ;;
    esac ;;
  signal) if crashed; then exit 1; fi; begin "$base" ;;
  start) start run.sh; sed -n 's/^# anvil.mark //p' "$state/defined" >"$root/router/started"; tick; note ;;
  stop) touch "$state/stopped" ;;
  update) : ;;
  *) exit 64 ;;
esac
""".replace("REAL", sys.executable)
_SLEEP = """#!/bin/sh
read -r now <"${0%/*}/../state/clock" || :
echo "$((now + $1))" >"${0%/*}/../state/clock"
"""
_DATE = """#!/bin/sh
[ "$1" = +%s ] && read -r now <"${0%/*}/../state/clock" && echo "$now" && exit
exec /bin/date "$@"
"""
_CURL = """#!/bin/sh
! [ -e "${0%/*}/../state/unreachable" ]
"""


class Ran(NamedTuple):
    code: int
    said: str
    calls: list[str]
    evidence: list[dict[str, Any]]
    current: str | None
    previous: str | None


class World:
    """One host: a root directory with staged releases, and the programs go-live.sh calls."""

    def __init__(self, folder: Path, runtime: str = "compose", **router: Any) -> None:
        router = {"settle_s": 3, **router}
        self.root, self.bin, self.state = folder / "root", folder / "bin", folder / "state"
        for each in (self.root / "router" / "releases", self.bin, self.state / "behaviour"):
            each.mkdir(parents=True)
        programs = {"sleep": _SLEEP, "date": _DATE, "curl": _CURL, "docker": _DOCKER, "python": _PYTHON}
        for name, text in {**programs, "world.sh": _WORLD}.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        (self.bin / "root").write_text(f"{self.root}\n")
        (self.state / "clock").write_text("1000\n")
        self.runtime = runtime
        self.script = self._script(router)

    def _script(self, router: dict[str, Any]) -> Path:
        process = self.runtime == "process"
        machine = "here" if process else "forge"
        changes: dict[str, Any] = {f"machines/{machine}/root": str(self.root), f"machines/{machine}/platform": "linux"}
        changes |= {"router/python": str(self.bin / "python")} if process else {}
        changes |= {f"machines/{machine}/platform": router.pop("platform")} if "platform" in router else {}
        changes |= {f"router/{key}": value for key, value in router.items()}
        made = loads(tomli_w.dumps(document(changes, LOCAL if process else EXAMPLE)), ENVIRON, "t.toml")
        script = self.root / "router" / "go-live.sh"
        script.write_text(golive.text(made))
        return script

    def stage(
        self,
        release: str,
        behaviour: str = "ok",
        revision: str = "1" * 16,
        env: str = "2" * 16,
        socket: str = "",
        called: str = "",
    ) -> None:
        """``socket``: the revision of the service that holds the published port; "" = the router publishes it itself."""
        folder = self.root / "router" / "releases" / release
        folder.mkdir()
        (folder / "RELEASE").write_text(f"{release}\n")
        labels = f'      "anvil.revision": "{revision}"\n      "anvil.env": "{env}"\n'
        name = f'    container_name: "{called}"\n' if called else ""
        text = f'services:\n  "router":\n    image: "r:1"\n{name}    labels:\n{labels}'
        held = f'  "socket":\n    labels:\n      "anvil.revision": "{socket}"\n' if socket else ""
        (folder / "compose.yaml").write_text(text + held)
        (folder / "run.sh").write_text(f"#!/bin/sh\n# anvil.mark {revision} {env}\n")
        (self.state / "behaviour" / release).write_text(behaviour)

    def running(self, release: str, restarts: int = 0) -> None:
        """The release is live already and the container has been restarted this often."""
        (self.root / "router" / "current").symlink_to(f"releases/{release}")
        definition = self.root / "router" / "releases" / release
        (self.state / "live").write_text(release)
        (self.state / "since").write_text("0")
        (self.state / "base").write_text(str(restarts))
        (self.state / "defined").write_text((definition / "compose.yaml").read_text())
        (self.root / "router" / "started").write_text("1" * 16 + " " + "2" * 16 + "\n")

    def go(self, release: str, *presets: str, config_hash: str = HASH, words: list[str] | None = None) -> Ran:
        asked = (
            words
            if words is not None
            else [release, config_hash, "me@here", "inventory", *(presets or ("chat", "review"))]
        )
        environ = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.root)}
        ran = subprocess.run(
            ["sh", str(self.script), *asked], env=environ, capture_output=True, text=True, timeout=50, check=False
        )
        evidence = self.root / "router" / "promotions.jsonl"
        calls = self.state / "calls"
        return Ran(
            ran.returncode,
            ran.stderr,
            calls.read_text().splitlines() if calls.exists() else [],
            [json.loads(line) for line in evidence.read_text().splitlines()] if evidence.exists() else [],
            self.link("current"),
            self.link("previous"),
        )

    def link(self, name: str) -> str | None:
        place = self.root / "router" / name
        return place.readlink().name if place.is_symlink() else None
