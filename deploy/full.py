"""Everything: machine, images, weights, serves, router, gateways, and a table of what stands."""

from anvil.deploys import doctor, gateway, machine, report, router, serves, weights

doctor.passed()
machine.prepared()
machine.images()
weights.present()
serves.running()
router.promoted()
gateway.in_step()
report.printed()
