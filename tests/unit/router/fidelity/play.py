"""Sends a probe through the dialect modules: caller's bytes -> tier's bytes, tier's bytes -> caller's bytes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from anvil.router import dialects
from anvil.router.config import TierConfig
from anvil.router.dialects import anthropic_messages
from anvil.router.gate import Gate, GatePolicy
from anvil.router.intent import Intent
from anvil.router.policy import Policy
from anvil.router.profile import Profile
from anvil.router.sse import Parser
from anvil.router.turn import Reply, Turn
from tests.unit.router.fidelity import upstream
from tests.unit.router.fidelity.checks import Probe
from tests.unit.router.routing import config, local

NAMES = {"O": "openai", "A": "anthropic", "R": "responses"}
BASES: dict[str, dict[str, Any]] = {
    "O": {"model": "chat", "messages": [{"role": "user", "content": "hi"}]},
    "A": {"model": "chat", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
    "R": {"model": "chat", "input": "hi"},
}


class Sent(NamedTuple):
    """caller: the body as the caller wrote it. tier: the body the tier gets, its extra headers under ``headers``."""

    caller: dict[str, Any]
    tier: dict[str, Any]
    text: str
    lossy: set[str]


def tier(letter: str, **fields: Any) -> TierConfig:
    base = {"dialect": NAMES[letter], "vision": True, "documents": True, "reasoning_field": "reasoning_content"}
    return local("t", **{**base, **fields})


def parse(letter: str, send: dict[str, Any], *, stream: bool) -> Turn:
    body = {**BASES[letter], **send} | ({"stream": True} if stream else {})
    return dialects.caller(NAMES[letter]).parse(json.dumps(body).encode())


def ask(probe: Probe, *, stream: bool) -> Sent:
    caller, target = probe.way.split("->")
    turn = parse(caller, probe.send, stream=stream)
    settings = {name: value for name, value in probe.tier.items() if name != "inbound"}
    same = caller == target
    conversation = None if same else dialects.caller(turn.dialect).conversation(turn)
    request = dialects.tier(NAMES[target]).request(turn, tier(target, **settings), conversation)
    body = json.loads(request.body)
    if inbound := probe.tier.get("inbound"):
        body["headers"] = dict(anthropic_messages.forward_headers(inbound))
    return Sent({**BASES[caller], **probe.send}, body, request.body.decode(), {*turn.lossy, *request.lossy})


def candidates(letter: str, send: dict[str, Any], unable: TierConfig) -> list[str]:
    """Ids of the tiers the policy leaves for a request: of one that takes every content, and of ``unable``."""
    setup = config(tier("O"), unable)
    policy = Policy(setup, Profile.seed(setup), [entry.id for entry in setup.tiers])
    intent = Intent("declared-preset", None, tuple([entry.id for entry in setup.tiers]))
    turn = parse(letter, send, stream=False)
    return [found.id for found, _ in policy.decide(intent, turn.signals).tiers]


class Told(NamedTuple):
    """bodies: the caller's JSON documents, one for a whole answer, one per frame of a stream."""

    tier: dict[str, Any]
    bodies: list[dict[str, Any]]
    text: str
    lossy: set[str]


REPLY_ID, ECHO, CREATED = "0123456789abcdef01234567", "planning", 1_700_000_000


def answer(probe: Probe, *, stream: bool) -> Told:
    """The tier's answer of a probe as the caller gets it."""
    target, caller = probe.way.split("=>")
    turn = parse(caller, probe.tier, stream=stream)
    reply = Reply(REPLY_ID, ECHO, CREATED, prompt_estimate=3, same_dialect=target == caller)
    whole = upstream.whole(target, probe.send)
    if stream:
        return _streamed(target, turn, reply, whole)
    lossy: set[str] = set()
    read = dialects.tier(NAMES[target]).read_answer(json.dumps(whole).encode())
    lossy.update(read.lossy)
    data = dialects.caller(turn.dialect).render(read, turn, reply, lossy)
    return Told(whole, [json.loads(data)], data.decode(), lossy)


def _streamed(target: str, turn: Turn, reply: Reply, whole: dict[str, Any]) -> Told:
    reader = dialects.tier(NAMES[target]).reader()
    writer = dialects.caller(turn.dialect).writer(turn, reply)
    gate = Gate(writer, GatePolicy(hold=False, verify_call=lambda call: None))
    data = b"".join([gate.push(event) for event in reader.feed(upstream.stream(target, whole)) + reader.close()])
    data += gate.accept() if gate.needs_verdict else gate.end()
    frames = [json.loads(payload) for _, payload in Parser().feed(data) if payload != b"[DONE]"]
    return Told(whole, frames, data.decode(), {*reader.lossy, *writer.lossy})
