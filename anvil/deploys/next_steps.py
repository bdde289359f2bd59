"""The last words of a deploy of everything: what a user would now do. Names of secrets, never values."""

from __future__ import annotations

import json

from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from anvil.deploys.gateway_document import windows_of
from anvil.deploys.site import here
from anvil.harness import render
from anvil.harness.model import Model, Router, title
from anvil.hosts.shell import Commands
from anvil.render.process import host_of
from anvil.topology import derived
from anvil.topology.model import Topology

WILDCARDS, LOOPBACK = ("0.0.0.0", "::"), ("127.0.0.1", "::1")  # noqa: S104 - compared, not bound
# What a user types once a client's files name the router, in its release's own words.
TRY = {
    "openclaw": 'openclaw agent --agent main --message "Say hello"',
    "claude-code": 'claude -p "Say hello"',
    "codex": 'codex exec "Say hello"',
    "opencode": 'opencode run "Say hello"',
    "pi": 'pi --provider anvil --model chat -p "Say hello"',
    "aider": 'aider --edit-format diff --message "Say hello"',
}
TOKEN = "ANVIL_ROUTER_TOKEN"  # noqa: S105 - the name of a variable


@deploy("Next steps")
def told() -> None:
    """Once a run, from the router's machine, when every machine has done its part. Changes nothing."""
    site = here()
    next_steps(name="What you can do now", words=words(site.topology) if site.has_router else [])


@operation()
def next_steps(words: list[str]) -> Commands:
    """
    Say them when everything before has run; a dry run has made nothing that could be tried.
    """
    if state.is_executing:
        for line in words:
            host.log(line)
    host.noop("words change nothing")
    yield from ()


def words(topology: Topology) -> list[str]:
    """What to do with this router, line by line."""
    router, place = described(topology), topology.router
    url = router.base_url
    only = f", on {place.machine} only" if place.publish in LOOPBACK else ""
    asks = f"its token is the value of {router.token_env}" if place.token else "it asks for no token"
    shell = f"a shell that has {router.token_env}" if place.token else "a shell"
    return [
        f"The router answers at {url}{only}; {asks}.",
        *_gateways(topology),
        f"To point a coding client at it, in {shell} on the client's machine (what is yours in its files stays):",
        f"  export ANVIL_ROUTER_URL={url}",
        *(f"  {line}" for line in _clients(router)),
        f"Any other client: {url}/v1 where OpenAI's API is spoken, {url} where Anthropic's is. Without a client:",
        f"  {_curl(router, bool(place.token))}",
    ]


def described(topology: Topology) -> Router:
    """The router as a user's machine reaches it."""
    place = topology.router
    address = place.publish
    if address in WILDCARDS:
        address = topology.machines[place.machine].address or place.machine
    models = tuple(
        Model(preset, title(preset), window, derived.max_tokens(preset, window))
        for preset, window in ((key.removeprefix("anvil/"), value) for key, value in windows_of(topology).items())
    )
    return Router(f"http://{host_of(address)}:{place.port}", place.token[0] if place.token else TOKEN, models)


def _gateways(topology: Topology) -> list[str]:
    if not topology.gateways:
        return []
    return [f"In step with it, OpenClaw on {', '.join(topology.gateways)}; there: {TRY['openclaw']}"]


def _clients(router: Router) -> list[str]:
    """One line each: the command that sets it up, the base URL it gets, the command that tries it."""
    rows = [
        (f"anvil harness apply {client} --mkdir", f"# {_base_url(client, router)}", f"then: {line}")
        for client, line in TRY.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows]


def _base_url(client: str, router: Router) -> str:
    """As it stands in the client's own document: with /v1 or without."""
    document = render(client, router)
    text = "".join([*(file.text for file in document.files), *document.env.values()])
    return next(url for url in (f"{router.base_url}/v1", router.base_url) if url in text)


def _curl(router: Router, token: bool) -> str:
    message = {"role": "user", "content": "Say hello"}
    body = json.dumps({"model": router.pick("chat"), "messages": [message]})
    shown = f' -H "Authorization: Bearer ${router.token_env}"' if token else ""
    return f"curl -s {router.base_url}/v1/chat/completions{shown} -H 'Content-Type: application/json' -d '{body}'"
