"""One end for a look at several machines: every one of them is told of before the run fails.

pyinfra loads a deploy file for all hosts at once and drops the others as soon as one raises.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import State
from pyinfra.context import host

_told: WeakKeyDictionary[State, dict[tuple[str, str], str]] = WeakKeyDictionary()


def concluded(look: str, failure: str) -> None:
    """Note how this host came out of a look, "" for well; every host of the run must call it.

    Raises PyinfraError with every failure once the last of them has.
    """
    state = host.state
    told = _told.setdefault(state, {})
    told[look, host.name] = failure
    mine = [each for (called, _), each in told.items() if called == look]
    failures = [each for each in mine if each]
    if failures and len(mine) >= state.inventory.len_active_hosts():
        raise PyinfraError("\n".join(failures))
