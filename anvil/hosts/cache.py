"""Cached models of a docker volume: what nothing there keeps, told by `anvil prune`, and their removal by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationValueError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce
from anvil.hosts.docker import ask, classify, documents, locked
from anvil.hosts.services import failing
from anvil.hosts.shell import COMMAND_SECONDS, Answer, Commands, Struct, reading

MOUNT = "/cache"
SCAN_SECONDS = 300
_FOLDER = re.compile(rf"{MOUNT}/(hub/)?models--[A-Za-z0-9_.-]+")
# Docker would make a volume that is not there: a look must not.
_SCAN = f"""limited {COMMAND_SECONDS} docker volume inspect "$1" >/dev/null || exit $?
set -- -v "$1:{MOUNT}:ro" --entrypoint anvil "$2" prune --roots {MOUNT} --json
set -- --rm --pull never --network none --read-only --tmpfs /tmp --user 0:0 "$@"
said=$(limited {SCAN_SECONDS} docker run "$@") || exit $?
printf '%s' "$said" | tr -d '\\n'
"""
# What a container runs with stays on the host: its environment may hold secrets. Only the names that occur come back.
_NAMED = f"""ids=$(limited {COMMAND_SECONDS} docker ps -aq) || exit $?
[ -n "$ids" ] || exit 0
told=$(limited {COMMAND_SECONDS} docker inspect $ids) || exit $?
for repo in "$@"; do
  folder=models--$(printf %s "$repo" | sed 's|/|--|g')
  ! printf '%s' "$told" | grep -qiF -e "$repo" -e "$folder" || echo "named $repo"
done
exit 0
"""
# One folder after the other, each judged once more where it lies; what is gone is said.
_REMOVE = """status=0
for each; do
  [ -d "$each" ] && [ ! -L "$each" ] || { echo "$each: is no folder" >&2; status=1; continue; }
  rm -rf -- "$each" && echo "removed $each" || status=1
done
exit $status"""


class CachedModel(Struct, frozen=True, kw_only=True):
    """One model of a cache, as `anvil prune` found it. `path` is inside the container that scanned; sizes in bytes,
    times in epoch seconds."""

    repo: str
    path: str
    size_bytes: int
    format: str = "?"
    whole: bool = True
    real: bool = True
    incomplete_since: float | None = None
    hazards: tuple[str, ...] = ()


class ModelsAnswer(Answer, frozen=True, kw_only=True):
    models: tuple[CachedModel, ...] = ()


class NamesAnswer(Answer, frozen=True, kw_only=True):
    names: tuple[str, ...] = ()


class VolumeModels(FactBase[ModelsAnswer]):
    """Every cached model of a volume, read without a network; `image` is the router's, which has the command."""

    def command(self, volume: str, image: str) -> StringCommand:
        return ask(_SCAN, volume, image)

    def process(self, output: list[str]) -> ModelsAnswer:
        got = reading(output)
        status, error = classify(got)
        if status != "ok":
            return ModelsAnswer(status=status, error=error)
        plan: dict[str, Any] = next((each for each in documents(got.text) if isinstance(each, dict)), {})
        if plan.get("schema") != "anvil.prune/v1":
            return ModelsAnswer(status="error", error=f"`anvil prune` answered {got.text[:200]!r}")
        try:
            return ModelsAnswer(status="ok", models=msgspec.convert(plan.get("candidates"), tuple[CachedModel, ...]))
        except msgspec.ValidationError:
            return ModelsAnswer(status="error", error="the router's image is too old for this: it lists no models")


class NamedByContainers(FactBase[NamesAnswer]):
    """Which of some repositories any container of the host names, running or not."""

    def command(self, repos: tuple[str, ...]) -> StringCommand:
        return ask(_NAMED, *repos)

    def process(self, output: list[str]) -> NamesAnswer:
        got = reading(output)
        status, error = classify(got)
        if status != "ok":
            return NamesAnswer(status=status, error=error)
        return NamesAnswer(
            status="ok", names=tuple(line.removeprefix("named ") for line in got.lines if line.startswith("named "))
        )


@operation()
def models_removed(volume: str, image: str, root: str, doomed: Mapping[str, tuple[str, str]]) -> Commands:
    """
    Remove cached models from a volume for good.

    + doomed: the folder of each, and the repository and why it goes; what a container names meanwhile is left alone
    """
    for path in doomed:
        if not _FOLDER.fullmatch(path) or ".." in path:
            raise OperationValueError(f"{path!r} is no model folder of a cache")
    live = host.get_fact(VolumeModels, volume, image)
    named = host.get_fact(NamedByContainers, tuple(repo for repo, _ in doomed.values()))
    if not live.ok or not named.ok:
        yield failing(f"{volume}: {live.error or named.error}")
        return
    there = {model.path: model for model in live.models}
    paths = [path for path, (repo, _) in doomed.items() if path in there and repo not in named.names]
    if not paths:
        host.noop(f"{volume}: nothing to remove")
        return
    for path in paths:
        announce(f"{volume}: {doomed[path][0]}: {there[path].size_bytes} bytes, {doomed[path][1]}: removed")
    mount = ("-v", f"{volume}:{MOUNT}", "--user", "0:0", "--entrypoint", "sh", image)
    run = ("docker", "run", "--rm", "--pull", "never", "--network", "none", "--read-only")
    yield locked(root, *run, *mount, "-c", _REMOVE, "remove", *paths)
