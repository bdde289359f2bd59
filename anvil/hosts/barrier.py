"""A point that every machine of a run passes before any goes on.

pyinfra orders the operations of one machine. Those of two machines are in order only where both share an operation:
without one, a gateway would be written while the router's machine still stages its release.
"""

from __future__ import annotations

from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.shell import Commands


@operation()
def barrier() -> Commands:
    """
    Wait for all machines of the run. Changes nothing.
    """
    host.noop("every machine is here")
    yield from ()
