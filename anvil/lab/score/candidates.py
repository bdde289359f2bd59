"""Who is compared: the researched candidates of the data file, and the models of an index on this machine."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from anvil.lab.models.index import GB, Row

Size = Literal["heavy", "fast"]

FAST_GB = 22.0


class Published(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number as somebody published it. ``citation`` is the page, or the line of a model card.

    ``verified``: the number was read where it stands, by a program or on the day that is named; else it is a claim.
    """

    value: float
    citation: str
    setting: str | None = None
    verified: bool | str = False


class Candidate(Struct, frozen=True, kw_only=True):
    """``size`` is None when nothing says how large it is; ``local`` = it lies on this machine."""

    model: str
    size: Size | None
    published: dict[str, Published] = {}
    local: bool = False
    size_gb: float | None = None


class LibraryError(Exception):
    """An index that cannot be read; the sentence names the file."""


def researched() -> tuple[Candidate, ...]:
    document = tomllib.loads(files(__package__).joinpath("candidates.toml").read_text(encoding="utf-8"))
    return msgspec.convert(document["candidate"], tuple[Candidate, ...])


def local(library: Path) -> tuple[Candidate, ...]:
    """The models of `anvil models index --out`. Raises LibraryError."""
    found = []
    for path in sorted((library / "cards").glob("*.json")):
        try:
            found.append(_candidate(msgspec.json.decode(path.read_bytes(), type=Row), path))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LibraryError(f"{path}: {error}; write it again with `anvil models index`") from None
    return tuple(found)


def joined(known: Sequence[Candidate], here: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """A model in both is one: local. Of two numbers the verified one counts, of two such the researched one."""
    by_name = {each.model.lower(): each for each in known}
    for each in here:
        twin = by_name.get(each.model.lower())
        if twin is not None:
            kept = {
                name: found for name, found in twin.published.items() if found.verified or name not in each.published
            }
            published = {**each.published, **kept}
            each = msgspec.structs.replace(each, published=published, size=each.size or twin.size)
        by_name[each.model.lower()] = each
    return tuple(by_name.values())


def _candidate(row: Row, path: Path) -> Candidate:
    size_gb = row.size_bytes / GB
    return Candidate(
        model=row.repo,
        size=None if size_gb <= 0 else "fast" if size_gb <= FAST_GB else "heavy",
        published={
            name: Published(value=score.value, citation=f"{path.name}: {score.evidence}", verified=True)
            for name, score in row.card.benchmarks.items()
        },
        local=True,
        size_gb=round(size_gb, 1),
    )
