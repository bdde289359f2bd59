"""The previous release live again, or --data release=ID."""

from anvil.deploys import report, router

router.rolled_back()
report.printed()
