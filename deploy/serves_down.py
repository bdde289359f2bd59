"""Stop the selected serves, or all of them."""

from anvil.deploys import serves

serves.stopped()
