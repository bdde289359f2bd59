"""What stands, in one table; exit 1 when something wanted up is not healthy."""

from anvil.deploys import report

report.status()
