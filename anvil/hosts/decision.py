"""What to do about one service: the decision table as a pure function (operations.md 9.2), for every runtime."""

from __future__ import annotations

from typing import Literal

from anvil.hosts.containers import ServiceState
from anvil.hosts.shell import Struct

Verb = Literal["nothing", "warn", "up", "replace", "unpause", "unpause_up", "fail"]


class WantedService(Struct, frozen=True, kw_only=True):
    """One service as it should be. `why`: what differs from the live definition; `env_names`: its secrets' names."""

    name: str
    container: str
    revision: str
    env_digest: str = ""
    env_names: tuple[str, ...] = ()
    on_env_change: Literal["report", "recreate"] = "report"
    start_timeout_s: int = 900
    why: str = ""


class Options(Struct, frozen=True, kw_only=True):
    """What this run was asked for by name."""

    recreate: bool = False
    adopt: bool = False


class Action(Struct, frozen=True, kw_only=True):
    """`why` is a sentence for people; `force` asks the runtime to recreate even what it believes to be unchanged."""

    verb: Verb
    why: str = ""
    force: bool = False


def decide(live: ServiceState, wanted: WantedService, options: Options) -> Action:
    """The row of table 9.2 that applies. Never more than one service, never a needless reload."""
    if live.state in ("daemon_down", "error"):
        return _fail(live.error)
    if live.state in ("unknown", "removing"):
        why = live.error or "is being removed"
        return _fail(f"container {wanted.container} {why}: look at `docker inspect {wanted.container}`")
    if live.state == "foreign":
        return _foreign(live, wanted, options)
    if live.state == "absent":
        return Action(verb="up", why="absent")
    differs = _difference(live, wanted)
    if options.recreate or differs:
        return _changed(live, differs, options)
    return _same(live, wanted)


def _foreign(live: ServiceState, wanted: WantedService, options: Options) -> Action:
    owner = f"project {live.project}" if live.project else "no project"
    if options.adopt:
        return Action(verb="replace", why=f"adopts {wanted.container}, which belonged to {owner}")
    cure = f"take it over with --data adopt={wanted.name} (adopt.py or serves.py)"
    return _fail(f"the name {wanted.container} is taken by a container of {owner}: {cure}")


def _difference(live: ServiceState, wanted: WantedService) -> str:
    if live.revision == wanted.revision:
        return ""
    change = f"revision {live.revision or 'none'} -> {wanted.revision}"
    return f"{change}: {wanted.why}" if wanted.why else change


def _changed(live: ServiceState, differs: str, options: Options) -> Action:
    """The definition differs, or recreation was asked for by name."""
    why = differs or "recreate was asked for"
    if live.state == "dead":
        return Action(verb="replace", why=why)
    if live.state == "paused":
        return Action(verb="unpause_up", why=why, force=options.recreate)
    return Action(verb="up", why=why, force=options.recreate or live.state == "restarting")


def _same(live: ServiceState, wanted: WantedService) -> Action:
    """The definition is the wanted one: what remains is its state, its health and its environment."""
    if live.state == "dead":
        return _fail(f"container {wanted.container} is dead: --data recreate={wanted.name} replaces it")
    misnamed = bool(live.container) and live.container != wanted.container
    if live.detached or misnamed:
        verb: Verb = "unpause_up" if live.state == "paused" else "up"
        return Action(verb=verb, why=f"is called {live.container}" if misnamed else "its network is gone", force=True)
    if live.state == "restarting":
        return _fail(f"container {wanted.container} is crash-looping ({live.restart_count} restarts)")
    if live.state == "paused":
        return Action(verb="unpause", why="paused")
    if live.state in ("created", "exited"):
        return Action(verb="up", why=live.state)
    if wanted.env_digest != live.env:
        return _environment(wanted)
    if live.health == "unhealthy" and live.age_s > wanted.start_timeout_s:
        return _fail(f"container {wanted.container} is unhealthy: --data recreate={wanted.name} forces a new one")
    return Action(verb="nothing", why="running as wanted")


def _environment(wanted: WantedService) -> Action:
    names = ", ".join(wanted.env_names) or wanted.name
    if wanted.on_env_change == "recreate":
        return Action(verb="up", why=f"env of {names} changed")
    return Action(verb="warn", why=f"env of {names} changed; pending until recreate={wanted.name}")


def _fail(why: str) -> Action:
    return Action(verb="fail", why=why)
