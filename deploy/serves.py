"""The serves alone; the router is not touched."""

from anvil.deploys import machine, multiplexer, report, serves, weights

machine.prepared()
machine.images()
weights.present()
multiplexer.gone_where_undeclared()
serves.running()
report.printed()
