"""The last lines of one container: --data name=CONTAINER tail=200 since=10m."""

from anvil.deploys import logs

logs.printed()
