"""How each client wants to be configured. Pure: a router's description in, documents out."""

from anvil.harness.model import Harness

HARNESSES: dict[str, Harness] = {}
