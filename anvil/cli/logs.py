"""``anvil logs``: the last lines of one service, wherever the topology has it (contract operations.md 9.8)."""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, MISSING_PROGRAM, USAGE
from anvil.lab import service_logs
from anvil.lab.service_logs import LogsError, NoSuchService

_SINCE = re.compile(r"\d+(?:\.\d+)?(?:ms|s|m|h)(?:\d+(?:ms|s|m))*|\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?")


def _since(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value and not _SINCE.fullmatch(value):
        raise click.BadParameter(f"{value!r} is neither a time such as 10m nor a date", ctx, param)
    return value


@click.command()
@click.argument("names", nargs=-1, metavar="NAME")
@topology_file.option
@click.option("--machine", help="Which machine's, where two have a service of this name.")
@click.option("--tail", type=click.IntRange(1, 100_000), default=200, show_default=True, help="How many lines.")
@click.option("--since", default="", callback=_since, metavar="10m", help="Containers only: not older than this.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def logs(
    names: tuple[str, ...], topology: Path | None, machine: str | None, tail: int, since: str, as_json: bool
) -> None:
    """Print the last lines of the service NAME (a serve, router or multiplexer, or a container), both streams.

    Exit 0: printed. 1: it does not exist, or its machine cannot be asked. 2: usage. 127: docker or ssh is missing.
    """
    found = topology_file.loaded(topology_file.path(topology))
    try:
        service = service_logs.chosen(found, names, machine)
        if since and service.by_process:
            raise stop(f"--since: {service.name} is a process, its log has no times; use --tail", USAGE)
        lines = service_logs.lines(found, service, tail, since)
    except NoSuchService as error:
        raise stop(str(error), USAGE) from None
    except LogsError as error:
        raise stop(str(error), MISSING_PROGRAM if error.missing else FAILED) from None
    except FileNotFoundError as error:
        raise stop(f"{error.filename} is missing on this machine", MISSING_PROGRAM) from None
    if as_json:
        document = {
            "schema": "anvil.logs/v1",
            "service": service.name,
            "machine": service.machine,
            "container": None if service.by_process else service.container,
            "lines": lines,
        }
        click.echo(msgspec.json.encode(document).decode())
        return
    for line in lines:
        click.echo(line)
