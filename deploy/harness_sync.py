"""OpenClaw gateways in step with the live router: --data restart=never, allow_drift=true, overwrite_url=true."""

from anvil.deploys import gateway

gateway.in_step()
