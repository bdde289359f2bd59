"""What pyinfra reads before any inventory (its default name for it): is the inventory there at all?"""

import sys

import click

from anvil.deploys.inventory import refuse_missing

_asked = click.get_current_context(silent=True)
if _asked is not None:
    refuse_missing(str(_asked.params.get("inventory") or ""), sys.argv[1:])
