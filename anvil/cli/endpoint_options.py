"""Flags that name an endpoint (lab contract 1), shared by the commands that measure one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from anvil.cli import topology_file
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, INTERRUPTED
from anvil.lab.endpoint import Asked, Endpoint, resolve
from anvil.lab.preflight.families import without_thinking
from anvil.lab.writing import WriteFailed, WriteRefused, write_whole

Command = TypeVar("Command", bound=Callable[..., Any])
Value = TypeVar("Value")


def endpoint_options(command: Command) -> Command:
    """--base-url, --model, --serve, --tier, --topology, --api-key-env, --family, --no-thinking."""
    for option in (
        click.option("--no-thinking", is_flag=True, help="Send the family's switch that turns thinking off."),
        click.option("--family", metavar="F", help="Model family, such as qwen3 or gpt-oss; --serve knows its own."),
        click.option("--api-key-env", metavar="NAME", help="Variable that holds the key; a key is never an argument."),
        topology_file.option,
        click.option("--tier", metavar="ID", help="Address, model and extra body of this tier of the topology."),
        click.option("--serve", metavar="NAME", help="Address and model of this serve of the topology."),
        click.option("--model", metavar="M", help="The name the endpoint serves the model under."),
        click.option("--base-url", metavar="URL", help="OpenAI-compatible address, with or without /v1."),
    ):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """--force and --mkdir of a command that writes files."""
    for option in (
        click.option("--mkdir", is_flag=True, help="Make missing folders of the files written."),
        click.option("--force", is_flag=True, help="Replace files that exist."),
    ):
        command = option(command)
    return command


def named_endpoint(options: dict[str, Any]) -> tuple[Endpoint, str | None]:
    """The endpoint of the flags, taken out of ``options``, and its family. Raises Refused."""
    no_thinking, stated = options.pop("no_thinking"), options.pop("family")
    names = ("base_url", "model", "serve", "tier", "topology", "api_key_env")
    endpoint = resolve(Asked(**{name: options.pop(name) for name in names}), os.environ)
    family = stated or endpoint.facts.family
    return (without_thinking(endpoint, family) if no_thinking else endpoint), family


def run(work: Coroutine[Any, Any, Value]) -> Value:
    """Run it to its end; Ctrl-C exits 130."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None


def write(path: Path, content: bytes, *, force: bool, mkdir: bool) -> None:
    """Put a result into its file; what cannot be written exits 1."""
    try:
        write_whole(path, content, force=force, mkdir=mkdir)
    except (WriteFailed, WriteRefused) as problem:
        raise stop(problem, FAILED) from None


def document(report: msgspec.Struct | dict[str, Any]) -> bytes:
    """One JSON document for people and programs, with a line end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
