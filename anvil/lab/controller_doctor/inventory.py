"""The topology and what lies beside it: does it load, agree with itself, render; are its secrets there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from anvil.lab.controller_doctor import Check
from anvil.render.artefacts import ReadBackError, render
from anvil.render.env import EnvFileError, Secrets, parse
from anvil.render.staleness import stale
from anvil.router import profile as quality
from anvil.router.config import ConfigError, RouterConfig
from anvil.topology import check, derived, load, schema
from anvil.topology.finding import Finding
from anvil.topology.model import Topology

SCHEMA_FILE = "topology.schema.json"
SHORTEST_TOKEN = 24  # characters (contract operations.md 18, S4)
ENV_FILES = (".anvil_env", ".env")
STALE = "the serve is no longer what was measured and an allow counts as allow-with-verify; `anvil calibrate` anew"


class Held(Struct, frozen=True):
    """Secret values on this controller by name. Only lengths and digests ever leave this object."""

    values: dict[str, str]
    problem: str = ""


class Read(Struct, frozen=True):
    """What the other checks work on: the topology, the release a deploy would make of it, and its configuration."""

    topology: Topology | None = None
    release: str | None = None
    config: RouterConfig | None = None


def topology(file: Path, asked: bool, environ: Mapping[str, str], own: Held) -> tuple[Check, Read]:
    """``asked``: somebody named the file, so its absence is a FAIL."""
    if not file.exists() and not asked:
        return Check("WARN", "topology", f"{file}: none yet; `anvil init` writes one"), Read()
    try:
        found = load.load(file, environ)
    except load.TopologyError as error:
        return Check("FAIL", "topology", "; ".join(error.problems)), Read()
    findings = check.check(found)
    if errors := [finding for finding in findings if finding.level == "error"]:
        return Check("FAIL", "topology", "; ".join(check.lines(errors, str(file)))), Read(found)
    return _rendered(found, file, [finding for finding in findings if finding.level == "warn"], own)


def _rendered(found: Topology, file: Path, warnings: list[Finding], own: Held) -> tuple[Check, Read]:
    try:
        made = render(found, Secrets.of(own.values), _profile_text(found, file))
    except ReadBackError as error:
        return Check("FAIL", "topology", "; ".join(check.lines(error.findings, str(file)))), Read(found)
    told = list(check.lines([*warnings, *made.findings], str(file)))
    read = Read(found, made.release.id, made.release.config)
    if told:
        return Check("WARN", "topology", "; ".join(told)), read
    counts = f"{len(found.machines)} machines, {len(found.serves)} serves, {len(found.tiers)} tiers"
    return Check("PASS", "topology", f"{file}: {counts}; loads, agrees and renders"), read


def _profile_text(found: Topology, file: Path) -> bytes | None:
    try:
        return (file.parent / found.router.profile).read_bytes() if found.router.profile else None
    except OSError:
        return None  # which the profile check reports


def held(names: Iterable[str], environ: Mapping[str, str], file: Path | None) -> Held:
    """From the environment, then from ``file``, else from the first of ~/.anvil_env and ~/.env that exists."""
    home = Path(environ.get("HOME", "/nonexistent"))
    chosen = file or next((each for name in ENV_FILES if (each := home / name).is_file()), None)
    problem, written = "", {}
    try:
        written = parse(chosen.read_text(encoding="utf-8")) if chosen else {}
    except (EnvFileError, OSError, UnicodeDecodeError) as error:
        problem = f"{chosen}: {error if isinstance(error, EnvFileError) else 'cannot be read'}"
    found = {name: environ.get(name) or written.get(name, "") for name in names}
    return Held({name: value for name, value in found.items() if value}, problem)


def wanted_secrets(found: Topology) -> derived.SecretNames:
    each = [derived.secret_names(found, machine) for machine in found.machines]
    required = {name for names in each for name in names.required}
    optional = {name for names in each for name in names.optional} - required
    return derived.SecretNames(tuple(sorted(required)), tuple(sorted(optional)))


def secrets(found: Topology, own: Held) -> Check:
    """Names only."""
    wanted = wanted_secrets(found)
    missing = [name for name in wanted.required if name not in own.values]
    if own.problem:
        return Check("FAIL", "secrets", own.problem)
    if missing:
        return Check("FAIL", "secrets", f"{', '.join(missing)} not set; export it or write it into ~/.anvil_env")
    weak = [name for name in found.router.token if len(own.values.get(name, "")) < SHORTEST_TOKEN]
    if weak:
        advice = f"under {SHORTEST_TOKEN} characters; `anvil token new` prints a better one"
        return Check("WARN", "secrets", f"{', '.join(weak)}: {advice}")
    absent = [name for name in wanted.optional if name not in own.values]
    more = f"; optional and not set: {', '.join(absent)}" if absent else ""
    return Check("PASS", "secrets", f"{', '.join(wanted.required) or 'none needed'}{more}")


def profile(found: Topology, file: Path, config: RouterConfig | None = None) -> Check:
    """The measured profile beside the topology: a schema that this release's router reads, and of what now runs.

    ``config`` is router.toml as it would be deployed; without one staleness cannot be told.
    """
    if found.router.profile is None:
        return Check("PASS", "profile", "none: the seed profile")
    place = file.parent / found.router.profile
    try:
        text = place.read_bytes()
        mode, rows = quality.read(text, str(place))
    except OSError as error:
        return Check("FAIL", "profile", f"{place}: {error.strerror}")
    except ConfigError as error:
        return Check("FAIL", "profile", "; ".join(error.problems))
    known = {name.lower() for name in found.tiers}
    if strangers := sorted({row.tier_id for row in rows if row.tier_id.lower() not in known}):
        return Check("WARN", "profile", f"{place}: rows for {', '.join(strangers)}, which is no tier; no effect")
    if old := stale(config, text, found.mode) if config else ():
        return Check("WARN", "profile", f"{place}: {', '.join(old)} stale: {STALE}")
    return Check("PASS", "profile", f"{place}: {len(rows)} rows ({mode})")


def versions(found: Topology | None, package: str, distribution: str | None) -> Check:
    """The wheel that is installed, the package that runs, and the router image the topology names."""
    if distribution is not None and distribution != package:
        return Check("FAIL", "versions", f"installed {distribution}, but {package} runs; reinstall anvil-serving")
    image = found.router.image if found else None
    tag = image.split("@")[0].rpartition("/")[2].partition(":")[2] if image else ""
    if image and tag != package:
        return Check("WARN", "versions", f"anvil is {package}, router.image is {image}; build one of this release")
    return Check("PASS", "versions", package)


def schema_file(file: Path) -> Check:
    """What editors check the topology with."""
    place = file.parent / SCHEMA_FILE
    try:
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Check("WARN", "schema", f"{place}: missing; `anvil init --mode-of-write merge` writes it")
    except (OSError, UnicodeDecodeError):
        return Check("FAIL", "schema", f"{place}: cannot be read")
    if text != schema.text():
        return Check(
            "WARN", "schema", f"{place}: of another release; `anvil init --mode-of-write merge` writes it anew"
        )
    return Check("PASS", "schema", f"{place} is fresh")
