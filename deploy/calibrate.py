"""Answers of the local tiers to the evaluation prompts, brought here: --data out=DIR tiers=A classes=B max_tokens=N."""

from anvil.deploys import calibrate

calibrate.generated()
