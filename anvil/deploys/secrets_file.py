"""secrets.env on a host: what may leave it, what goes into it, and what leaves once a new release is live."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from anvil.deploys import options, secrets
from anvil.deploys.site import Site
from anvil.hosts.files import FileText
from anvil.hosts.secrets import SecretNames, would_be_lost
from anvil.hosts.text_file import text_file
from anvil.render import env
from anvil.topology import derived


def refuse_losses(site: Site) -> None:
    """S3: a redeploy from a controller without a value must not lose the host's. Raises PyinfraError."""
    held = host.get_fact(SecretNames, site.secrets_file)
    if held.status == "error":
        raise PyinfraError(f"{site.name}: {held.error}")
    dropped = options.names("drop_secret")
    _known(site, dropped)
    lost = would_be_lost(held.names, site.made.secrets.all(), site.built.held.values, dropped)
    if lost:
        raise PyinfraError(
            f"secrets.env on {site.name} holds {', '.join(lost)}, the controller does not;"
            f" export it or --data drop_secret={','.join(lost)}"
        )


def _known(site: Site, dropped: Collection[str]) -> None:
    """A name to drop is wanted by the topology or still held by a machine of this run; any other is mistyped."""
    if not dropped:
        return
    machines = site.topology.machines
    known = {each for name in machines for each in derived.secret_names(site.topology, name).all()}
    for reached in host.state.active_hosts:
        known.update(reached.get_fact(SecretNames, f"{machines[reached.data.machine].root}/secrets.env").names)
    for name in dropped:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise PyinfraError(f"--data drop_secret={name}: no machine has such a secret; there are: {there}")


def written(site: Site) -> None:
    """What the topology wants, and for as long as the live release may be gone back to, the tokens it needs."""
    held, wanted = site.built.held, site.made.secrets.all()
    for name in wanted:
        if name in held.sources:
            host.log(f"{name}: from {held.sources[name]}")
    unwanted = _of_live_release(site)
    kept = _still_known(unwanted)
    for name in sorted(unwanted):
        if name in kept.values:
            host.log(f"{name}: no longer wanted, kept until the release that needs it is replaced")
        else:
            told = f"WARN {name}: the live release needs it, and a promotion that fails could not go back to it"
            host.log_styled(told, fg="yellow")
    _write(site, "Secrets", {**held.plain(), **kept.plain()}, (*wanted, *kept.values))


def left(site: Site) -> None:
    """After a promotion: what only the release before needed leaves the host. It stays where the promotion fails."""
    if _still_known(_of_live_release(site)).values:
        _write(site, "Tokens of the release before leave", site.built.held.plain(), site.made.secrets.all())


def _of_live_release(site: Site) -> set[str]:
    """Tokens on the host that only the live release names: without them a promotion that fails could not go back."""
    if not site.has_router:
        return set()
    try:
        named = live_tokens(site)
    except tomllib.TOMLDecodeError:  # edited by hand; what stages the release tells it
        return set()
    if not named:
        return set()
    held = {*host.get_fact(SecretNames, site.secrets_file).names}
    return {*named} & held - {*site.made.secrets.all(), *options.names("drop_secret")}


def live_tokens(site: Site) -> tuple[str, ...]:
    """The token variables that the live router.toml names, () without one. Raises TOMLDecodeError."""
    live = host.get_fact(FileText, f"{site.root}/router/current/router.toml")
    server = tomllib.loads(live.text).get("server") if live.ok else None
    named = server.get("auth_env") if isinstance(server, dict) else None
    return (named,) if isinstance(named, str) else tuple(map(str, named)) if isinstance(named, list) else ()


def _still_known(names: set[str]) -> secrets.Held:
    """Their values, of those that this controller still has."""
    return secrets.held(sorted(names), os.environ, secrets.file_of(options.text("env_file")))


def _write(site: Site, name: str, values: dict[str, str], wanted: Collection[str]) -> None:
    try:
        text = env.secrets_env(values, wanted)
    except env.EnvFileError as error:
        raise PyinfraError(str(error)) from None
    text_file(name=name, path=site.secrets_file, text=text, mode="600", owner=site.machine.owner, secret=True)
