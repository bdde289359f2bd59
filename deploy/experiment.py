"""A model trial in a project of its own: --data model=REPO gpu=CARD port=30005; present=false removes it."""

from anvil.deploys import experiment

experiment.present()
