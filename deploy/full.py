"""Everything: machine, images, weights, serves, multiplexer, router, gateways, and a table of what stands."""

from anvil.deploys import doctor, gateway, machine, multiplexer, report, router, serves, weights

doctor.passed()
machine.prepared()
machine.images()
weights.present()
multiplexer.gone_where_undeclared()
serves.running()
multiplexer.running_where_declared()
router.promoted()
gateway.in_step()
report.printed()
