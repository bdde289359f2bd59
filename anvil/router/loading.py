"""Everything ``anvil serve`` needs, loaded and checked before a worker exists; ``anvil check`` stops after it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from anvil.router import config as configuration
from anvil.router import observer
from anvil.router.backends import Binding, bind
from anvil.router.config import ConfigError, RouterConfig
from anvil.router.cost import sync_prices
from anvil.router.observer import Observe
from anvil.router.profile import Profile

_RELEASE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Loaded(Struct):
    """One immutable configuration, ready to serve. ``tokens`` are UTF-8 bytes; they never enter a repr or a log."""

    config: RouterConfig
    profile: Profile
    binding: Binding
    config_hash: str
    release: str | None
    mode: str | None
    tokens: tuple[bytes, ...]
    notes: list[str]
    echo: bool = False
    observe: Observe | None = None

    def __repr__(self) -> str:
        return f"Loaded({self.config_hash})"


def load(path: Path, *, mode: str | None, environ: Mapping[str, str], online: bool = True) -> Loaded:
    """Read configuration and profile; decide which tiers are bound. Raises ConfigError with every problem.

    online: as ``serve`` does it, secrets and a usable tier required. Else, for ``check``, nothing is contacted and a
    missing secret is a note.
    """
    real = path.expanduser().resolve()
    config = configuration.load(real, environ=dict(environ))
    profile, digest, notes = load_profile(config, mode, real.parent)
    config_hash = configuration.config_hash(config, digest)
    if config.cost_sync and online:
        config = sync_prices(config, warn=notes.append, failed=lambda: None)
    binding = bind(config, environ, online=online)
    return Loaded(
        config=config,
        profile=profile,
        binding=binding,
        config_hash=config_hash,
        release=release_beside(real),
        mode=mode,
        tokens=tokens(config, environ) if online else (),
        observe=observer.find(config.observer) if config.observer else None,
        notes=[*configuration.warnings(config, profile), *notes, *binding.notes, *missing_tokens(config, environ)],
    )


def load_profile(config: RouterConfig, mode: str | None, folder: Path) -> tuple[Profile, str, list[str]]:
    """The profile in force, the digest of its file ("" for the seed), and a note per stale row.

    A relative profile_path lies beside the configuration file, so that a release can be checked before it is live.
    """
    if config.profile_path is None:
        return Profile.seed(config), "", []
    path = folder / Path(config.profile_path).expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"router.profile_path: {path}: {error.strerror or error}"]) from None
    profile = Profile.load(data, config, mode=mode, name=str(path))
    notes = [f"profile row {tier}/{work_class} is stale: its serve changed" for tier, work_class in profile.stale_rows]
    return profile, hashlib.sha256(data).hexdigest(), notes


def tokens(config: RouterConfig, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Values of the auth_env variables. Raises ConfigError naming each missing or blank one."""
    missing = missing_tokens(config, environ)
    if missing:
        raise ConfigError(missing)
    return tuple(environ[name].strip().encode() for name in config.server.auth_env)


def missing_tokens(config: RouterConfig, environ: Mapping[str, str]) -> list[str]:
    return [
        f"server.auth_env: {name} is not set; export it or drop it from the list"
        for name in config.server.auth_env
        if not environ.get(name, "").strip()
    ]


def release_beside(path: Path) -> str | None:
    """First line of the file RELEASE beside the resolved configuration file, None when absent or malformed."""
    try:
        lines = (path.parent / "RELEASE").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return lines[0] if lines and _RELEASE.fullmatch(lines[0]) else None
