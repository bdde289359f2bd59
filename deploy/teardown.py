"""Stop and remove everything that runs; files, volumes and images stay: --data confirm=DEPLOYMENT."""

from anvil.deploys import teardown

teardown.done()
