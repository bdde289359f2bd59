"""``anvil recipes``: what was served how, and what it measured (lab contract 7)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from anvil.cli import catalogue, topology_file
from anvil.cli.catalogue import as_json, document, say
from anvil.cli.ending import stop
from anvil.cli.exit_codes import MISSING_PROGRAM
from anvil.cli.listing import Group
from anvil.lab import machine_shell, writing
from anvil.lab.locking import alone
from anvil.lab.priors import compare, local
from anvil.lab.priors import store as priors
from anvil.lab.recipes import apply as applying
from anvil.lab.recipes import docker, evidence, inspected, registry, toml
from anvil.lab.recipes.model import Measured, Recipe
from anvil.topology import load

SCHEMA = "anvil.recipes/v1"
REGISTRY = Path("inventory/recipes.toml")

registry_option = click.option(
    "--registry",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=REGISTRY,
    show_default=True,
    help="The recipe registry.",
)


@click.group(cls=Group)
def recipes() -> None:
    """Known-good ways to serve a model: list, show, apply, capture, run-line, share."""


@recipes.command("list")
@registry_option
@as_json
def list_(file: Path, as_json: bool) -> None:
    """One line per recipe: status, model, throughput, intent."""
    found = _read(file)
    if as_json:
        document(SCHEMA, {"recipes": [msgspec.to_builtins(recipe) for recipe in found.recipes]})
        return
    width = max((len(recipe.model) for recipe in found.recipes), default=0)
    for recipe in found.recipes:
        suited = ", ".join(recipe.intent.suited) or "-"
        click.echo(f"{recipe.status:<10}  {recipe.model:<{width}}  {throughput(recipe.measured)}  {suited}")


@recipes.command()
@click.argument("model")
@click.option(
    "--db", type=click.Path(dir_okay=False, path_type=Path), default=priors.DATABASE, show_default=True, help="Priors."
)
@registry_option
@as_json
def show(model: str, file: Path, db: Path, as_json: bool) -> None:
    """Everything known about MODEL (its full name, or the part behind the slash), beside the nearest prior."""
    found = _read(file)
    recipe = _find(found, model)
    row = next(row for row in found.document["recipe"] if row["model"] == recipe.model)
    prior = _nearest(recipe, db)
    if as_json:
        document(SCHEMA, {"recipe": row, "nearest_prior": msgspec.to_builtins(prior)})
        return
    click.echo(toml.dumps({"recipe": [row]}), nl=False)
    if prior:
        figures = ", ".join(f"{delta.external:g} {delta.metric} ({compare.percent(delta)})" for delta in prior.deltas)
        click.echo(f"# nearest prior: {prior.row.model_name_raw} on {prior.row.gpu_model}, {prior.source}: {figures}")


@recipes.command()
@click.argument("model")
@click.option("--machine", required=True, help="Key of the topology's machines.")
@click.option("--gpu", required=True, help="Key of that machine's gpus.")
@click.option("--port", required=True, type=click.IntRange(1024, 65535), help="Port of the serve.")
@click.option("--name", help="Key of the new serve.  [default: from the model]")
@click.option("--volume", help="Key of the topology's volumes.  [default: its only hf-cache]")
@click.option("--write", is_flag=True, help="Append the table to the topology instead of printing it.")
@registry_option
@topology_file.option
@as_json
def apply(
    model: str, machine: str, gpu: str, port: int, name: str | None, volume: str | None, write: bool, file: Path,
    topology: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Print MODEL's recipe as a [serves.NAME] table, or append it to the topology with --write.

    Exit 1 when the engine would get other flags than the recipe's; the difference is shown.
    """
    recipe = _find(_read(file), model)
    wanted = applying.Wanted(machine, gpu, port, name, volume)
    site = catalogue.topology(topology, needed=write)
    if site is None:
        say("no topology: machine, gpu and volume are not checked")
    try:
        made = applying.applied(recipe, wanted, site)
    except applying.NotApplicable as error:
        raise stop(error) from None
    if write:
        with _alone(topology_file.path(topology)):
            _append(topology_file.path(topology), made)
    difference = made.difference
    if as_json:
        written = {"name": made.name, "text": made.text, "written": write}
        document(SCHEMA, {**written, "missing": difference.missing, "added": difference.added})
    elif not write:
        click.echo(made.text, nl=False)
    say(*(f"- {flag}" for flag in difference.missing), *(f"+ {flag}" for flag in difference.added))
    if difference.missing or difference.added:
        raise stop(f"the engine would not get {recipe.model}'s flags: - the recipe only, + the serve only", 1)


@recipes.command()
@click.argument("container")
@click.option("--host", metavar="[USER@]HOST", help="Where it runs; asked over ssh.")
@click.option("--bench", type=click.Path(dir_okay=False, path_type=Path), help="Report of `anvil bench --json-out`.")
@click.option("--preflight", type=click.Path(dir_okay=False, path_type=Path), help="Report of `anvil preflight --out`.")
@click.option("--write", is_flag=True, help="Put it into the registry instead of printing it.")
@click.option("--force", is_flag=True, help="With --write: replace the recipe of the same model.")
@registry_option
@topology_file.option
@as_json
@click.pass_obj
def capture(
    run: docker.Run | None, container: str, host: str | None, bench: Path | None, preflight: Path | None, write: bool,
    force: bool, file: Path, topology: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Make a recipe of a running CONTAINER; it is verified only by a bench and a preflight of the same image."""
    site = catalogue.topology(topology, needed=False)
    seen = _inspect(container, machine_shell.reach(host, site), run or docker.run)
    try:
        load = evidence.bench(bench) if bench else None
        gate = evidence.preflight(preflight) if preflight else None
        row = inspected.recipe_row(seen, site)
    except evidence.EvidenceError as error:
        raise stop(error) from None
    except inspected.Unreadable as error:
        raise stop(f"{container}: {error}", 1) from None
    doubts = evidence.doubts(row, load, gate, inspected.started(seen))
    row = evidence.joined(row, load, gate, verified=not doubts)
    if write:
        with _alone(file):
            _store(file, row, force)
    if as_json:
        document(SCHEMA, {"recipe": row, "unverified_because": doubts, "written": write})
    elif not write:
        click.echo(toml.dumps({"recipe": [row]}), nl=False)
    say(*(f"unverified: {doubt}" for doubt in doubts))


@recipes.command("run-line")
@click.argument("model")
@registry_option
@as_json
def run_line(model: str, file: Path, as_json: bool) -> None:
    """Print an equivalent `docker run`, for reading; deploys never use it."""
    line = applying.run_line(_find(_read(file), model))
    if as_json:
        document(SCHEMA, {"run_line": line})
    else:
        click.echo(line)


@recipes.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--strip-host/--keep-host", default=True, show_default=True, help="Leave out the cards' UUIDs.")
@click.option("--force", is_flag=True, help="Replace OUT.")
@click.option("--mkdir", is_flag=True, help="Make missing folders.")
@registry_option
@as_json
def share(out: Path, strip_host: bool, force: bool, mkdir: bool, file: Path, as_json: bool) -> None:
    """Write the registry to OUT for others to read."""
    found = _read(file)
    _write(out, (registry.without_host(found) if strip_host else found).text(), force=force, mkdir=mkdir)
    say(f"{out} written")
    if as_json:
        document(SCHEMA, {"out": str(out), "recipes": len(found.recipes)})


def throughput(measured: Measured) -> str:
    """One column: which kind of figure it is is part of the figure."""
    if measured.throughput_single_tok_s:
        return f"{measured.throughput_single_tok_s:g} tok/s single"
    if measured.throughput_aggregate_tok_s:
        streams = measured.concurrency or "unrecorded"
        return f"{measured.throughput_aggregate_tok_s:g} tok/s aggregate of {streams} streams"
    return "not measured"


def _read(file: Path) -> registry.Registry:
    try:
        found = registry.read(file)
    except registry.RegistryError as error:
        raise stop(error) from None
    say(*(f"warning: {warning}" for warning in found.warnings))
    return found


def find_recipe(file: Path, model: str) -> Recipe:
    """The recipe of a registry file; exits 2 with a sentence."""
    return _find(_read(file), model)


def _find(found: registry.Registry, model: str) -> Recipe:
    try:
        return registry.find(found.recipes, model)
    except LookupError as error:
        raise stop(error) from None


def _nearest(recipe: Recipe, db: Path) -> compare.Near | None:
    """The published row closest to a measured recipe with a figure to compare; no store, no prior."""
    if not db.is_file():
        return None
    try:
        with priors.opened(db) as store:
            found = compare.nearest(local.from_recipe(recipe), priors.rows(store, priors.Asked()))
    except (local.LocalError, priors.StoreError) as error:
        say(f"no prior: {error}")
        return None
    return next((near for near in found if near.deltas), None)


def _inspect(container: str, reach: machine_shell.Reach, run: Callable[..., Any]) -> inspected.Container:
    try:
        return docker.inspect(container, reach, run)
    except docker.DockerMissing as error:
        raise stop(str(error), MISSING_PROGRAM) from None
    except docker.DockerFailed as error:
        raise stop(str(error), 1) from None


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Two runs that change one file read, change and write it one after another."""
    try:
        with alone(file.parent, wait=True):
            yield
    except FileNotFoundError:
        raise stop(f"{file.parent}: no such folder; create it, or name another file") from None


def _append(path: Path, made: applying.Applied) -> None:
    """The file's own bytes stay; the new whole is read before it is written."""
    text = path.read_text(encoding="utf-8")
    whole = f"{text.rstrip()}\n\n{made.text}"
    try:
        load.loads(whole, os.environ, f"{path} with [serves.{made.name}]")
    except load.TopologyError as error:
        raise stop(error) from None
    _write(path, whole, force=True)
    say(f"{path}: [serves.{made.name}] appended")


def _store(file: Path, row: dict[str, Any], force: bool) -> None:
    found = _read(file) if file.exists() else registry.empty()
    before = file.read_text(encoding="utf-8") if file.exists() else found.text()
    if any(recipe.model == row["model"] for recipe in found.recipes) and not force:
        raise stop(f"{file}: has a recipe for {row['model']}; --force replaces it")
    try:
        text = registry.with_recipe(found, before, row)
    except registry.RegistryError as error:
        raise stop(str(error), 1) from None
    _write(file, text, force=True)
    say(f"{file}: {row['model']} written")


def _write(path: Path, text: str, *, force: bool, mkdir: bool = False) -> None:
    try:
        writing.write_whole(path, text.encode(), force=force, mkdir=mkdir)
    except writing.WriteRefused as error:
        raise stop(error) from None
    except OSError as error:
        raise stop(f"{path}: cannot be written: {error.strerror}", 1) from None
