"""Model weights in a docker volume that holds a Hugging Face cache: what is complete, and one pull at a time."""

from __future__ import annotations

import json

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce, warn
from anvil.hosts.docker import DockerDaemon, ask, classify
from anvil.hosts.services import failing
from anvil.hosts.shell import COMMAND_SECONDS, Answer, Commands, Struct, reading, streamed

CACHE = "/root/.cache/huggingface"
NO_IMAGE = 45  # Exit status of a look that could not be taken: nothing is run for it, least of all in a dry run.
LOOK_SECONDS = 120  # A cold volume of many thousand files is walked once.
PULL_SECONDS = 24 * 3600
# Runs inside the image, which has a shell: the commit that the revision names, and what of it is there.
_LOOK = f"""cd "{CACHE}/hub/models--$1" 2>/dev/null || exit 0
commit=$(cat "refs/$2" 2>/dev/null || true)
[ -n "$commit" ] || commit=$2
[ -d "snapshots/$commit" ] || exit 0
echo "commit $commit"
echo "bytes $(du -skL "snapshots/$commit" | cut -f1)"
ls blobs/*.incomplete 2>/dev/null | sed "s/^/incomplete /"
find "snapshots/$commit" -type l ! -exec test -e {{}} \\; -print | sed "s/^/broken /"
find "snapshots/$commit" ! -type d -print | head -n 1 | sed "s/^/file /"
"""
_HAVE_IMAGE = f"""told=$(limited {COMMAND_SECONDS} docker image inspect "$2" 2>&1) || {{
  code=$?
  case $told in *'o such image'*) exit {NO_IMAGE} ;; *) printf '%s\\n' "$told"; exit $code ;; esac
}}
"""
# A volume that is not there would be made by the look; there is nothing in it to see.
_HAVE_VOLUME = f"""told=$(limited {COMMAND_SECONDS} docker volume inspect "$1" 2>&1) || {{
  code=$?
  case $told in *'o such volume'*) exit 0 ;; *) printf '%s\\n' "$told"; exit $code ;; esac
}}
"""
# Two pulls into one cache dead-lock on the cache's own lock: ours is taken first. The token goes by name, on no argv.
_PULL = f"""umask 077
root=$1 lock=$2; shift 2
exec 9>>"$lock" || exit 1
flock -w 30 9 || {{ echo "busy: another pull holds $lock" >&2; exit 12; }}
timeout {PULL_SECONDS} env -i PATH="$PATH" HOME="$HOME" ${{DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"}} sh -c '
  [ ! -f "$0/secrets.env" ] || . "$0/secrets.env"
  export HF_TOKEN
  exec "$@"' "$root" "$@" </dev/null 9>&-
"""
# Runs inside the image, whose engine has the hub's client: what of the wanted files the volume still lacks, in bytes.
SIZE = """import fnmatch, json, os, sys
from huggingface_hub import HfApi
repo, revision, folder, include, exclude = sys.argv[1:4] + [json.loads(word) for word in sys.argv[4:6]]
def named(file, patterns):
    return any(fnmatch.fnmatch(file, each + "*" if each.endswith("/") else each) for each in patterns)
missing = 0
for file in HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=30).siblings:
    if (include and not named(file.rfilename, include)) or named(file.rfilename, exclude):
        continue
    blob = os.path.join(folder, "blobs", file.lfs.sha256 if file.lfs else file.blob_id)
    if not os.path.exists(blob):
        part = blob + ".incomplete"
        missing += (file.size or 0) - (os.path.getsize(part) if os.path.exists(part) else 0)
print("missing", missing)
"""
_SIZE = f"""root=$1 volume=$2; shift 2
[ ! -f "$root/secrets.env" ] || . "$root/secrets.env"
export HF_TOKEN
! limited {COMMAND_SECONDS} docker volume inspect "$volume" >/dev/null 2>&1 || set -- -v "$volume:{CACHE}:ro" "$@"
limited 90 docker run --rm --pull never -e HF_TOKEN "$@"
"""
SPARE = 1.05  # Beside the weights, the volume takes lock files, links and what else is written meanwhile.


class SnapshotAnswer(Answer, frozen=True, kw_only=True):
    """`complete`: every file of the commit is there and no download of the repository was left half-way."""

    commit: str = ""
    complete: bool = False
    size_bytes: int = 0
    incomplete: tuple[str, ...] = ()


class Weights(Struct, frozen=True, kw_only=True):
    """One repository at one revision, pulled and looked at with the serve's own image."""

    volume: str
    image: str
    repo: str
    revision: str = "main"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class HfSnapshot(FactBase[SnapshotAnswer]):
    """Reads the volume through a throw-away, read-only container without a network; never contacts the hub."""

    def command(self, volume: str, image: str, repo: str, revision: str) -> StringCommand:
        run = f"limited {LOOK_SECONDS} docker run --rm --pull never --network none --entrypoint sh -v"
        folder = repo.replace("/", "--")
        look = f'{run} "$1:{CACHE}:ro" "$2" -c "$3" look "$4" "$5"'
        return ask(_HAVE_IMAGE + _HAVE_VOLUME + look, volume, image, _LOOK, folder, revision)

    def process(self, output: list[str]) -> SnapshotAnswer:
        got = reading(output)
        if got.code == NO_IMAGE:
            return SnapshotAnswer(status="absent", error="its image is not on this host, nothing can look")
        status, error = classify(got)
        if status != "ok":
            return SnapshotAnswer(status=status, error=error)
        rows = [(key, value) for key, _, value in (line.partition(" ") for line in got.lines)]
        told = dict(rows)
        if "commit" not in told:
            return SnapshotAnswer(status="absent")
        bad = tuple(value for key, value in rows if key in ("incomplete", "broken"))
        size = told.get("bytes", "0").strip()
        return SnapshotAnswer(
            status="ok",
            commit=told["commit"],
            complete="file" in told and not bad,
            size_bytes=int(size) * 1024 if size.isdigit() else 0,
            incomplete=bad,
        )


class SizeAnswer(Answer, frozen=True, kw_only=True):
    """What a pull would still fetch. Anything but "ok": the hub did not tell."""

    missing_bytes: int = 0


class HubSize(FactBase[SizeAnswer]):
    """Asks the hub for the repository's files and their sizes, with the same image and token that would pull them."""

    def command(
        self,
        volume: str,
        image: str,
        repo: str,
        revision: str,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        root: str,
    ) -> StringCommand:
        folder = f"{CACHE}/hub/models--{repo.replace('/', '--')}"
        told = (repo, revision, folder, json.dumps(include), json.dumps(exclude))
        return ask(_SIZE, root, volume, "--entrypoint", "python3", image, "-c", SIZE, *told)

    def process(self, output: list[str]) -> SizeAnswer:
        got = reading(output)
        told = [line.removeprefix("missing ") for line in got.lines if line.startswith("missing ")]
        if got.code or not told or not told[-1].isdigit():
            return SizeAnswer(status="error", error=(got.lines or ["no answer"])[-1][:200])
        return SizeAnswer(status="ok", missing_bytes=int(told[-1]))


def no_room(size: SizeAnswer, free_bytes: int) -> str:
    """Why the disk cannot take the pull, or ""; sizes in GB as vendors count them."""
    if not size.ok or not free_bytes or free_bytes >= size.missing_bytes * SPARE:
        return ""
    needed = size.missing_bytes * SPARE / 1e9
    return f"{needed:.1f} GB are needed on docker's disk, {free_bytes / 1e9:.1f} GB are free"


@operation()
def weights_present(weights: Weights, root: str, refresh: bool = False) -> Commands:
    """
    Have the repository's files in the volume; an interrupted pull goes on where it stopped.

    + refresh: ask the hub for the revision's current commit although a complete one is there
    """
    mine = (weights.volume, weights.image, weights.repo, weights.revision)
    live = host.get_fact(HfSnapshot, *mine)
    if live.ok and live.complete and not refresh:
        host.noop(f"{weights.repo} is complete at {live.commit}")
        return
    if live.status in ("daemon_down", "tool_missing"):
        yield failing(f"{weights.repo}: {live.error}")
        return
    unseen = live.status == "absent" and live.error
    blocked = "" if unseen else _no_room_for(weights, root)
    if blocked:
        announce(f"{weights.repo}: {blocked}")
        yield failing(f"{weights.repo}: {blocked}")
        return
    missing = f"{len(live.incomplete)} files are incomplete" if live.ok else unseen or "not in the volume"
    announce(f"{weights.repo}: {'refreshed' if live.ok and live.complete else missing}")
    yield streamed(_PULL, root, f"{root}/weights-{weights.volume}.lock", *pull(weights))


def _no_room_for(weights: Weights, root: str) -> str:
    mine = (weights.volume, weights.image, weights.repo, weights.revision, weights.include, weights.exclude)
    size = host.get_fact(HubSize, *mine, root)
    if not size.ok:
        warn(f"{weights.repo}: free space is not checked, the hub did not tell the size: {size.error}")
    return no_room(size, host.get_fact(DockerDaemon).free_bytes)


def pull(weights: Weights) -> tuple[str, ...]:
    """The one command that downloads: `hf` of the serve's own image, with no secret but HF_TOKEN, by name."""
    patterns = [word for each in weights.include for word in ("--include", each)]
    patterns += [word for each in weights.exclude for word in ("--exclude", each)]
    run = ("docker", "run", "--rm", "-e", "HF_TOKEN", "-v", f"{weights.volume}:{CACHE}", "--entrypoint", "hf")
    return (*run, weights.image, "download", weights.repo, "--revision", weights.revision, *patterns)
