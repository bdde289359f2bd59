"""Everything that can be refused is refused here, before a single connection (lab contract 6.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from anvil.lab.evaluation import cases
from anvil.lab.evaluation.cases import Case
from anvil.lab.evaluation.folder import BadEvaluation
from anvil.lab.writing import WriteRefused, check_target
from anvil.router import config as configuration
from anvil.router import modes
from anvil.router.backends import base_of
from anvil.router.config import ConfigError, RouterConfig, TierConfig
from anvil.router.profile import Row, read, seed_rows

MIN_TOKENS = 4096
_PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """Nothing was tried; every line names a flag or file and a fix."""


class Asked(Struct, frozen=True, kw_only=True):
    """What the operator asked for. ``endpoints``: tier id -> confirmed URL; exactly one of the two folders or none."""

    config: str | None = None
    mode: str | None = None
    out: Path | None = None
    endpoints: Mapping[str, str] = {}
    confirmed: bool = False
    eval_data: Path | None = None
    classes: Sequence[str] = ()
    tiers: Sequence[str] = ()
    max_tokens: int = MIN_TOKENS
    resume: bool = False
    generate_only: Path | None = None
    from_outputs: Path | None = None
    force: bool = False
    mkdir: bool = False


class Plan(Struct, frozen=True, kw_only=True):
    """What will be done. ``live``: rows of the profile in force; ``live_file`` is None for the seed profile."""

    config: RouterConfig
    mode: str | None
    live: list[Row]
    live_file: Path | None
    tiers: list[TierConfig]
    cases: list[Case]
    warnings: list[str]


def make(asked: Asked, environ: Mapping[str, str]) -> Plan:
    """The plan, or Refused with the first problem. Reads files; contacts nothing."""
    if asked.generate_only and asked.from_outputs:
        raise Refused("--generate-only and --from-outputs exclude each other: they are the two halves of one run")
    path, mode = _selected(asked, environ)
    try:
        config = configuration.load(path, environ=environ)
        live, live_file = _live(config, path)
    except ConfigError as error:
        raise Refused(str(error)) from None
    _check_outputs(asked)
    if asked.from_outputs is not None:
        return Plan(config=config, mode=mode, live=live, live_file=live_file, tiers=[], cases=[], warnings=[])
    if not asked.confirmed:
        raise Refused("give --i-understand-this-calls-real-tiers: every prompt is sent to every tier measured")
    if asked.max_tokens < MIN_TOKENS:
        raise Refused(
            f"--max-tokens {asked.max_tokens}: give at least {MIN_TOKENS}; a cut answer is graded as a bad one"
        )
    warnings: list[str] = []
    tiers = _tiers(asked, config, warnings)
    found = _cases(asked)
    return Plan(config=config, mode=mode, live=live, live_file=live_file, tiers=tiers, cases=found, warnings=warnings)


def _selected(asked: Asked, environ: Mapping[str, str]) -> tuple[Path, str | None]:
    if not asked.config and not asked.mode:
        raise Refused("name the router configuration: --config FILE or --mode agentic|flexibility")
    try:
        chosen = modes.select(asked.config, asked.mode, environ)
    except modes.ModeError as error:
        raise Refused(str(error)) from None
    return chosen.path.resolve(), chosen.mode


def _live(config: RouterConfig, path: Path) -> tuple[list[Row], Path | None]:
    if config.profile_path is None:
        return seed_rows(config), None
    file = path.parent / Path(config.profile_path).expanduser()
    try:
        return read(file.read_bytes(), str(file))[1], file
    except OSError as error:
        raise Refused(f"router.profile_path: {file}: {error.strerror or error}") from None


def progress_of(out: Path) -> Path:
    """Where the progress of a candidate is kept."""
    return out.with_name(out.name + ".progress.jsonl")


def _check_outputs(asked: Asked) -> None:
    if asked.generate_only is not None:
        _check_folder(asked.generate_only, asked)
        return
    if asked.out is None:
        raise Refused("--out FILE is missing: the candidate profile is written there")
    try:
        # an unfinished run's own candidate may be there; a finished one is not written over
        unfinished = asked.resume and progress_of(asked.out).is_file()
        check_target(asked.out, force=asked.force or unfinished, mkdir=asked.mkdir)
    except WriteRefused as error:
        raise Refused(f"--out: {error}") from None


def _check_folder(folder: Path, asked: Asked) -> None:
    if not folder.parent.is_dir() and not asked.mkdir:
        raise Refused(f"--generate-only: {folder.parent}: no such folder; create it or give --mkdir")
    if folder.exists() and not folder.is_dir():
        raise Refused(f"--generate-only: {folder}: is not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not asked.resume:
        raise Refused(f"--generate-only: {folder}: is not empty; name another folder or give --resume")


def _cases(asked: Asked) -> list[Case]:
    try:
        return cases.read(asked.eval_data or cases.BUILTIN, asked.classes)
    except BadEvaluation as error:
        raise Refused(f"--eval-data: {error}") from None


# ------------------------------------------------------------------------------------------------ tiers


def _tiers(asked: Asked, config: RouterConfig, warnings: list[str]) -> list[TierConfig]:
    """The local tiers to measure: those of --tiers, else all; each with the URL the operator confirmed."""
    known = {tier.id.lower(): tier for tier in config.tiers}
    for option, names in (("--tiers", asked.tiers), ("--endpoint", asked.endpoints)):
        for name in names:
            if name.lower() not in known:
                raise Refused(f"{option} {name}: no tier has this id; known: {', '.join(t.id for t in config.tiers)}")
    named = [known[name.lower()] for name in asked.tiers] or list(config.tiers)
    listed = {name.lower(): url for name, url in asked.endpoints.items()}
    warnings += [
        f"{tier.id}: a cloud tier is not measured, a family must not grade itself"
        for tier in named
        if not tier.local and (asked.tiers or tier.id.lower() in listed)
    ]
    local = list(dict.fromkeys(tier.id.lower() for tier in named if tier.local))
    if not local:
        raise Refused('no local tier to measure; only tiers with privacy = "local" are calibrated')
    for key in local:
        _check_endpoint(known[key], listed.get(key))
    if unused := sorted(key for key in listed if known[key].local and key not in local):
        raise Refused(f"--endpoint {unused[0]}: --tiers leaves it out; drop the one or add it to the other")
    return [known[key] for key in local]


def _check_endpoint(tier: TierConfig, url: str | None) -> None:
    if url is None:
        raise Refused(
            f"{tier.id}: give --endpoint {tier.id}={base_of(tier)} to confirm what will be called, or --tiers"
        )
    confirmed = normalised(url)
    if confirmed is None:
        raise Refused(f"--endpoint {tier.id}={url[:200]}: not a URL; wanted http(s)://HOST[:PORT][/PATH]")
    if confirmed != normalised(tier.base_url):
        raise Refused(
            f"--endpoint {tier.id}={url[:200]}: the configuration calls {base_of(tier)}; give exactly that URL"
        )


def normalised(url: str) -> str | None:
    """scheme://host:port/path in lower case without /v1, localhost as 127.0.0.1; None for what is no http(s) URL."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username or parts.query or parts.fragment:
        return None
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname.lower()
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{host}:{port or _PORTS[parts.scheme]}{path}"
