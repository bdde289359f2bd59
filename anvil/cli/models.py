"""``anvil models``: what lies on a machine, and one download into a volume (lab contract 8)."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from anvil.cli import catalogue, topology_file
from anvil.cli.catalogue import as_json, document
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, MISSING_PROGRAM
from anvil.cli.listing import Group
from anvil.lab import machine_shell
from anvil.lab.models import cache, hub, index, roots, volume
from anvil.lab.models import pull as pulling
from anvil.lab.writing import WriteRefused
from anvil.topology.model import ModelServe, Topology

PULL_SCHEMA = "anvil.models.pull/v1"


class Scanned(NamedTuple):
    """What a place holds, and the tree it was read from when that is a copy of a volume's."""

    found: tuple[cache.Found, ...]
    tree: Path | None = None
    volume: str = ""

    def shown(self, path: Path) -> str:
        return str(path) if self.tree is None else f"{self.volume}:{path.relative_to(self.tree)}"


@contextmanager
def scanned(
    root_list: str | None, dir_list: str | None, host: str | None, name: str | None, image: str | None,
    site: Topology | None, run: volume.Run | None = None,
) -> Iterator[Scanned]:  # fmt: skip
    """The models of folders here, or of a docker volume. Exits 2, 1 or 127 with a sentence."""
    if name is None:
        if host:
            raise stop("--host reads a docker volume; name it with --volume")
        given = _folders("--roots", root_list)
        plain = _folders("--dirs", dir_list)
        found = given if root_list else roots.roots(os.environ, Path.home())
        if not found and not plain:
            click.echo("note: no Hugging Face cache of this user is here; --roots names one", err=True)
        yield Scanned(cache.scan(found, plain))
        return
    with tempfile.TemporaryDirectory(prefix="anvil-volume-") as folder:
        tree = Path(folder).resolve()
        try:
            volume.check_name(name)
            image = image or image_of(site, name)
            if not image:
                raise ValueError(f"no serve of the topology uses volume {name}; name an image that is there: --image")
            volume.lay_out(volume.listing(name, image, machine_shell.reach(host, site), run or volume.run), tree)
        except ValueError as error:
            raise stop(error) from None
        except volume.VolumeFailed as error:
            raise stop(str(error), FAILED) from None
        except volume.ToolMissing as error:
            raise stop(str(error), MISSING_PROGRAM) from None
        yield Scanned(cache.scan([tree], ()), tree, name)


def _folders(option: str, named: str | None) -> tuple[Path, ...]:
    """Those of A:B, once each. Exits 2 when one is missing: a typing error must not look like an empty cache."""
    given = roots.named(named) if named else []
    missing = [str(path) for path in given if not path.is_dir()]
    if missing:
        raise stop(f"no such folder: {', '.join(missing)}; give {option} folders that exist")
    return roots.existing(given)


def image_of(site: Topology | None, name: str | None) -> str | None:
    """The image of the first serve that uses the docker volume: it is on the machine, and has a shell and `hf`."""
    keys = [key for key, each in site.volumes.items() if each.name == name] if site else []
    serves = site.serves.values() if site else ()
    return next((each.image for each in serves if isinstance(each, ModelServe) and each.volume in keys), None)


@click.group(cls=Group)
def models() -> None:
    """The models on a machine: index, pull."""


@models.command("index")
@click.option("--roots", "root_list", metavar="A:B", help="Hugging Face caches.  [default: HF_HOME and the usual ones]")
@click.option("--dirs", "dir_list", metavar="A:B", help="Folders with plain model folders.")
@click.option("--volume", "name", metavar="V", help="Read a docker volume instead.")
@click.option("--host", metavar="[USER@]HOST", help="Whose volume; asked over ssh.")
@click.option("--image", help="Image to read the volume with.  [default: of a serve that uses it]")
@click.option("--cards", is_flag=True, help="Fetch each model's README from the hub (one request each).")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("model-library"), show_default=True
)
@click.option("--mkdir", is_flag=True, help="Make --out with missing parents.")
@topology_file.option
@as_json
@click.pass_obj
def index_(
    run: volume.Run | None, root_list: str | None, dir_list: str | None, name: str | None, host: str | None,
    image: str | None, cards: bool, out: Path, mkdir: bool, topology: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write INDEX.md and one card per model to --out. Offline unless --cards."""
    if not out.parent.is_dir() and not mkdir:
        raise stop(f"{out.parent}: no such folder; create it or give --mkdir")
    site = catalogue.topology(topology, needed=False)
    computes = sorted(
        {card.compute for machine in (site.machines.values() if site else ()) for card in machine.gpus.values()}
    )
    with (
        scanned(root_list, dir_list, host, name, image, site, run) as place,
        hub.fetcher(os.environ) if cards else nullcontext() as client,
    ):
        fetch = (lambda repo: hub.readme(client, repo)) if client else None
        made = index.rows(place.found, tuple(computes), fetch, place.shown)
        try:
            new = index.write(out, made)
        except (WriteRefused, OSError) as error:
            raise stop(error, FAILED) from None
    if as_json:
        document(index.SCHEMA, {"models": [_json(row) for row in made], "new": new, "out": str(out)})
        return
    for repo in new:
        click.echo(f"new: {repo}")
    click.echo(f"{len(made)} models, {len(new)} new; {out / 'INDEX.md'} written")


def _json(row: index.Row) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(row)
    return {**told, "loadable_by": row.facts.loadable_by}


@models.command()
@click.argument("repo")
@click.option("--volume", "name", required=True, metavar="V", help="The docker volume with the cache.")
@click.option("--host", metavar="[USER@]HOST", help="Where to pull; over ssh.")
@click.option("--revision", default="main", show_default=True)
@click.option("--include", multiple=True, help="Only files that match; may be repeated.")
@click.option("--exclude", multiple=True, help="No files that match; may be repeated.")
@click.option("--token-env", metavar="NAME", help="Variable that holds the hub's token.")
@click.option("--image", help="Image with `hf`.  [default: of a serve that uses the volume]")
@click.option(
    "--root", help="Where the volume's lock lies.  [default: /srv/anvil as deploys have it, else ~/.cache/anvil]"
)
@click.option("--dry-run", is_flag=True, help="Print the command.")
@topology_file.option
@as_json
@click.pass_obj
def pull(
    call: pulling.Call | None, /, repo: str, name: str, host: str | None, token_env: str | None, image: str | None,
    root: str | None, dry_run: bool, topology: Path | None, revision: str, include: tuple[str, ...],
    exclude: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Download REPO into a docker volume with `hf`, one pull per volume at a time. Exits with docker's code."""
    token = os.environ.get(token_env, "").strip() if token_env else ""
    if token_env and not token:
        raise stop(f"{token_env} is not set or empty; export it, or leave --token-env out")
    try:
        volume.check_name(name)
    except ValueError as error:
        raise stop(error) from None
    if not cache.OWNER_REPO.fullmatch(repo):
        raise stop(f"{repo!r} is no repository; give OWNER/NAME")
    site = catalogue.topology(topology, needed=False)
    image = image or image_of(site, name)
    if not image:
        raise stop(f"no serve of the topology uses volume {name}; name an image that has `hf`: --image")
    wanted = pulling.Pull(repo, name, image, revision, include, exclude)
    if dry_run:
        line = shlex.join(pulling.argv(wanted))
        if as_json:
            document(PULL_SCHEMA, {"command": line, "pulled": False})
        else:
            click.echo(line)
        return
    try:
        reach = machine_shell.reach(host, site) if host else None
        code = pulling.pulled(
            wanted, token, os.environ, reach, root.rstrip("/") if root else None, call or pulling.call
        )
    except pulling.ToolMissing as error:
        raise stop(str(error), MISSING_PROGRAM) from None
    except (pulling.Busy, OSError) as error:
        raise stop(f"{repo}: {error}", FAILED) from None
    if code:
        raise stop(f"docker ended with {code}", code)
    if as_json:
        document(PULL_SCHEMA, {"repo": repo, "volume": name, "pulled": True})
