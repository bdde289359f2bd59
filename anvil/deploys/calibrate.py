"""The generation half of a calibration, where the serves can be reached; grading happens where the judge is (6.3)."""

from __future__ import annotations

from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options
from anvil.deploys.router import IN_IMAGE
from anvil.deploys.site import Site, here
from anvil.hosts.outputs import outputs_fetched
from anvil.hosts.releases import ReleaseState
from anvil.render import compose
from anvil.topology import derived
from anvil.topology.model import CloudTier, Topology

OUT = "/out"
LEAST_TOKENS = 4096  # What `anvil calibrate` takes; a cut answer would be graded as a bad one.


@deploy("Calibrate")
def generated() -> None:
    """Answers of the local tiers to the evaluation prompts, in the folder `out=`; nothing is graded or promoted."""
    site = here()
    to = folder()
    measured = tiers(site.topology, options.names("tiers"))
    refuse_unknown_classes(options.names("classes"))
    if not site.has_router:
        return
    release = host.get_fact(ReleaseState, f"{site.root}/router").current
    if not release:
        raise PyinfraError(f"{site.name}: no release is live; run deploy/full.py first")
    there = f"{site.root}/evidence/calibrate"
    outputs_fetched(
        name="Answers of the tiers",
        command=command(site, release, there, measured),
        folder=there,
        to=str(to),
        secrets=site.secrets_file,
        secret_names=keys(site.topology, measured),
    )
    host.log(f"grade them here: anvil calibrate --from-outputs {to} --config ROUTER.TOML --out CANDIDATE.JSON")


def folder() -> Path:
    """Raises PyinfraError: answers of two calibrations are never mixed."""
    given = options.text("out")
    if not given:
        raise PyinfraError("calibrate.py needs --data out=DIR, where the answers land")
    to = Path(given).expanduser().resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise PyinfraError(f"--data out={given}: exists and is not an empty folder")
    return to


def tiers(topology: Topology, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The active local tiers, or those asked for. Raises PyinfraError for a name that is none of them."""
    local = tuple(name for name in derived.active(topology).tiers if not isinstance(topology.tiers[name], CloudTier))
    for name in asked:
        if name not in local:
            raise PyinfraError(f"--data tiers={name}: is no local tier; there are: {', '.join(local) or 'none'}")
    if not local:
        raise PyinfraError("the topology has no local tier to measure")
    return asked or local


def refuse_unknown_classes(asked: tuple[str, ...]) -> None:
    """Raises PyinfraError before a container is started for it."""
    for name in asked:
        if name not in derived.WORK_CLASSES:
            known = ", ".join(derived.WORK_CLASSES)
            raise PyinfraError(f"--data classes={name}: is no work class; there are: {known}")


def keys(topology: Topology, measured: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({derived.auth_env(topology, name) for name in measured}))


def command(site: Site, release: str, there: str, measured: tuple[str, ...]) -> tuple[str, ...]:
    """With the live release's own configuration, as the router has it: its mode is part of a tier's fingerprint."""
    topology, config = site.topology, f"{IN_IMAGE}/router.toml"
    if site.by_process:
        config, out = f"{site.root}/router/releases/{release}/router.toml", there
        before: tuple[str, ...] = ("env", *_mode(topology, config), site.python, "-m", "anvil")
    else:
        out = OUT
        before = _contained(site, release, there, keys(topology, measured), _mode(topology, config))
    selector = ("--mode", topology.mode) if topology.mode else ("--config", config)
    endpoints = [f"{name}={derived.base_url(topology, topology.tiers[name])}" for name in measured]
    return (
        *before,
        "calibrate",
        *selector,
        *("--generate-only", out, "--resume", "--i-understand-this-calls-real-tiers"),
        *("--tiers", ",".join(measured)),
        *(word for endpoint in endpoints for word in ("--endpoint", endpoint)),
        *(("--classes", options.text("classes")) if options.text("classes") else ()),
        *("--max-tokens", str(options.number("max_tokens", LEAST_TOKENS))),
    )


def _mode(topology: Topology, config: str) -> tuple[str, ...]:
    return (f"ANVIL_CONFIG_{topology.mode.upper()}={config}",) if topology.mode else ()


def _contained(
    site: Site, release: str, there: str, names: tuple[str, ...], settings: tuple[str, ...]
) -> tuple[str, ...]:
    """As root inside: the folder of the answers belongs to whoever deploys, not to the image's user."""
    place = site.topology.router
    run = ("docker", "run", "--rm", "--init", "--pull", place.pull, "--network", compose.NETWORK, "--read-only")
    mounts = ("-v", f"{site.root}/router/releases/{release}:{IN_IMAGE}:ro", "-v", f"{there}:{OUT}", "--tmpfs", "/tmp")  # noqa: S108 - inside
    env = [word for each in (*names, *settings) for word in ("-e", each)]
    return (*run, *mounts, *env, "--user", "0:0", "--entrypoint", "anvil", place.image or "")
