"""A candidate profile, settings overlay or image live: --data profile=FILE settings=FILE image=REF."""

from anvil.deploys import machine, report, router

machine.router_image()
router.candidate_promoted()
report.printed()
