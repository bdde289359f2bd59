"""``anvil harness render``: a client's configuration from a topology, without a router to ask (contract lab.md 12)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from anvil.cli import harness_change
from anvil.cli.ending import stop
from anvil.cli.exit_codes import USAGE
from anvil.cli.harness_change import changed, settle, show_document
from anvil.cli.harness_router import described
from anvil.harness import HARNESSES
from anvil.harness.joining import Joined
from anvil.harness.json5_document import dumped
from anvil.harness.model import Document, File, Router

ALLOWLIST_CLIENT = "openclaw"
# From this generation on agents.defaults.modelPolicy is what allows, and the map is only for pickers.
WITH_MODEL_POLICY = "2026.9"


def render(client: str, topology: Path | None, base_url: str | None, token_env: str | None, **options: Any) -> None:
    """What the command does; its options are declared beside the other ``anvil harness`` commands."""
    out, merge_into, release = options["out"], options["merge_into"], options["release"]
    known = HARNESSES[client]
    generation = known.generation(release) if release else ""
    if generation is None:
        raise stop(f"version {release!r} is not known; use one of {', '.join(known.versions) or 'none'}", USAGE)
    if out and merge_into:
        raise stop("use either --out or --merge-into", USAGE)
    router = described(topology, base_url, token_env)
    options["allowlist"] = options["allowlist"] and _has_allowlist(client, generation)
    document = known.render(router, generation)
    if options["allowlist"]:
        document = with_allowlist(document, router)
    if out or merge_into:
        outcome = _placed(client, document, options)
        if options["as_json"]:
            harness_change.report("render", client, [outcome])
    elif options["as_json"]:
        click.echo(_document(client, router, document))
    else:
        show_document(document)


def _has_allowlist(client: str, release: str) -> bool:
    if client != ALLOWLIST_CLIENT:
        raise stop(f"--allowlist is for {ALLOWLIST_CLIENT}; {client} has no such map", USAGE)
    if release == WITH_MODEL_POLICY:
        click.echo(f"note: {release} allows through agents.defaults.modelPolicy; no map is written", err=True)
    return release != WITH_MODEL_POLICY


def with_allowlist(document: Document, router: Router) -> Document:
    """With ``agents.defaults.models``: in older releases its presence hides every model that is not in it."""
    (file,) = document.files
    content: dict[str, Any] = copy.deepcopy(dict(file.content))
    content["agents"]["defaults"]["models"] = {f"anvil/{model.id}": {} for model in router.models}
    return replace(document, files=(replace(file, content=content, text=dumped(content)),))


def _placed(client: str, document: Document, options: dict[str, Any]) -> harness_change.Outcome:
    out, merge_into, as_json = options["out"], options["merge_into"], options["as_json"]
    if len(document.files) != 1:
        raise stop(f"{client} has {len(document.files)} files; print them without --out", USAGE)
    (file,) = document.files
    if merge_into is not None:
        _parent(merge_into, options["mkdir"])
        return settle(merge_into, *changed(client, file, merge_into, options), as_json=as_json)
    if out.exists() and not options["force"]:
        raise stop(f"{out} is there already; use --merge-into to join it, or --force to replace it", USAGE)
    _parent(out, options["mkdir"])
    return settle(out, out.read_bytes() if out.exists() else None, _whole(file), as_json=as_json)


def _whole(file: File) -> Joined:
    return Joined(file.text, "", "")


def _parent(path: Path, mkdir: bool) -> None:
    if mkdir:
        harness_change.make_folder(path.parent)
    elif not path.parent.is_dir():
        raise stop(f"{path.parent}: no such folder; create it or give --mkdir", USAGE)


def _document(client: str, router: Router, document: Document) -> str:
    content = {
        "schema": "anvil.harness-render/v1",
        "harness": client,
        "env": document.env,
        "models": router.models,
        "files": document.files,
        "notes": document.notes,
    }
    return msgspec.json.encode(content).decode()
