"""Secret values on the controller: from its environment, then from one env file. Values are shown to nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from msgspec import Struct
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.hiddenvalue import HiddenValue

from anvil.render import env
from anvil.topology import check, derived
from anvil.topology.model import Topology

_TOKEN = re.compile(r"[!-~]+")
SHORTEST_TOKEN = 24  # characters, of a router that others can reach (S4)
DEFAULT_FILES = ("~/.anvil_env", "~/.env")


class Held(Struct, frozen=True):
    """`sources` says where each value came from, for people."""

    values: dict[str, HiddenValue]
    sources: dict[str, str]

    def digests(self) -> env.Secrets:
        return env.Secrets.of(self.plain())

    def plain(self) -> dict[str, str]:
        """The values, for the one place that writes them to a host."""
        return {name: value.unmask() for name, value in self.values.items()}


def of(topology: Topology, env_file: str) -> Held:
    """Every secret that a machine of the topology wants and this controller has. Raises PyinfraError."""
    names = {name for machine in topology.machines for name in derived.secret_names(topology, machine).all()}
    return held(sorted(names), os.environ, file_of(env_file))


def without(held: Held, dropped: Collection[str]) -> Held:
    """What is left when this run drops some from the hosts."""
    kept = {name: value for name, value in held.values.items() if name not in dropped}
    return Held(kept, {name: source for name, source in held.sources.items() if name in kept})


def complete(topology: Topology, own: Held, file: str) -> None:
    """T16 and 11.6: raises PyinfraError when a required name has no value, or a published router's token is short."""
    errors = [finding for finding in check.check(topology, set(own.values)) if finding.level == "error"]
    if errors:
        raise PyinfraError("\n".join(check.lines(errors, file)))
    place = topology.router
    for name in place.token:
        if not _TOKEN.fullmatch(own.values[name].unmask()):
            raise PyinfraError(
                f"{name}: holds a space or another character that no Authorization header carries;"
                " `anvil token new` prints one that it does"
            )
    if place.publish.startswith("127.") or place.publish == "::1":
        return
    for name in place.token:
        if len(own.values[name].unmask()) < SHORTEST_TOKEN:
            raise PyinfraError(
                f"{name}: a router published on {place.publish} needs a token of at least {SHORTEST_TOKEN} characters;"
                " `anvil token new` prints one"
            )


def file_of(chosen: str) -> Path | None:
    """The env file of this run: the one named, none, or the first that exists. PyinfraError: the one named is not."""
    if chosen == "none":
        return None
    if chosen:
        named = Path(chosen).expanduser()
        if not named.is_file():
            raise PyinfraError(f"--data env_file={chosen}: no such file")
        return named
    return next((found for each in DEFAULT_FILES if (found := Path(each).expanduser()).is_file()), None)


def held(names: Iterable[str], environ: Mapping[str, str], file: Path | None) -> Held:
    """The wanted names that have a value. Raises PyinfraError naming file and line, never a value."""
    written = _read(file) if file is not None else {}
    values: dict[str, HiddenValue] = {}
    sources: dict[str, str] = {}
    for name in names:
        value, source = (environ[name], "the environment") if environ.get(name) else (written.get(name), str(file))
        if value:
            values[name] = HiddenValue(value)  # type: ignore[no-untyped-call]  # pyinfra's constructor has no types
            sources[name] = source
    return Held(values, sources)


def _read(file: Path) -> dict[str, str]:
    try:
        return env.parse(file.read_text(encoding="utf-8"))
    except env.EnvFileError as error:
        raise PyinfraError(f"{file}: {error}") from None
    except (OSError, UnicodeDecodeError):
        raise PyinfraError(f"{file}: cannot be read") from None
