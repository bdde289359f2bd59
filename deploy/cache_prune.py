"""What of the weights' volumes nothing uses: a plan; --data execute=true include_servable=true protect=REPO."""

from anvil.deploys import prune

prune.pruned()
