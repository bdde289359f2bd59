"""The serves alone; the router is not touched."""

from anvil.deploys import machine, report, serves

machine.prepared()
machine.images()
serves.running()
report.printed()
