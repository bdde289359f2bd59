"""Remove containers by name: --data name=CONTAINER."""

from anvil.deploys import serves

serves.retired()
