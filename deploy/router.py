"""Stage and promote the release of the inventory; a serve is never touched."""

from anvil.deploys import machine, report, router

machine.prepared()
machine.router_image()
router.promoted()
report.printed()
