"""Which judge an operator named: the ``claude`` command or a URL (lab contract 6.3). Contacts nothing."""

from __future__ import annotations

from collections.abc import Mapping

from anvil.lab.calibrate.plan import normalised
from anvil.lab.judge import Judge
from anvil.lab.judge.claude import ClaudeJudge
from anvil.lab.judge.endpoint import EndpointJudge
from anvil.router.config import RouterConfig


class JudgeRefused(Exception):
    """The judge named cannot be asked, or must not be; the sentence names a fix."""


def choose(
    named: str, model: str | None, key_env: str | None, environ: Mapping[str, str], config: RouterConfig
) -> Judge:
    """The judge. Raises JudgeRefused, and BinaryMissing without the claude command."""
    if named == "claude":
        # keys of tiers and callers are no business of the judge's process
        secret = {*config.server.auth_env, *(tier.auth_env for tier in config.tiers)}
        return ClaudeJudge({name: value for name, value in environ.items() if name not in secret}, model)
    url = normalised(named)
    if url is None:
        raise JudgeRefused(f"judge {named[:200]}: give claude or the URL of an OpenAI-compatible endpoint")
    if not model:
        raise JudgeRefused("--judge-model ID is missing: without it the judge's family cannot be told")
    if same := [tier.id for tier in config.tiers if normalised(tier.base_url) == url]:
        raise JudgeRefused(f"judge {named[:200]}: is the tier {same[0]} itself; a model must not grade itself")
    key = environ.get(key_env, "").strip() if key_env else ""
    if key_env and not key:
        raise JudgeRefused(f"--judge-key-env {key_env}: is not set; export it")
    found = EndpointJudge(url, model, key or None)
    if not found.families:
        raise JudgeRefused(f"--judge-model {model[:100]}: its family cannot be told; name a model whose maker is known")
    return found
