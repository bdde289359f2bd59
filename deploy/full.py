"""Everything: machine, images, weights, serves, multiplexer, router, gateways, what stands, what to do with it."""

from anvil.deploys import doctor, gateway, machine, multiplexer, next_steps, report, router, serves, weights

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
next_steps.told()
