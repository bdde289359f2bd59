"""What router.toml means: the contract between the deploy wing and the run time (contract 4).

``load`` reads, validates and cross-checks a file; every problem of the file is reported together in one ConfigError.
"""

from anvil.router.config.check import warnings
from anvil.router.config.digest import config_hash
from anvil.router.config.model import (
    BreakerConfig,
    ConfigError,
    DecisionsConfig,
    Limits,
    Role,
    RouterConfig,
    ServerConfig,
    Silence,
    TierConfig,
    silence,
)
from anvil.router.config.read import load

__all__ = [
    "BreakerConfig",
    "ConfigError",
    "DecisionsConfig",
    "Limits",
    "Role",
    "RouterConfig",
    "ServerConfig",
    "Silence",
    "TierConfig",
    "config_hash",
    "load",
    "silence",
    "warnings",
]
