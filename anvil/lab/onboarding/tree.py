"""Everything a deploy would lay out, as files below one folder: for reading, for a diff, for a machine without ssh.

Secret values never come here: a machine's wanted variables are listed by name.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from anvil.lab.writing import WriteRefused, write_whole
from anvil.render.artefacts import Artefacts, MachineArtefacts

MANIFEST = "rendered.json"
SCHEMA = "anvil.render/v1"


class Manifest(Struct, frozen=True, kw_only=True):
    """What ``rendered.json`` says; ``files`` are paths below the folder."""

    schema: str = SCHEMA
    mode: str | None
    topology_sha256: str
    release: str
    files: tuple[str, ...]
    findings: tuple[str, ...] = ()


def files(artefacts: Artefacts) -> dict[str, bytes]:
    """Contents by path; the first folder is the machine, below it the layout of contract operations.md 5.1."""
    return {
        f"{name}/{path}": content
        for name, made in artefacts.machines.items()
        for path, content in _machine(made).items()
    }


def _machine(made: MachineArtefacts) -> dict[str, bytes]:
    found = {"secrets.names": _names(made)} if made.secrets.all() else {}
    texts = {"compose.yaml": made.compose_text, "multiplexer.toml": made.multiplexer_toml}
    found |= {path: text.encode() for path, text in texts.items() if text is not None}
    definitions = list(made.processes)
    if made.release is not None:
        folder = f"router/releases/{made.release.id}"
        found |= {f"{folder}/{path}": content for path, content in made.release.files.items()}
        found["router/go-live.sh"] = made.release.go_live.encode()
        definitions += [made.release.launcher] if made.release.launcher else []
    for each in definitions:
        found[f"processes/{each.name}.json"] = msgspec.json.format(msgspec.json.encode(each), indent=2) + b"\n"
    return found


def _names(made: MachineArtefacts) -> bytes:
    rows = [f"{name} required" for name in made.secrets.required] + [
        f"{name} optional" for name in made.secrets.optional
    ]
    return ("\n".join(sorted(rows)) + "\n").encode()


def write(folder: Path, contents: dict[str, bytes], manifest: Manifest, *, force: bool, mkdir: bool) -> None:
    """Lay the files out. A folder that is not empty needs ``force``: files of an earlier rendering that are no longer
    wanted go, files that no rendering wrote stay.

    Raises WriteRefused before anything is written, and OSError.
    """
    before = _before(folder, force, mkdir)
    for path, content in contents.items():
        write_whole(folder / path, content, force=force, mkdir=True)
    for path in sorted(set(before) - set(contents)):
        (folder / path).unlink(missing_ok=True)
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    write_whole(folder / MANIFEST, text, force=force, mkdir=True)


def _before(folder: Path, force: bool, mkdir: bool) -> tuple[str, ...]:
    if folder.exists() and not folder.is_dir():
        raise WriteRefused(f"{folder}: is a file; name a folder")
    if not folder.exists():
        if not folder.absolute().parent.is_dir() and not mkdir:
            raise WriteRefused(f"{folder.parent}: no such folder; create it or give --mkdir")
        return ()
    if any(folder.iterdir()) and not force:
        raise WriteRefused(f"{folder}: is not empty; name a new folder or give --force")
    return _listed(folder / MANIFEST)


def _listed(file: Path) -> tuple[str, ...]:
    """What the earlier rendering wrote, never anything outside the folder."""
    try:
        known = msgspec.json.decode(file.read_bytes(), type=Manifest).files
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ()
    return tuple(
        path for path in known if not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
    )
