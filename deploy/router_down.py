"""Stop the router; network, volumes and releases stay."""

from anvil.deploys import router

router.stopped()
