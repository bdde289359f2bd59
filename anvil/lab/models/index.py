"""The library of models on a machine: rows, an index for people, one card file per model (lab contract 8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from anvil.lab.models.cache import OWNER_REPO, Found
from anvil.lab.models.card import CODING, Card, card
from anvil.lab.models.facts import Facts, facts, is_real
from anvil.lab.writing import write_whole
from anvil.topology.hazards import Checkpoint, Hazard, matching

SCHEMA = "anvil.models/v1"
GB = 10**9
_README_LIMIT = 4 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

Fetch = Callable[[str], str | None]


class Advice(Struct, frozen=True, kw_only=True):
    """Something known of such a checkpoint on a card; ``compute`` "" is every card. It never calls a model dead."""

    level: str
    sentence: str
    source: str
    compute: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """One model. ``path`` is what an engine loads; ``size_bytes`` counts every blob once."""

    repo: str
    path: str
    size_bytes: int
    facts: Facts
    card: Card
    incomplete: bool = False
    hazards: tuple[Advice, ...] = ()

    @property
    def file_name(self) -> str:
        return file_name(self.repo)


def rows(
    found: Iterable[Found],
    computes: tuple[str, ...] = (),
    fetch: Fetch | None = None,
    shown: Callable[[Path], str] = str,
) -> tuple[Row, ...]:
    """The real models, safetensors first, biggest first. ``computes`` are the capabilities of the declared cards,
    ``shown`` says how a path is called."""
    made = [_row(each, computes, fetch, shown) for each in found]
    real = [row for row in made if is_real(row.repo, row.size_bytes, row.facts.format, row.facts.model_type)]
    return tuple(sorted(real, key=lambda row: (row.facts.format != "safetensors", -row.size_bytes, row.repo, row.path)))


def file_name(repo: str) -> str:
    """OWNER__REPO of letters, digits and `._-`: whatever a config says, the file stays in its folder. A name that loses
    something by that gets a digest, so that no two models share a card."""
    wanted = repo.replace("/", "__", 1)
    safe = _UNSAFE.sub("-", wanted).strip(".-")[:140]
    if safe and safe == wanted:
        return safe
    return f"{safe or 'unnamed'}-{sha256(repo.encode(errors='surrogatepass')).hexdigest()[:8]}"


def advice(repo: str, told: Facts, computes: tuple[str, ...]) -> tuple[Advice, ...]:
    """Hazards of the format on the declared cards. Those about how a serve spells its quantization say nothing of a
    file."""
    name = " ".join([repo, told.quant or "", "moe" if told.moe else ""]).strip()
    quantization = "modelopt_fp4" if (told.quant_method, told.quant) == ("modelopt", "nvfp4") else told.quant_method
    hits = {}
    for engine in told.loadable_by:
        for compute in computes or ("",):
            asked = Checkpoint(name=name, engine=engine, quantization=quantization or "", compute=compute)
            hits.update({hazard.id: hazard for hazard in matching(asked) if _of_a_file(hazard)})
    return tuple(
        Advice(level=hit.level, sentence=hit.sentence, source=hit.source, compute=hit.match.compute or "")
        for hit in hits.values()
    )


def _of_a_file(hazard: Hazard) -> bool:
    return hazard.match.quantization_not is None


def write(folder: Path, made: tuple[Row, ...]) -> tuple[str, ...]:
    """INDEX.md, cards and _seen.json under ``folder``; returns the models that were not there last time.

    Raises OSError.
    """
    seen = _seen(folder / "_seen.json")
    for row in made:
        write_whole(folder / "cards" / f"{row.file_name}.md", _card_page(row).encode(), force=True, mkdir=True)
        data = msgspec.json.format(msgspec.json.encode(row)) + b"\n"
        write_whole(folder / "cards" / f"{row.file_name}.json", data, force=True)
    write_whole(folder / "INDEX.md", index_page(made).encode(), force=True, mkdir=True)
    names = sorted({row.repo for row in made})
    write_whole(folder / "_seen.json", msgspec.json.format(msgspec.json.encode(names)) + b"\n", force=True)
    return tuple(name for name in names if name not in seen)


def index_page(made: tuple[Row, ...]) -> str:
    head = ("Model", "Format", "Loadable by", "GB", "Context", "Quant", "License", "Thinking", "Coding bench", "Where")
    lines = ["# Models", "", _line(head), _line(["---"] * len(head))]
    return "\n".join([*lines, *(_line(_cells(row)) for row in made)]) + "\n"


def _row(found: Found, computes: tuple[str, ...], fetch: Fetch | None, shown: Callable[[Path], str]) -> Row:
    told = facts(found)
    text = _readme(found.snapshot / "README.md")
    if fetch is not None and OWNER_REPO.fullmatch(found.repo):
        text = fetch(found.repo) or text
    return Row(
        repo=found.repo,
        path=shown(found.snapshot),
        size_bytes=found.size_bytes,
        facts=told,
        card=card(text) if text else Card(),
        incomplete=found.incomplete_since is not None,
        hazards=advice(found.repo, told, computes),
    )


def _readme(path: Path) -> str | None:
    """The card that lies beside the weights, when it does."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= _README_LIMIT else None
    except OSError:
        return None


def _seen(path: Path) -> set[str]:
    try:
        return set(msgspec.json.decode(path.read_bytes(), type=list[str]))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return set()


def _cells(row: Row) -> list[str]:
    told, page = row.facts, row.card
    thinking = {True: "on", False: "off", None: ""}[page.thinking_default]
    bench = next((f"{name} {page.benchmarks[name].value:g}" for name in CODING if name in page.benchmarks), "")
    size = f"{row.size_bytes / GB:.1f}" + (" (incomplete)" if row.incomplete else "")
    context = str(told.context or "")
    loadable = ", ".join(told.loadable_by)
    return [
        row.repo,
        told.format,
        loadable,
        size,
        context,
        told.quant or "",
        page.license or "",
        thinking,
        bench,
        row.path,
    ]


def _card_page(row: Row) -> str:
    head = ("Format", "Loadable by", "GB", "Context", "Quant", "License", "Thinking", "Coding bench", "Where")
    lines = [f"# {_cell(row.repo)}", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in zip(head, _cells(row)[1:], strict=True) if value]
    lines += [f'- {name}: {score.value:g} ("{_cell(score.evidence)}")' for name, score in row.card.benchmarks.items()]
    hints = {"Sampling": row.card.sampling_hint, "Context": row.card.context_hint}
    lines += [f"- {name} hint: {_cell(hint)}" for name, hint in hints.items() if hint]
    lines += [f"- {each.level}: {each.sentence} ({each.source})" for each in row.hazards]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Text of somebody else in our table: one line, no cell border."""
    return " ".join(text.split()).replace("|", "\\|")
