"""Pull the weights that the serves need: --data only=SERVE refresh=true."""

from anvil.deploys import machine, weights

machine.prepared()
machine.images()
weights.present()
