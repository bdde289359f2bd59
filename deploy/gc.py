"""Old releases, reports and folders of trials removed; `--dry` says which and why."""

from anvil.deploys import gc

gc.collected()
