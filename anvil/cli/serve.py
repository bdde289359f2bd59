"""``anvil serve`` and ``anvil check``: run the router, or load everything it would run from and stop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from anvil.cli.ending import stop

if TYPE_CHECKING:
    from anvil.router.loading import Loaded


def _load(config: str | None, mode: str | None, *, online: bool) -> tuple[Path, Loaded]:
    """Path and everything behind it, or one clear line and exit 2."""
    from anvil.router import loading, modes
    from anvil.router.config import ConfigError

    try:
        chosen = modes.select(config, mode, dict(os.environ))
        return chosen.path, loading.load(chosen.path, mode=chosen.mode, environ=os.environ, online=online)
    except (ConfigError, modes.ModeError) as error:
        raise stop(error) from None


def _selectors(command: click.Command) -> click.Command:
    command.params.insert(0, click.Option(["--mode"], help="agentic or flexibility; excludes --config"))
    command.params.insert(0, click.Option(["--config"], help="the router.toml to use"))
    return command


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--log-format", default="text", show_default=True, type=click.Choice(["text", "json"]), help="of stderr")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM; needs --tls-key")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM; needs --tls-cert")
@click.option("--holder", default="", help="also take callers from the socket that `anvil socket` holds at this path")
@click.option("--echo", is_flag=True, help="no configuration: repeat what was said, in every dialect")
def _serve(
    config: str | None,
    mode: str | None,
    host: str,
    port: int,
    log_format: Literal["text", "json"],
    tls_cert: Path | None,
    tls_key: Path | None,
    holder: str,
    echo: bool,
) -> None:
    """Run the router. SIGHUP reloads its configuration.

    Exit 0: stopped by a signal. 1: the port is taken. 2: usage, or a configuration that will not do.
    """
    from anvil.router import server

    if (tls_cert is None) != (tls_key is None):
        raise stop("--tls-cert and --tls-key go together")
    listen = server.Listen(host, port, tls_cert, tls_key, log_format, holder)
    if echo:
        if config is not None or mode is not None:
            raise stop("--echo takes no configuration")
        loaded = _echo()
        server.serve(loaded, lambda: loaded, listen)
        return
    path, loaded = _load(config, mode, online=True)
    server.serve(loaded, lambda: _reload(path, loaded.mode), listen)


def _reload(path: Path, mode: str | None) -> Loaded:
    from anvil.router import loading

    return loading.load(path, mode=mode, environ=os.environ)


def _echo() -> Loaded:
    from anvil.router import echo

    return echo.loaded()


serve = _selectors(_serve)
serve.name = "serve"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
@click.option(
    "--profile-out", type=click.Path(dir_okay=False, path_type=Path), help="write the loaded table, schema v2"
)
def _check(config: str | None, mode: str | None, as_json: bool, profile_out: Path | None) -> None:
    """Load configuration and profile exactly as serve does; contact nothing."""
    from anvil.router import report

    path, loaded = _load(config, mode, online=False)
    if profile_out is not None:
        _write(profile_out, loaded.profile.dump())
    if as_json:
        sys.stdout.buffer.write(report.as_json(loaded) + b"\n")
    else:
        click.echo(report.as_text(loaded, path))


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; what an earlier check wrote is replaced."""
    from anvil.lab.writing import WriteRefused, write_whole

    try:
        write_whole(path, data, force=True)
    except WriteRefused as error:
        raise stop(str(error).replace(" or give --mkdir", "")) from None


check = _selectors(_check)
check.name = "check"


# Only listed by --help: both are answered before click is imported.
probe = click.Command("probe", help="Ask a running router how it is.")
socket = click.Command("socket", help="Hold the published socket while routers come and go.")
