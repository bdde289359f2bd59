"""``anvil render``: what the deploys would lay out, in a folder of this machine (contract operations.md 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, USAGE
from anvil.cli.harness_router import DEFAULT_TOKEN_ENV, Denials, denied, models
from anvil.harness import openclaw
from anvil.harness.model import Router
from anvil.lab.writing import WriteRefused
from anvil.topology.check import lines
from anvil.topology.finding import Finding
from anvil.topology.model import Gateway, Topology

if TYPE_CHECKING:  # needs the deploy extra, which a router's image does not have
    from anvil.lab.onboarding.tree import Manifest

PLUGIN = "openclaw-anvil-intent-router"
MISSING = "rendering needs a package that is missing ({}): pip install 'anvil-serving[deploy]'"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--mode", help="Render this mode instead of the topology's own.")
@topology_file.option
@click.option("--force", is_flag=True, help="DIR may hold an earlier rendering; what it no longer has is removed.")
@click.option("--mkdir", is_flag=True, help="Make missing parent folders.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def render(folder: Path, mode: str | None, topology: Path | None, force: bool, mkdir: bool, as_json: bool) -> None:
    """Write every file that a deploy would lay out into DIR, one folder a machine. Secrets are names only.

    Exit 0: written. 1: a rendered text does not read back. 2: usage, or a topology that will not do.
    """
    file = topology_file.path(topology)
    found = topology_file.loaded(file, mode)
    warnings = topology_file.checked(found, file)
    try:
        contents, manifest = _made(found, file, warnings)
        from anvil.lab.onboarding import tree

        tree.write(folder, contents, manifest, force=force, mkdir=mkdir)
    except WriteRefused as refused:
        raise stop(str(refused), USAGE) from None
    except OSError as error:
        raise stop(f"{error.filename or folder}: {error.strerror}", FAILED) from None
    for line in manifest.findings:
        click.echo(f"WARN {line}", err=True)
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(manifest), "directory": str(folder)}).decode())
        return
    click.echo("\n".join(str(folder / path) for path in manifest.files))
    click.echo(f"{len(manifest.files)} files, router release {manifest.release}")


def _made(topology: Topology, file: Path, warnings: Sequence[Finding]) -> tuple[dict[str, bytes], Manifest]:
    """Contents by path, and what is told of them."""
    try:
        from anvil.lab.onboarding import tree
        from anvil.render.artefacts import ReadBackError
        from anvil.render.artefacts import render as rendered
        from anvil.render.env import Secrets
    except ModuleNotFoundError as error:
        raise stop(MISSING.format(error.name), USAGE) from None
    try:
        made = rendered(topology, Secrets(), topology_file.profile(topology, file))
    except ReadBackError as error:
        raise stop("\n".join(lines(error.findings, str(file))), FAILED) from None
    denials = denied(topology, file)
    contents = tree.files(made) | {
        f"{gateway.machine}/gateways/{name}.openclaw.json": msgspec.json.format(
            msgspec.json.encode(gateway_document(topology, gateway, denials)), indent=2
        )
        + b"\n"
        for name, gateway in topology.gateways.items()
    }
    return contents, tree.Manifest(
        mode=topology.mode,
        topology_sha256=made.topology_sha256,
        release=made.release.id,
        files=tuple(sorted(contents)),
        findings=tuple(lines([*warnings, *made.findings], str(file))),
    )


def gateway_document(topology: Topology, gateway: Gateway, denials: Denials) -> dict[str, object]:
    """The part of the gateway's document that is ours, before it meets the live one (contract operations.md 12.1)."""
    token = topology.router.token[0] if topology.router.token else DEFAULT_TOKEN_ENV
    base = gateway.router_url.rstrip("/").removesuffix("/v1")
    router = Router(base, token, models(topology, denials))
    return openclaw.document(
        router, primary=gateway.primary, timeout_s=gateway.timeout_s, plugin=_plugin(gateway, token)
    )


def _plugin(gateway: Gateway, token: str) -> openclaw.Plugin | None:
    mine = gateway.plugin
    if mine is None:
        return None
    return openclaw.Plugin(
        id=PLUGIN,
        path=mine.path,
        token_env=mine.token or token,
        cloud_classes=mine.cloud_classes,
        route=mine.route,
        deadline_ms=mine.deadline_ms,
        log=mine.log,
    )
