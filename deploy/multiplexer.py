"""One card, several models: their containers created, and the multiplexer that starts them on demand."""

from anvil.deploys import machine, multiplexer, report, weights

machine.prepared()
weights.present()
multiplexer.running()
report.printed()
