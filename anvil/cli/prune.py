"""``anvil prune``: what of a model cache could go (lab contract 10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from anvil.cli import catalogue, topology_file
from anvil.cli.catalogue import as_json, document, say
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED
from anvil.cli.models import scanned
from anvil.cli.recipes import REGISTRY
from anvil.lab import machine_shell
from anvil.lab.locking import Busy, alone
from anvil.lab.models import volume
from anvil.lab.prune import removal, rows
from anvil.lab.recipes import registry
from anvil.topology import retention
from anvil.topology.model import Topology
from anvil.topology.retention import Candidate, Item, Plan

SCHEMA = "anvil.prune/v1"


class Parts(NamedTuple):
    """What reaches outside: docker for a volume, docker for the containers, the clock."""

    volume: volume.Run = volume.run
    docker: rows.Run = rows.docker
    clock: Callable[[], float] = time.time


@click.command()
@click.option("--roots", "root_list", metavar="A:B", help="Hugging Face caches.  [default: HF_HOME and the usual ones]")
@click.option("--volume", "name", metavar="V", help="Plan over a docker volume; deploy/cache_prune.py carries it out.")
@click.option("--host", metavar="[USER@]HOST", help="Whose volume; asked over ssh.")
@click.option("--image", help="Image to read the volume with.  [default: of a serve that uses it]")
@click.option("--protect", metavar="A,B", default="", help="Repositories to keep.")
@click.option("--include-servable", is_flag=True, help="Delete whole models too, not only interrupted downloads.")
@click.option("--allow-empty-protection", is_flag=True, help="With neither topology nor --protect.")
@click.option("--execute", is_flag=True, help="Really delete; needs --yes.")
@click.option("--yes", is_flag=True)
@click.option(
    "--registry", "file", type=click.Path(dir_okay=False, path_type=Path), default=REGISTRY, show_default=True
)
@topology_file.option
@as_json
@click.pass_obj
def prune(
    parts: Parts | None, /, root_list: str | None, name: str | None, host: str | None, image: str | None, protect: str,
    include_servable: bool, allow_empty_protection: bool, execute: bool, yes: bool, file: Path, topology: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """List cached models that nothing needs, with exact sizes. Deletes nothing without --execute --yes.

    Kept: every repository of the topology, the recipes and --protect, and what a running container names or has open.
    """
    parts = parts or Parts()
    if execute and not yes:
        raise stop("--execute deletes; give --yes too")
    if execute and name:
        raise stop("a volume is pruned by `pyinfra inventory/hosts.py deploy/cache_prune.py --data execute=true`")
    asked = [each.strip() for each in protect.split(",") if each.strip()]
    site = catalogue.topology(topology, needed=False)
    if include_servable and site is None and not asked and not allow_empty_protection:
        raise stop("--include-servable needs a topology or --protect to know what is used; or --allow-empty-protection")
    with scanned(root_list, None, host, name, image, site, parts.volume) as place:
        found = rows.candidates(place.found, _computes(site), place.shown)
        roots = {each.folder.parent for each in place.found}
    try:
        retention.check_protection(asked, found)
    except retention.UnknownProtection as error:
        raise stop(f"--protect: {error}") from None
    kept = Kept(asked, _texts(site, file), host, machine_shell.reach(host, site), parts.docker)
    try:
        named = kept.now(found)
    except rows.ContainersUnknown as error:
        raise stop(str(error), FAILED) from None
    made = retention.plan(
        found,
        named,
        now=parts.clock(),
        gguf_taken=site is None or retention.takes_gguf(site),
        include_servable=include_servable,
    )
    done = _removed(made, roots, kept) if execute else None
    if as_json:
        document(SCHEMA, {**msgspec.to_builtins(made), "candidates": found, "executed": done})
    else:
        _print(made)
    if done is not None:
        _report(done)


def _removed(made: Plan, roots: set[Path], kept: Kept) -> removal.Removed:
    try:
        with ExitStack() as held:
            for root in sorted(roots):
                held.enter_context(alone(root))
            return removal.remove(made.doomed(), roots, kept.still)
    except Busy as error:
        raise stop(error, FAILED) from None


class Kept(NamedTuple):
    """Who is asked, each time anew, what must stay."""

    asked: list[str]
    texts: list[str]
    host: str | None
    reach: machine_shell.Reach
    docker: rows.Run

    def now(self, found: tuple[Candidate, ...]) -> set[str]:
        repos = {row.repo for row in found}
        live = [*rows.container_texts(self.reach, self.docker), *([] if self.host else rows.open_files())]
        return {*self.asked, *retention.named_in([*self.texts, *live], repos)}

    def still(self, item: Item) -> bool:
        row = Candidate(repo=item.repo, path=item.path, size_bytes=item.size_bytes)
        try:
            return item.repo.lower() in {repo.lower() for repo in self.now((row,))}
        except rows.ContainersUnknown:
            return True


def _computes(site: Topology | None) -> tuple[str, ...]:
    machines = site.machines.values() if site else ()
    return tuple(sorted({card.compute for machine in machines for card in machine.gpus.values()}))


def _texts(site: Topology | None, file: Path) -> list[str]:
    """What topology and recipes name. A registry that cannot be read protects nothing, so it stops the command."""
    texts = retention.topology_texts(site) if site else []
    if file == REGISTRY and not file.exists():
        return texts
    try:
        return [*texts, *(recipe.model for recipe in registry.read(file).recipes)]
    except registry.RegistryError as error:
        raise stop(error) from None


def _print(made: Plan) -> None:
    width = max((len(item.repo) for item in made.items), default=0)
    for item in made.items:
        mark = "delete" if item.delete else "      "
        click.echo(f"{mark}  {item.size_bytes:>15}  {item.repo:<{width}}  {item.reason}  {item.path}")
        for hazard in item.hazards:
            click.echo(f"{'':25}{hazard}")
    for reason, total in made.totals.items():
        if total.models:
            click.echo(f"{reason}: {total.models} models, {total.size_bytes} bytes")
    doomed = made.doomed()
    click.echo(f"{len(made.protected)} kept; {len(doomed)} to delete, {sum(item.size_bytes for item in doomed)} bytes")


def _report(done: removal.Removed) -> None:
    say(f"{len(done.removed)} removed, {done.freed_bytes} bytes freed")
    if done.skipped:
        raise stop("\n".join(f"{each.path} {each.why}" for each in done.skipped), FAILED)
