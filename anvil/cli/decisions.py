"""``anvil decisions`` and ``anvil explain``: what a running router did, read over its API (contract 2.13)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import click
import httpx
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anvil.cli.ending import stop, unauthorized
from anvil.cli.exit_codes import FAILED, UNREACHABLE, USAGE
from anvil.lab import whole_answer
from anvil.router.decisions.query import BadQuery
from anvil.router.decisions.query import parse as parse_query
from anvil.router.decisions.record import ID_PATTERN, Decision, decode
from anvil.router.decisions.story import tell

CONNECT_SECONDS: Final = 4.0
# a page of 1000 records takes a busy router far less
ANSWER_SECONDS: Final = 10.0
# longer than the comment a quiet follow stream sends every 15 s
SILENCE_SECONDS: Final = 40.0
RETRY_SECONDS: Final = 2.0
# may mean ::1, where no router of ours listens
LOCAL_NAME: Final = "localhost"

Command = TypeVar("Command", bound=Callable[..., Any])


# --------------------------------------------------------------------------------------------- connection


def _connection_options(command: Command) -> Command:
    command = click.option(
        "--url",
        default="http://127.0.0.1:8000",
        show_default=True,
        envvar="ANVIL_ROUTER_URL",
        help="The router.  [env: ANVIL_ROUTER_URL]",
    )(command)
    return click.option(
        "--token-env",
        default="ANVIL_ROUTER_TOKEN",
        show_default=True,
        metavar="NAME",
        help="Variable that holds the router's token; unset or blank: none is sent.",
    )(command)


def _client(url: str, token_env: str) -> httpx.Client:
    try:
        base = httpx.URL(url.rstrip("/").removesuffix("/v1"))
    except httpx.InvalidURL:
        base = httpx.URL("")
    if base.scheme not in ("http", "https") or not base.host:
        raise stop(f"--url {url!r} is not an http or https URL, for example http://127.0.0.1:8000", USAGE)
    if base.host == LOCAL_NAME:
        click.echo("note: localhost is read as 127.0.0.1", err=True)
        base = base.copy_with(host="127.0.0.1")
    token = os.environ.get(token_env, "").strip()
    return httpx.Client(
        base_url=base,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,
    )


def _get(client: httpx.Client, path: str, token_env: str) -> httpx.Response:
    try:
        answer = whole_answer.get(client, path, seconds=ANSWER_SECONDS, connect=CONNECT_SECONDS)
    except httpx.HTTPError as error:
        raise _unreachable(client, error) from None
    return _checked(answer, token_env)


def _unreachable(client: httpx.Client, error: Exception) -> click.ClickException:
    return stop(f"no router answers at {client.base_url} ({whole_answer.trouble(error)}); see --url", UNREACHABLE)


def _checked(answer: httpx.Response, token_env: str) -> httpx.Response:
    if answer.status_code == 200:
        return answer
    if answer.status_code == 401:
        raise unauthorized(token_env)
    raise stop(whole_answer.refusal(answer.status_code, _message(answer)), FAILED)


def _message(answer: httpx.Response) -> str:
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return str(message)[:512]


# ----------------------------------------------------------------------------------------------- decisions

_FILTERS: Final = ("tier", "work_class", "preset", "endpoint", "outcome", "failure_class", "status")
_SINGLE: Final = {
    "since": "Not older: RFC 3339 with offset, or unix seconds.",
    "until": "Older than this; forms as for --since.",
    "before": "Made before this decision id.",
    "after": "Made after this decision id.",
    "caller_model": "What the caller wrote in `model`.",
}
_FLAGS: Final = {"fell-back": "Whether a tier before the one that served failed.", "committed": "Whether answered."}


def _filter_options(command: Command) -> Command:
    for name, meaning in _SINGLE.items():
        command = click.option(f"--{name.replace('_', '-')}", name, help=meaning)(command)
    for name in _FILTERS:
        command = click.option(f"--{name.replace('_', '-')}", name, multiple=True, help="Repeatable: any of.")(command)
    for name, meaning in _FLAGS.items():
        command = click.option(f"--{name}/--not-{name}", default=None, help=meaning)(command)
    return command


@click.command()
@_connection_options
@_filter_options
@click.option("-n", "--limit", type=click.IntRange(1, 1000), help="How many; default 20, with --follow 0.")
@click.option("-f", "--follow", is_flag=True, help="Stay and show new decisions as they are made.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document; with --follow one record a line.")
def decisions(url: str, token_env: str, limit: int | None, follow: bool, as_json: bool, **filters: object) -> None:
    """List what the router decided, newest first.

    `anvil explain ID` tells the story of one line. Exit 1: the router refused; 2: usage; 3: no router there.
    """
    parameters = _parameters(filters, limit if follow else limit or 20, follow)
    with _client(url, token_env) as client:
        if follow:
            _follow(client, parameters, token_env, as_json)
            return
        page = _get(client, f"/v1/decisions?{parameters}", token_env)
        if as_json:
            click.echo(b'{"schema":"anvil.decisions/v1",' + page.content.lstrip()[1:])
            return
        _show(_records(page.content))


def _parameters(filters: dict[str, object], limit: int | None, follow: bool) -> httpx.QueryParams:
    pairs: list[tuple[str, str | int | float | bool | None]] = [("follow", "1")] if follow else []
    if limit is not None:
        pairs.append(("limit", str(limit)))
    for name, value in filters.items():
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        pairs += [(name, str(item).lower() if isinstance(item, bool) else str(item)) for item in values]
    parameters = httpx.QueryParams(pairs)
    try:
        parse_query(str(parameters))
    except BadQuery as error:
        raise stop(str(error).replace("_", "-"), USAGE) from None
    return parameters


class _List(msgspec.Struct):
    data: list[Decision]


def _records(content: bytes) -> list[Decision]:
    try:
        return msgspec.json.decode(content, type=_List).data
    except msgspec.DecodeError:
        raise stop("the answer is not a list of decisions; is --url an anvil router?", FAILED) from None


COLUMNS: Final = ("id", "time", "asked", "class", "served by", "outcome", "failed tries", "tokens", "ms", "cost")


def _cells(record: Decision) -> list[str]:
    failed = [f"{attempt.tier_id}:{attempt.outcome}" for attempt in record.attempts if attempt.outcome != "served"]
    return [
        record.id,
        record.ts[11:23],
        record.caller_model or "-",
        record.work_class or "-",
        record.served_tier or "-",
        f"{record.outcome} {record.status}",
        ",".join(failed) or "-",
        f"{record.total_prompt_tokens}+{record.total_completion_tokens}",
        f"{record.duration_ms:.0f}",
        f"${record.cost_usd + record.wasted_cost_usd:.4f}",
    ]


def _show(records: list[Decision]) -> None:
    console = Console()
    if not records:
        click.echo("no decisions match")
        return
    if not console.is_terminal:  # for a pipe: one record a line, words that grep and awk can take
        for record in records:
            click.echo("  ".join(_cells(record)))
        return
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for record in records:
        table.add_row(*map(Text, _cells(record)), style=None if record.outcome == "served" else "yellow")
    console.print(table)


def _follow(client: httpx.Client, parameters: httpx.QueryParams, token_env: str, as_json: bool) -> None:
    """Print decisions until interrupted; a lost connection is taken up again where it broke."""
    last_id = ""
    connected = False
    while True:
        try:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
            with client.stream("GET", f"/v1/decisions?{parameters}", headers=headers) as answer:
                if answer.status_code != httpx.codes.OK:
                    _checked(whole_answer.read(answer, seconds=ANSWER_SECONDS), token_env)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise stop("the answer is not a stream of decisions; is --url an anvil router?", FAILED)
                connected = True
                for event, event_id, data in events(answer.iter_lines()):
                    last_id = event_id or last_id
                    _show_event(event, data, as_json)
        except httpx.HTTPError as error:
            if not connected:
                raise _unreachable(client, error) from None
        click.echo("connection lost, trying again", err=True)
        time.sleep(RETRY_SECONDS)


def _show_event(event: str, data: str, as_json: bool) -> None:
    if event == "gap":
        click.echo(f"some decisions were missed: {data}", err=True)
    elif event == "decision":
        click.echo(data if as_json else "  ".join(_cells(_record(data))))


def events(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """(event, id, data) of a server-sent event stream; comments are passed over."""
    event, event_id, data = "message", "", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield event, event_id, data
            event, event_id, data = "message", "", ""
        elif name == "event":
            event = value
        elif name == "id":
            event_id = value
        elif name == "data":
            data = f"{data}\n{value}" if data else value


# ------------------------------------------------------------------------------------------------- explain


@click.command()
@click.argument("decision_id", metavar="ID")
@_connection_options
@click.option("--json", "as_json", is_flag=True, help="The record and its story as one JSON document.")
def explain(decision_id: str, url: str, token_env: str, as_json: bool) -> None:
    """Tell the whole story of one request: ID is the x-anvil-decision header of its answer.

    Exit 1: unknown id or the router refused; 2: usage; 3: no router there.
    """
    if not ID_PATTERN.fullmatch(decision_id):
        raise stop(f"{decision_id!r} is not a decision id (dec_ and 24 hexadecimal digits); see anvil decisions", USAGE)
    with _client(url, token_env) as client:
        content = _get(client, f"/v1/decisions/{decision_id}", token_env).content
    story = tell(_record(content))
    if as_json:
        document = {"schema": "anvil.explain/v1", "record": msgspec.Raw(content), "story": story}
        click.echo(msgspec.json.encode(document))
        return
    click.echo("\n".join(story))


def _record(content: bytes | str) -> Decision:
    try:
        return decode(content)
    except msgspec.DecodeError:
        raise stop("the answer is not a decision record; is --url an anvil router?", FAILED) from None
