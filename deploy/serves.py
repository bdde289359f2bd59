"""The serves alone; the router is not touched."""

from anvil.deploys import machine, report, serves, weights

machine.prepared()
machine.images()
weights.present()
serves.running()
report.printed()
