"""Everything: machine, images, weights, serves, router, gateways, and a table of what stands."""

from anvil.deploys import doctor, machine, report, router, serves

doctor.passed()
machine.prepared()
machine.images()
serves.running()
router.promoted()
report.printed()
