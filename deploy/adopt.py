"""Take over containers that carry our names but not our project: --data adopt=SERVE."""

from anvil.deploys import machine, report, serves

machine.prepared()
serves.adopted()
report.printed()
