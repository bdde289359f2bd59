"""Machines of `inventory/topology.toml` (or of the file that ANVIL_TOPOLOGY names), reached over SSH."""

from pyinfra.context import config

from anvil.deploys.inventory import checked, over_ssh

config.FAIL_PERCENT = 0  # One failed host ends the run before the next step.

_groups = over_ssh(checked("inventory/topology.toml"))
machines, gpu, router, gateway = (_groups[_name] for _name in ("machines", "gpu", "router", "gateway"))
