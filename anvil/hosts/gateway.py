"""An OpenClaw gateway: its way to the router, its restart, and proof that it runs what was written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent  # type: ignore[import-untyped]  # pyinfra runs on it; its sleep lets the other hosts work
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host, state

from anvil.hosts.announce import announce
from anvil.hosts.docker import documents
from anvil.hosts.http_reply import PostReply, Reply, ReplyAnswer, authorisation
from anvil.hosts.openclaw import (
    COMMAND_SECONDS,
    CONNECTION_SECONDS,
    RUN,
    OpenClawModels,
    OpenClawPlugin,
    OpenClawService,
    PluginAnswer,
)
from anvil.hosts.services import failing
from anvil.hosts.shell import Commands, script

READ_BACK_SECONDS = 60
LIVE_EDIT_SECONDS = 15  # Releases that apply model edits by themselves need about three.
PROBE_SECONDS = 120
PAUSE_SECONDS = 3
DECISION = "x-anvil-decision"

_RESTART = f"""login=$1
limited() {{ shift; "$@"; }}
{RUN}run "openclaw gateway restart"
"""
# A release without a service manager exits 0 although it restarted nothing, or says that it may not look.
_NO_GATEWAY = re.compile(r"service management skipped")
_NO_SERVICE = re.compile(r"gateway service (?:disabled|not )", re.IGNORECASE)


@operation()
def router_reachable(base_url: str, presets: tuple[str, ...], release: str, token: str) -> Commands:
    """
    See the router from the gateway: the expected release, and presets offered for this token. Changes nothing.

    + base_url: as a client is told it, normally with /v1
    + presets: the topology's; those that the live profile leaves no tier for are named, and fail only all together
    + release: the release that must answer, "" = any
    """
    if not state.is_executing:
        host.noop("known when the router is live")
        return
    health = host.get_fact(Reply, f"{base_url.removesuffix('/v1')}/healthz", 10, _stdin="\n")
    if problem := reachable(health, release):
        yield failing(f"{base_url} from here: {problem}")
        return
    models = host.get_fact(Reply, f"{base_url}/models", 10, _stdin=authorisation(token))
    ids = offered(models)
    missing = [preset for preset in presets if preset not in ids]
    if models.code != 200 or len(missing) == len(presets):
        lacks = "offers none of the presets" if models.code == 200 else f"answers {models.code}"
        yield failing(f"{base_url}/models from here: {lacks}")
    elif missing:
        lacks = ", ".join(missing)
        host.log_styled(f"WARN the live profile leaves no tier for {lacks}: left out of the document", fg="yellow")


def offered(models: ReplyAnswer) -> frozenset[str]:
    """The ids in an answer of /v1/models."""
    return frozenset(str(row.get("id")) for row in _object(models.body).get("data") or ())


def reachable(health: ReplyAnswer, release: str) -> str:
    """Why the answer of /healthz is not the router that was expected, or ""."""
    if health.code != 200:
        return health.error or f"/healthz answers {health.code}"
    answered = str(_object(health.body).get("release") or "")
    return "" if release in ("", answered) else f"release {answered or 'none'} answers, {release} was expected"


def _object(text: str) -> dict[str, Any]:
    return next((value for value in documents(text) if isinstance(value, dict)), {})


@operation()
def gateway_restarted(
    login: bool, wanted: Callable[[], dict[str, int]], applies_itself: Callable[[], bool], why: str
) -> Commands:
    """
    Restart the gateway, unless it has applied the change by itself.

    + wanted: `anvil/<preset>` -> window that the gateway must list
    + applies_itself: whether this release and this change need no restart
    """
    if state.is_executing and applies_itself() and _listed(host, login, wanted(), LIVE_EDIT_SECONDS) == "":
        host.noop("the gateway applied it by itself")
        return
    announce(f"gateway: restarted ({why})")
    yield FunctionCommand(_restart, (login,), {})


def _restart(state: State, host: Host, login: bool) -> bool:
    done, output = host.run_shell_command(
        script(_RESTART, str(login).lower()),
        print_output=state.print_output,
        print_input=state.print_input,
        _timeout=COMMAND_SECONDS,
    )
    if done and not _NO_SERVICE.search(output.output):
        return True
    if done:
        host.log_styled(
            "WARN openclaw restarted nothing, for no service keeps this gateway: one in the foreground takes the"
            " document up by itself, or restart it by hand",
            fg="yellow",
        )
        return True
    for line in output.output_lines[-20:]:
        host.log(f"    {line}")
    hint = ": no gateway runs here that could be restarted: start it, then run harness_restart.py"
    host.log_styled(f"openclaw gateway restart failed{hint if _NO_GATEWAY.search(output.output) else ''}", fg="red")
    return False


@operation()
def gateway_answers(login: bool) -> Commands:
    """
    Wait until a gateway answers on this machine: a restart takes 15 to 60 s. Changes nothing.
    """
    if not state.is_executing:
        host.noop("known when the gateway runs the document")
        return
    if lacking := _settled(lambda: _silent(host, login), READ_BACK_SECONDS):
        yield failing(f"gateway: {lacking}")


def _silent(on: Host, login: bool) -> str:
    told = on.get_fact(OpenClawService, login, _timeout=CONNECTION_SECONDS)
    if not told.ok:
        on.log_styled(f"WARN openclaw gateway status does not say whether it runs: {told.error}", fg="yellow")
        return ""
    if not told.answers:
        return f"does not answer ({told.why or 'no reason given'}): start it, and read its log"
    if not told.managed:
        on.log_styled("WARN the gateway is not kept by a service manager: nobody starts it after a reboot", fg="yellow")
    return ""


@operation()
def gateway_in_step(login: bool, wanted: Callable[[], dict[str, int]]) -> Commands:
    """
    Wait until the gateway's release lists every preset with its window. Changes nothing.
    """
    if not state.is_executing:
        host.noop("known when the gateway runs the document")
        return
    if lacking := _listed(host, login, wanted(), READ_BACK_SECONDS):
        yield failing(f"gateway: {lacking}")


@operation()
def plugin_loaded(login: bool, identity: str, hook: str) -> Commands:
    """
    Wait until the gateway's release loads this plugin, with its hook and the right to read a turn. Changes nothing.
    """
    if not state.is_executing:
        host.noop("known when the gateway runs the document")
        return

    def lacking() -> str:
        return plugin_lacks(host.get_fact(OpenClawPlugin, login, identity, _timeout=CONNECTION_SECONDS), hook)

    if found := _settled(lacking, READ_BACK_SECONDS):
        yield failing(f"plugin {identity}: {found}")


def plugin_lacks(told: PluginAnswer, hook: str) -> str:
    """Why the plugin does not do its work, or ""."""
    if not told.ok:
        return told.error
    if told.state != "loaded":
        return f"is {told.state or 'not there'}, not loaded"
    if hook not in told.hooks:
        return f"registers no {hook}"
    return "" if told.access else f"hooks.allowConversationAccess is not granted, so {hook} is never called"


def _listed(on: Host, login: bool, wanted: dict[str, int], seconds: int) -> str:
    """ "" once every model is listed with its window, else what is lacking when the time is up."""

    def lacking() -> str:
        told = on.get_fact(OpenClawModels, login, _timeout=CONNECTION_SECONDS)
        return told.error or "; ".join(
            f"{key} has window {told.windows.get(key, 'none')}, not {window}"
            for key, window in wanted.items()
            if told.windows.get(key) != window
        )

    return _settled(lacking, seconds)


def _settled(lacking: Callable[[], str], seconds: int) -> str:
    """ "" as soon as nothing is lacking, else what is when the time is up."""
    deadline = time.monotonic() + seconds
    while (found := lacking()) and time.monotonic() < deadline:
        gevent.sleep(PAUSE_SECONDS)
    return found


@operation()
def answers_through(base_url: str, presets: tuple[str, ...], token: str, exhausted: Mapping[str, int]) -> Commands:
    """
    Ask each preset for one word, from the gateway. Changes nothing.

    + exhausted: the status that is fine too for a preset that no local tier stands behind, by design
    """
    if not state.is_executing:
        host.noop("known when the router is live")
        return
    for preset in presets:
        if problem := _spoken(base_url, preset, token, exhausted.get(preset, 200)):
            yield failing(f"{preset} through {base_url}: {problem}")
            return


def _spoken(base_url: str, preset: str, token: str, exhausted: int) -> str:
    message = {"role": "user", "content": "Reply with the single word: ready"}
    body = json.dumps({"model": f"anvil/{preset}", "messages": [message], "max_tokens": 64})
    url = f"{base_url}/chat/completions"
    return unspoken(host.get_fact(PostReply, url, PROBE_SECONDS, body, _stdin=authorisation(token)), exhausted)


def unspoken(told: ReplyAnswer, exhausted: int) -> str:
    """Why this is no answer of the router, or ""."""
    if told.code not in (200, exhausted):
        return f"answers {told.code}" if told.code else told.error
    if DECISION not in told.headers:
        return f"answers {told.code} without {DECISION}: this is not the router"
    if told.code != 200:
        return ""
    choices = _object(told.body).get("choices") or [{}]
    content = (choices[0].get("message") or {}).get("content")
    return "" if content else "answers 200 without content"
