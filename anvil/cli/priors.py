"""``anvil priors``: published benchmarks beside ours; advisory, never a gate (lab contract 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import httpx
import msgspec

from anvil.cli.catalogue import as_json, document, say
from anvil.cli.ending import failed, stop
from anvil.cli.exit_codes import FAILED, UNREACHABLE, USAGE
from anvil.cli.listing import Group
from anvil.cli.recipes import REGISTRY, find_recipe
from anvil.lab import writing
from anvil.lab.priors import adapters, compare, comparisons, download, local, store
from anvil.lab.priors.store import Asked, Stored

SCHEMA: Final = "anvil.priors/v1"
COLUMNS: Final = ("source", "model", "gpu", "engine", "quant", "ctx", "conc", "tok/s", "ttft_ms")

Command = TypeVar("Command", bound=Callable[..., Any])

database = click.option(
    "--db",
    type=click.Path(dir_okay=False, path_type=Path),
    default=store.DATABASE,
    show_default=True,
    help="The store.",
)
source_option = click.option(
    "--source",
    type=click.Choice(sorted(adapters.ADAPTERS)),
    required=True,
    help="Whose document it is; `anvil priors sources` lists them.",
)


def _filters(command: Command) -> Command:
    for option in (
        click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="At most so many rows."),
        click.option("--source", type=click.Choice(sorted(adapters.ADAPTERS)), help="Only rows of this source."),
        click.option("--model", help="A model's id or family."),
        click.option("--gpu", help="Only rows of this card, in any spelling."),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def priors() -> None:
    """Published benchmarks: init, sources, fetch, import, list, report, export, compare."""


@priors.command()
@database
@as_json
def init(db: Path, as_json: bool) -> None:
    """Make the store, or bring it up to date."""
    try:
        store.create(db)
    except store.StoreError as error:
        raise stop(str(error), FAILED) from None
    except OSError as error:
        raise failed(error) from None
    if as_json:
        document(SCHEMA, {"db": str(db)})
    else:
        click.echo(f"{db} is ready")


@priors.command()
@database
@as_json
def sources(db: Path, as_json: bool) -> None:
    """Where rows may come from."""
    with _opened(db) as opened:
        found = store.sources(opened)
    if as_json:
        document(SCHEMA, {"sources": found})
        return
    for each in found:
        click.echo(f"{each['name']:<10} {each['kind']:<10} {each['snapshots']:>4} snapshots  {each['notes']}")


@priors.command()
@source_option
@click.option("--url", required=True)
@click.option("--insecure", is_flag=True, help="Allow http.")
@database
@as_json
@click.pass_obj
def fetch(
    transport: httpx.BaseTransport | None, /, source: str, url: str, insecure: bool, db: Path, as_json: bool
) -> None:
    """Fetch one document and import it."""
    with _opened(db):
        pass
    try:
        got = download.fetch(url, insecure=insecure, transport=transport)
    except ValueError as error:
        raise stop(error) from None
    except download.FetchError as error:
        raise stop(str(error), UNREACHABLE) from None
    name = got.url.split("?", 1)[0].rstrip("/").rpartition("/")[2] or "document"
    _take(db, store.Snapshot(source, got.content, name, got.content_type, got.url, fetched=True), as_json)


@priors.command("import")
@source_option
@click.option(
    "--file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON, CSV, HTML, Markdown or text."
)
@database
@as_json
def import_(source: str, file: Path, db: Path, as_json: bool) -> None:
    """Import one document from a file."""
    try:
        content = file.read_bytes() if file.stat().st_size <= store.RAW_LIMIT else None
    except OSError as error:
        raise stop(f"{file}: cannot be read: {error.strerror}") from None
    if content is None:
        raise stop(f"{file}: larger than {store.RAW_LIMIT} bytes")
    _take(db, store.Snapshot(source, content, file.name, ""), as_json)


@priors.command("list")
@_filters
@database
@as_json
def list_(gpu: str | None, model: str | None, source: str | None, top: int, db: Path, as_json: bool) -> None:
    """Rows by throughput."""
    found = _rows(db, Asked(gpu, model, source, top))
    if as_json:
        document(SCHEMA, {"rows": _builtins(found)})
        return
    table = [COLUMNS, *map(_cells, found)]
    widths = [max(len(line[index]) for line in table) for index in range(len(COLUMNS))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@priors.command()
@_filters
@click.option("--format", "form", type=click.Choice(["markdown", "json"]), default="markdown", show_default=True)
@database
@as_json
def report(
    gpu: str | None, model: str | None, source: str | None, top: int, form: str, db: Path, as_json: bool
) -> None:
    """The same for a document."""
    found = _rows(db, Asked(gpu, model, source, top))
    if as_json or form == "json":
        document(SCHEMA, {"rows": _builtins(found)})
        return
    for line in (COLUMNS, ["---"] * len(COLUMNS), *map(_cells, found)):
        click.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |")


@priors.command()
@click.option("--format", "form", type=click.Choice(["json"]), default="json", show_default=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace OUT.")
@click.option("--mkdir", is_flag=True, help="Make missing folders.")
@database
@as_json
def export(form: str, out: Path, force: bool, mkdir: bool, db: Path, as_json: bool) -> None:
    """Write every row to a file."""
    found = _rows(db, Asked())
    data = msgspec.json.format(msgspec.json.encode({"schema": SCHEMA, "rows": _builtins(found)}))
    try:
        writing.write_whole(out, data + b"\n", force=force, mkdir=mkdir)
    except writing.WriteRefused as error:
        raise stop(error) from None
    except OSError as error:
        raise stop(f"{out}: cannot be written: {error.strerror}", FAILED) from None
    say(f"{len(found)} rows written to {out} as {form}")
    if as_json:
        document(SCHEMA, {"out": str(out), "rows": len(found)})


@priors.command("compare")
@click.option("--local", "file", type=click.Path(dir_okay=False, path_type=Path), help="A file of `anvil bench`.")
@click.option("--recipe", "model", metavar="MODEL", help="A recipe's measured figures.")
@click.option("--registry", type=click.Path(dir_okay=False, path_type=Path), default=REGISTRY, show_default=True)
@click.option("--gpu", help="Only rows of this card.")
@database
@as_json
def compare_(file: Path | None, model: str | None, registry: Path, gpu: str | None, db: Path, as_json: bool) -> None:
    """The five published rows nearest to our measurement, with deltas in percent of the published figure."""
    if (file is None) == (model is None):
        raise stop("give either --local FILE or --recipe MODEL")
    try:
        ours = local.from_file(file) if file else local.from_recipe(find_recipe(registry, model or ""))
    except local.LocalError as error:
        raise stop(error) from None
    with _opened(db) as opened:
        found = compare.nearest(ours, store.rows(opened, Asked(gpu)))
        comparisons.keep(opened, ours, found)
    if as_json:
        document(SCHEMA, {"local": msgspec.to_builtins(ours), "nearest": msgspec.to_builtins(found)})
    else:
        click.echo(compare.markdown(ours, found), nl=False)


# -------------------------------------------------------------------------------------------------- the store


class _opened:
    """The store, or exit 2 when it is not there and 1 when it fails."""

    def __init__(self, db: Path) -> None:
        self._db = db
        self._context = store.opened(db)

    def __enter__(self) -> Any:
        try:
            return self._context.__enter__()
        except store.StoreError as error:
            raise stop(str(error), FAILED if self._db.is_file() else USAGE) from None

    def __exit__(self, *error: Any) -> bool | None:
        try:
            return self._context.__exit__(*error)
        except store.StoreError as failure:
            raise stop(str(failure), FAILED) from None


def _take(db: Path, snapshot: store.Snapshot, as_json: bool) -> None:
    """Raw bytes first, then the rows; what cannot be parsed stays as a failed snapshot."""
    with _opened(db):
        pass
    try:
        raw = store.keep_raw(db, snapshot)
    except store.StoreError as error:
        raise stop(str(error), FAILED) from None
    problem: str | None = None
    parsed = adapters.Parsed([], [])
    try:
        adapter = adapters.ADAPTERS[snapshot.source]
        parsed = adapter(snapshot.content, snapshot.content_type, snapshot.url or "", snapshot.file_name)
    except adapters.ParseError as error:
        problem = str(error)
    with _opened(db) as opened:
        number = store.add_snapshot(opened, snapshot, raw, (snapshot.source, adapters.VERSION))
        status = store.finish(opened, number, parsed.rows, problem)
    say(*(f"warning: {warning}" for warning in parsed.warnings))
    if problem:
        raise stop(f"{problem}; the bytes are kept in {raw}", FAILED)
    if as_json:
        document(SCHEMA, {"snapshot": number, "status": status, "rows": len(parsed.rows), "raw": str(raw)})
    else:
        click.echo(f"{status}: {len(parsed.rows)} rows; raw bytes in {raw}")


def _rows(db: Path, asked: Asked) -> list[Stored]:
    with _opened(db) as opened:
        return store.rows(opened, asked)


def _builtins(found: Iterable[Stored]) -> list[dict[str, Any]]:
    return [{"id": each.id, "source": each.source, **msgspec.to_builtins(each.row)} for each in found]


def _cells(each: Stored) -> tuple[str, ...]:
    row = each.row
    values = (
        each.source, row.model_name_raw, row.gpu_model, row.engine, row.quantization or row.precision,
        row.context_tokens or row.max_context_tokens, row.concurrency, row.throughput_tok_s, row.ttft_ms,
    )  # fmt: skip
    return tuple("-" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in values)
