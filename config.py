"""What pyinfra reads before any inventory (its default name for it): is what was typed complete?"""

import sys

import click

from anvil.deploys.inventory import refuse_missing
from anvil.deploys.options import refuse_bare

_asked = click.get_current_context(silent=True)
if _asked is not None:
    refuse_bare(sys.argv[1:])
    refuse_missing(str(_asked.params.get("inventory") or ""), sys.argv[1:])
