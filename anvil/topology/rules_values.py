"""Rules about single values: T15 secrets in the file, T16 secrets on the controller, T17 loopback's name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

import msgspec

from anvil.topology import derived
from anvil.topology.finding import Finding, Rule, error
from anvil.topology.load import texts
from anvil.topology.model import Custom, Topology

_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bsk-\w|\bhf_\w|\bghp_\w|\bBearer\s|[0-9a-fA-F]{40,}|[A-Za-z0-9+]{40,}"
)
# Base64 of either alphabet: paths and model names have these characters too, but seldom change their kind.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}")
_KINDS = (str.isupper, str.islower, str.isdigit)
_MIXED = 0.42
_LOCALHOST = re.compile(r"\blocalhost\b", re.IGNORECASE)


def values_hold_no_secret(topology: Topology) -> Iterator[Finding]:
    """T15: secrets are names here; their values come from the controller's environment. The value is not repeated."""
    for name, serve in topology.serves.items():
        words = (*serve.extra_args, *serve.prestart, *(serve.argv if isinstance(serve, Custom) else ()))
        for key, value in serve.env.items():
            if like_a_secret(value):
                advice = "move the value to the environment and the name to secret_env"
                yield error("T15", f"serves.{name}.env.{key}", f"looks like a secret; {advice}")
        if any(like_a_secret(word) for word in words):
            yield error("T15", f"serves.{name}", "a command-line word looks like a secret; use secret_env")
        for key in serve.env.keys() & set(serve.secret_env):
            yield error("T15", f"serves.{name}.env.{key}", "is in env and in secret_env; keep one")
    yield from _env_names(topology)


def like_a_secret(text: str) -> bool:
    return _SECRET.search(text) is not None or any(_random(run) for run in _BASE64.findall(text))


def _random(run: str) -> bool:
    """Random letters change between upper case, lower case and digits about six times in ten."""
    kinds = [next(index for index, kind in enumerate(_KINDS) if kind(letter)) for letter in run if letter.isalnum()]
    changes = sum(one != other for one, other in pairwise(kinds))
    both_cases = min(kinds.count(0), kinds.count(1)) >= len(kinds) / 5
    return both_cases and changes >= _MIXED * len(kinds)


def _env_names(topology: Topology) -> Iterator[Finding]:
    for name, serve in topology.serves.items():
        for key in serve.env:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                yield error("T15", f"serves.{name}.env", f"{key!r} is no variable name")


def secrets_present(topology: Topology, present: Collection[str]) -> Iterator[Finding]:
    """T16: names only, all in one line per machine."""
    for machine in topology.machines:
        missing = [name for name in derived.secret_names(topology, machine).required if name not in present]
        if missing:
            advice = "export it, or put it into the env file (--data env_file=PATH)"
            yield error("T16", f"machines.{machine}", f"no value for {', '.join(missing)}; {advice}")


def loopback_by_number(topology: Topology) -> Iterator[Finding]:
    """T17: looking the name up on two address families can stall for about 21 s (I2)."""
    for where, text in texts(msgspec.to_builtins(topology)):
        if _LOCALHOST.search(text):
            yield error("T17", where, "write 127.0.0.1 instead of localhost")


RULES: tuple[Rule, ...] = (values_hold_no_secret, loopback_by_number)
