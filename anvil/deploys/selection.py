"""Which serves a run means: names are exact, and a name that means nothing or two things refuses."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pyinfra.api.exceptions import PyinfraError

from anvil.topology import derived
from anvil.topology.model import Topology


def serves(topology: Topology, key: str, wanted: Collection[str]) -> tuple[str, ...]:
    """Serve names for serve or container names. Raises PyinfraError when one matches no serve, or two."""
    known = {name: derived.container(topology, name) for name in topology.serves}
    return tuple(_one(key, each, known) for each in wanted)


def _one(key: str, word: str, known: Mapping[str, str]) -> str:
    matching = [name for name, container in known.items() if word in (name, container)]
    if not matching:
        raise PyinfraError(f"--data {key}={word}: no serve has this name; there are: {', '.join(known) or 'none'}")
    if len(matching) > 1:
        raise PyinfraError(f"--data {key}={word}: means {' and '.join(matching)}; use a name that means one")
    return matching[0]


def containers(topology: Topology, words: Collection[str], confirm: str = "") -> tuple[str, ...]:
    """9.7: container names to remove. A word that names one serve means its container, one that names none is literal.

    Raises PyinfraError for a word that means several serves, and for the router without `confirm=router`.
    """
    known = {name: derived.container(topology, name) for name in topology.serves}
    if topology.multiplexer is not None:
        known["multiplexer"] = topology.multiplexer.container
    found: list[str] = []
    for word in words:
        meant = {known[name] for name in known if word in (name, known[name])}
        if len(meant) > 1:
            raise PyinfraError(f"--data retire={word}: means {' and '.join(sorted(meant))}; nothing was removed")
        found.append(meant.pop() if meant else word)
    mine = {topology.router.container, derived.socket_container(topology)}
    if (named := next((each for each in found if each in mine), "")) and confirm != "router":
        raise PyinfraError(f"--data retire={named}: is the router; retire.py removes it with --data confirm=router")
    return tuple(dict.fromkeys(found))
