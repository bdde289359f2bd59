"""Content-addressed releases: a folder named by its hash, a `current` link, and a script on the host that swings it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce, show_diff, wants_diff, warn
from anvil.hosts.containers import ComposeServices
from anvil.hosts.docker import ask, classify
from anvil.hosts.files import FileText
from anvil.hosts.probe import Http
from anvil.hosts.services import failing
from anvil.hosts.shell import COMMAND_SECONDS, Answer, Commands, Struct, captured, reading, script, streamed

GO_LIVE_SECONDS = 900
VALIDATED = "check.json"  # What the release's own loader said of it; beside the release, not part of its hash.
_NOT_HASHED = ("RELEASE", "release.json", VALIDATED)

_STATE = """cd "$1" 2>/dev/null || exit 44
for link in current previous; do
  target=$(readlink "$link" 2>/dev/null) && echo "$link ${target##*/}"
done
for folder in releases/*/; do [ -d "$folder" ] && folder=${folder%/} && echo "release ${folder##*/}"; done
for id in $( (readlink current; readlink previous) 2>/dev/null | sort -u); do
  [ ! -f "$id/release.json" ] || { printf 'json '; tr -d '\\n' < "$id/release.json"; echo; }
done
exit 0
"""
_FILES = """cd "$1/releases/$2" 2>/dev/null || exit 44
for file in *; do [ ! -f "$file" ] || sha256sum "$file" 2>/dev/null || shasum -a 256 "$file"; done
echo "asked $(id -u)"
for file in . *; do stat -c 'kept %n %a %u %g' "$file" 2>/dev/null || stat -f 'kept %N %Lp %u %g' "$file"; done
"""
# Who may read a release: the container's user by its group, nobody else; what root laid down is root's.
_KEPT = """cd "$1" || exit 1
chmod "$3" . && chmod "$4" ./* || exit 1
[ "$(id -u)" != 0 ] || chown 0 . ./* || exit 1
[ -z "$2" ] || chgrp "$2" . ./*
"""
# Standard input: the length of what follows, then the files as base64 of a tar. In a folder of its own, because a run
# that was cut off may still be judging there; judged by the release's own loader, then moved in whole. What the loader
# said is kept; a refusal, a full disk and a dropped link leave nothing behind.
_STAGE = """root=$1 id=$2 group=$3 folder=$4 file=$5; shift 5
umask 027
staged=$(mktemp -d "$root/releases/.$id-XXXXXXXX") || exit 1
trap 'rm -rf "$staged"' EXIT
trap 'exit 1' HUP INT TERM PIPE
stop() { echo "REJECTED: $1; nothing was staged" >&2; exit 1; }
IFS= read -r size && cat > "$staged/.sent" || stop "the files could not be written"
[ "$(($(wc -c < "$staged/.sent")))" -eq "$size" ] || stop "the files were cut short"
base64 -d < "$staged/.sent" > "$staged/.tar" && tar -xof "$staged/.tar" -C "$staged" ||
  stop "the files could not be written"
rm "$staged/.sent" "$staged/.tar"
chmod "$folder" "$staged" && chmod "$file" "$staged"/* || exit 1
[ -z "$group" ] || chgrp -R "$group" "$staged" || exit 1
for word; do
  case $word in *'{staged}'*) word="${word%%'{staged}'*}$staged${word#*'{staged}'}" ;; esac
  set -- "$@" "$word"
  shift
done
if ! said=$("$@" </dev/null); then printf 'REJECTED by its own loader: %s\\n' "$said" >&2; exit 1; fi
printf '%s\\n' "$said" > "$staged/check.json" || stop "what its loader says could not be written"
chmod "$file" "$staged/check.json" && { [ -z "$group" ] || chgrp "$group" "$staged/check.json"; } || exit 1
sync
[ ! -e "$root/releases/$id" ] || mv "$root/releases/$id" "$staged.old" || exit 1
mv "$staged" "$root/releases/$id" || { mv "$staged.old" "$root/releases/$id"; exit 1; }
rm -rf "$staged.old" "$root/releases/$id/${staged##*/}"
"""
_JUDGE = """said=$("$@" </dev/null) || { printf 'REJECTED by its own loader: %s\n' "$said" >&2; exit 1; }"""
_DROP = 'rm -rf "$1/releases/$2"'


class ReleasesAnswer(Answer, frozen=True, kw_only=True):
    """`sources` maps the ids of current and previous to "inventory" or "candidate"."""

    current: str = ""
    previous: str = ""
    ids: tuple[str, ...] = ()
    sources: dict[str, str] = msgspec.field(default_factory=dict)


class FilesAnswer(Answer, frozen=True, kw_only=True):
    """`kept` maps a file, or "." for the folder, to its mode, user and group in numbers; `asked_by` is who looked."""

    digests: dict[str, str] = msgspec.field(default_factory=dict)
    asked_by: str = ""
    kept: dict[str, tuple[str, str, str]] = msgspec.field(default_factory=dict)

    def wrongly_kept(self, group: str, folder: str, file: str) -> str:
        """What the release's user could not read, or another could change, as a sentence; "" = as it was laid down."""
        for name, (mode, user, owned) in self.kept.items():
            wanted = folder if name == "." else file
            if mode != wanted:
                return f"{name}: mode {mode} -> {wanted}"
            if group.isdigit() and owned != group:
                return f"{name}: group {owned} -> {group}"
            if self.asked_by == "0" and user != "0":
                return f"{name}: owned by user {user}"
        return ""


class HealthAnswer(Answer, frozen=True, kw_only=True):
    """`error` says why there is no answer."""

    release: str = ""
    config_hash: str = ""
    uptime_s: float = 0.0


class ReleaseState(FactBase[ReleasesAnswer]):
    """What lies under `<root>/router`."""

    def command(self, folder: str) -> StringCommand:
        return captured(_STATE, folder)

    def process(self, output: list[str]) -> ReleasesAnswer:
        got = reading(output)
        if got.code:
            return ReleasesAnswer(status="absent" if got.code == 44 else "error", error=got.text.strip())
        rows = [line.split(" ", 1) for line in got.lines if " " in line]
        links = {key: value for key, value in rows if key in ("current", "previous")}
        told = [_json(value) for key, value in rows if key == "json"]
        return ReleasesAnswer(
            status="ok",
            current=links.get("current", ""),
            previous=links.get("previous", ""),
            ids=tuple(value for key, value in rows if key == "release"),
            sources={str(each["id"]): str(each.get("source", "")) for each in told if "id" in each},
        )


class ReleaseFiles(FactBase[FilesAnswer]):
    """SHA-256 of every file of one release."""

    def command(self, folder: str, release: str) -> StringCommand:
        return captured(_FILES, folder, release)

    def process(self, output: list[str]) -> FilesAnswer:
        got = reading(output)
        if got.code:
            return FilesAnswer(status="absent" if got.code == 44 else "error", error=got.text.strip())
        kept = [line.split(" ")[1:] for line in got.lines if line.startswith("kept ") and line.count(" ") == 4]
        rows = [line.split(None, 1) for line in got.lines if len(line.split(None, 1)) == 2]
        return FilesAnswer(
            status="ok",
            digests={name.lstrip("*"): digest for digest, name in rows if digest not in ("kept", "asked")},
            asked_by=next((line.removeprefix("asked ") for line in got.lines if line.startswith("asked ")), ""),
            kept={name: (mode, user, group) for name, mode, user, group in kept},
        )


class RouterHealth(FactBase[HealthAnswer]):
    """/healthz asked from inside the router's container: it needs no published address."""

    def command(self, container: str) -> StringCommand:
        return ask(f'limited {COMMAND_SECONDS} docker exec "$1" anvil probe --healthz', container)

    def process(self, output: list[str]) -> HealthAnswer:
        got = reading(output)
        status, error = classify(got)
        return health(got.text) if status == "ok" else HealthAnswer(status=status, error=error)


def health(body: str) -> HealthAnswer:
    """A /healthz body as an answer."""
    told = _json(body)
    if "release" not in told:
        return HealthAnswer(status="error", error=f"/healthz says {body.strip()[:200]}")
    return HealthAnswer(
        status="ok",
        release=str(told["release"] or ""),
        config_hash=str(told.get("config_hash") or ""),
        uptime_s=float(told.get("uptime_s") or 0.0),
    )


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Place(Struct, frozen=True, kw_only=True):
    """Where the router's releases lie and how its loader and its health are asked.

    `validator` judges the staged folder; `{staged}` in a word stands for its path. Without a `container` the router is
    a process, asked over `health_url`. `group` owns the files, which the container's user must read; "" = left alone.
    `everyone`: the host's other users may read them, where no group lets the container's user do so.
    `project` is the router's compose project. `holder_revision` is the wanted definition of its service `socket` where
    that one holds the published port; "" = the router publishes it itself.
    """

    folder: str
    validator: tuple[str, ...]
    health_url: str
    container: str = ""
    group: str = ""
    everyone: bool = False
    project: str = ""
    holder_revision: str = ""

    @property
    def modes(self) -> tuple[str, str]:
        """Of a release's folder and of its files."""
        return ("755", "644") if self.everyone else ("750", "640")


def unreached(on: Host, place: Place) -> str:
    """Why callers do not reach the router, or not it alone, although it answers inside its container; "" = they do."""
    if not place.project:
        return ""
    found = on.get_fact(ComposeServices, place.project)
    held = (("socket", place.holder_revision),) if place.holder_revision else ()
    for service, revision in (("router", ""), *held):
        live = found.of(service)
        if live.state != "running":
            return f"{service} of {place.project} is {live.error or live.state}"
        if live.detached:
            return f"{live.container} has lost its network"
        if revision and live.revision != revision:
            return f"{live.container} publishes another address"
    left = found.of("next")
    return "" if not held or left.state == "absent" else f"{left.container} was left behind by a run that was cut off"


def answering(on: Host, place: Place) -> HealthAnswer:
    """What the running router says of itself."""
    if place.container:
        return on.get_fact(RouterHealth, place.container)
    told = on.get_fact(Http, place.health_url)
    if not told.ok:
        return HealthAnswer(status=told.status, error=told.error or "the router does not answer")
    return health(told.body)


@operation()
def release_staged(
    place: Place, release: str, files: dict[str, str], about: dict[str, Any], agrees: Callable[[Mapping[str, Any]], str]
) -> Commands:
    """
    Lay a release down, judged by its own loader; what is live is not touched.

    + files: the texts the id is taken over
    + about: release.json, the id's story
    + agrees: compares the loader's report with the intent
    """
    live = host.get_fact(ReleaseFiles, place.folder, release)
    wanted = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    held = {name: digest for name, digest in live.digests.items() if name not in _NOT_HASHED}
    if live.ok and held == wanted and VALIDATED in live.digests:
        if not (wrong := live.wrongly_kept(place.group, *place.modes)):
            _show(place, files)  # one that was live before: what would change is told all the same
            host.noop(f"release {release} is staged")
            return
        announce(f"release {release}: {wrong}")
        yield script(_KEPT, f"{place.folder}/releases/{release}", place.group, *place.modes)
        return
    announce(f"release {release}: staged and validated")
    _show(place, files)
    texts = {**files, "RELEASE": f"{release}\n", "release.json": json.dumps(about, sort_keys=True) + "\n"}
    sent = _packed(texts)
    words = (place.folder, release, place.group, *place.modes, *place.validator)
    yield script(_STAGE, *words, _stdin=f"{len(sent)}\n{sent}")
    said = _json(host.get_fact(FileText, f"{place.folder}/releases/{release}/{VALIDATED}").text)
    for line in unserved(said):
        host.log_styled(f"WARN {line}", fg="yellow")
    if differing := agrees(said):
        yield script(_DROP, place.folder, release)
        yield failing(f"release {release} REJECTED: its loader reads it otherwise than meant: {differing}")


def unserved(said: Mapping[str, Any]) -> list[str]:
    """Presets that no tier may serve whatever runs, in the loader's own words. It judges without the keys of cloud
    tiers: a preset whose tiers lack only that is not among them."""
    offered = said.get("presets") or {}
    closed = {
        preset
        for preset in said.get("unservable") or ()
        if all(row.get("gate") in ("denied", "metered") for row in offered.get(preset) or ())
    }
    told = [str(line) for line in said.get("warnings") or ()]
    return [
        next(
            (line for line in told if line.startswith(f'preset "{preset}"')), f'preset "{preset}": no tier may serve it'
        )
        for preset in sorted(closed)
    ]


def _packed(texts: Mapping[str, str]) -> str:
    """The files as base64 of a tar, in lines."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, text in sorted(texts.items()):
            entry, content = tarfile.TarInfo(name), text.encode()
            entry.size, entry.mode = len(content), 0o640
            tar.addfile(entry, io.BytesIO(content))
    return base64.encodebytes(held.getvalue()).decode()


def _show(place: Place, files: Mapping[str, str]) -> None:
    if wants_diff():
        for name, text in sorted(files.items()):
            show_diff(name, host.get_fact(FileText, f"{place.folder}/current/{name}").text, text)


@operation()
def release_live(place: Place, release: str, owner: str, source: str) -> Commands:
    """
    Make the release the one that answers; the script on the host settles it or rolls it back by itself.

    + owner: who is at it, for the lock and the evidence
    """
    state = host.get_fact(ReleaseState, place.folder)
    live = answering(host, place)
    said = _json(host.get_fact(FileText, f"{place.folder}/releases/{release}/{VALIDATED}").text)
    meant = live.config_hash == str(said.get("config_hash") or live.config_hash)
    apart = unreached(host, place) if live.ok else ""
    if state.current == release and live.release == release and meant and not apart:
        for line in unserved(said):
            warn(line)
        host.noop(f"release {release} is live")
        return
    running = f"release {live.release} answers" if live.ok else f"nothing answers ({live.error})"
    edited = "" if meant or live.release != release else ", with files that were changed by hand"
    announce(f"release {state.current or 'none'} -> {release}; {running}{edited}{apart and f'; {apart}'}")
    presets = [preset for preset in said.get("presets") or () if preset not in (said.get("unservable") or ())]
    words = (release, str(said.get("config_hash") or "-"), owner, source, *presets)
    yield streamed('exec /bin/sh "$@"', f"{place.folder}/go-live.sh", *words, _timeout=GO_LIVE_SECONDS)


@operation()
def release_validated(place: Place, release: str) -> Commands:
    """
    Ask a release's own loader about it again, before anything points at it.
    """
    if host.get_fact(ReleaseState, place.folder).current == release:
        host.noop(f"release {release} is current")
        return
    folder = f"{place.folder}/releases/{release}"
    yield streamed(_JUDGE, *(word.replace("{staged}", folder) for word in place.validator))
