"""A candidate profile, settings overlay or image live: --data profile=FILE settings=FILE image=REF."""

from anvil.deploys import report, router

router.candidate_promoted()
report.printed()
