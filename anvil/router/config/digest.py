"""The short hash by which a deployment knows that a configuration is live (contract 2.9)."""

from __future__ import annotations

import hashlib

import msgspec

from anvil.router.config.model import RouterConfig


def config_hash(config: RouterConfig, profile_digest: str) -> str:
    """16 hex: SHA-256 over the canonical JSON of the configuration with defaults filled in, and the profile's digest.

    profile_digest: hex SHA-256 of the profile file, "" for the seed profile. Order inside the presets table counts
    nothing; order of tiers and of a preset's list does.
    """
    encoded = msgspec.json.encode({"config": config, "profile": profile_digest}, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:16]
