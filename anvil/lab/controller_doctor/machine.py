"""This machine as one that serves: Docker, its plugin, the NVIDIA runtime, the cards."""

from __future__ import annotations

from anvil.lab.controller_doctor import Check, Level
from anvil.lab.controller_doctor.software import accepted
from anvil.lab.onboarding.facts import Facts
from anvil.topology.model import Machine

COMPOSE = ">=2.20"


def checks(facts: Facts, declared: Machine | None) -> list[Check]:
    """``declared`` is the topology's word on this machine. Without containers or cards there, what is missing warns."""
    containers = declared is None or declared.runtime == "compose"
    cards = bool(declared and declared.gpus)
    return [
        _docker(facts, "FAIL" if containers else "WARN"),
        _compose(facts, "FAIL" if containers else "WARN"),
        _runtime(facts, "FAIL" if cards and containers else "WARN"),
        _gpus(facts, declared),
    ]


def _docker(facts: Facts, bad: Level) -> Check:
    if facts.docker is not None:
        return Check("PASS", "docker", facts.docker)
    why = "not installed" if facts.docker_state == "missing" else "the daemon does not answer"
    return Check(bad, "docker", why)


def _compose(facts: Facts, bad: Level) -> Check:
    if facts.compose is None:
        return Check(bad, "compose plugin", "`docker compose` does not answer")
    if not accepted(facts.compose.lstrip("v"), COMPOSE):
        return Check(bad, "compose plugin", f"{facts.compose}; deploys need {COMPOSE}")
    return Check("PASS", "compose plugin", facts.compose)


def _runtime(facts: Facts, bad: Level) -> Check:
    if "nvidia" in facts.runtimes:
        return Check("PASS", "nvidia runtime", "registered with docker")
    return Check(bad, "nvidia runtime", "not registered; install the NVIDIA container toolkit")


def _gpus(facts: Facts, declared: Machine | None) -> Check:
    there = {card.uuid for card in facts.cards}
    missing = [name for name, gpu in (declared.gpus if declared else {}).items() if gpu.uuid not in there]
    if missing:
        return Check("FAIL", "gpus", f"declared, but not there: {', '.join(missing)}; `nvidia-smi -L` lists the cards")
    if facts.cards:
        return Check("PASS", "gpus", "; ".join(f"{card.name} ({card.uuid})" for card in facts.cards))
    why = {"missing": "there is no nvidia-smi", "failed": "nvidia-smi fails", "ok": "nvidia-smi lists no card"}
    return Check("WARN", "gpus", why[facts.gpu_tool])
