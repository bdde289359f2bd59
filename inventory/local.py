"""`inventory/local.toml` (or the file that ANVIL_TOPOLOGY names) on this one machine: a first try, or a rehearsal."""

from pyinfra.context import config

from anvil.deploys.inventory import checked, here

config.FAIL_PERCENT = 0

_groups = here(checked("inventory/local.toml"))
machines, gpu, router, gateway = (_groups[_name] for _name in ("machines", "gpu", "router", "gateway"))
