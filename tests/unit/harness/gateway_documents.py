"""Documents as operators of OpenClaw gateways have them, made from a seed: foreign parts everywhere, in JSON or JSON5."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

Generation = Literal["2026.6", "2026.9"]
GENERATIONS: tuple[Generation, ...] = ("2026.6", "2026.9")
COUNT = 200
ODD = (
    "plain", "käse ☕", "ключ", "日本語", "🙂🏽‍👩‍👧", "a\u2028b", "x\u0301", "\u202eabc", "quote\"s and 'those'", "back\\slash",
    "tab\tnew\nline", "${HOME}", "// no comment", "/* nor this */", "\u00a0", "{not: json5}", "",
)  # fmt: skip
APIS = ("openai-completions", "openai-responses", "anthropic-messages", "ollama")
REFERENCES = ("openai/gpt-5.5", "native/big", "anvil/chat", "anvil/retired", "anvil/*", "local/tiny")
KEYS = ("${NATIVE_KEY}", "sk-literal", {"source": "env", "provider": "default", "id": "NATIVE_KEY"})


@dataclass(frozen=True)
class GatewayDocument:
    """`segments` are the exact texts of top-level parts that no merge may touch."""

    text: str
    document: dict[str, Any]
    segments: tuple[str, ...]
    json5: bool


def documents(generation: Generation, count: int = COUNT) -> list[GatewayDocument]:
    """The same ones for the same arguments."""
    return [_made(Random(f"{generation} {number}"), generation) for number in range(count)]


def _made(draw: Random, generation: Generation) -> GatewayDocument:
    parts: dict[str, Any] = {}
    for name, make in (
        ("meta", _meta), ("env", _env), ("logging", _logging), ("gateway", _gateway), ("models", _models),
        ("agents", _agents), ("tools", _tools), ("messages", _messages), ("session", _session), ("plugins", _plugins),
        ("cron", _cron), ("ui", _ui),
    ):  # fmt: skip
        if draw.random() < 0.6:
            parts[name] = make(draw, generation)
    if draw.random() < 0.05:
        parts["nobody_knows_this"] = {"deep": [1, None, {"x": _odd(draw)}]}
    if draw.random() < 0.04:
        parts[draw.choice(["models", "plugins"])] = None
    names = list(parts)
    draw.shuffle(names)
    return _written(draw, {name: parts[name] for name in names})


# -------------------------------------------------------------------------------------------------- the foreign parts


def _odd(draw: Random) -> str:
    return draw.choice(ODD)


def _some(draw: Random, **choices: Any) -> dict[str, Any]:
    return {name: value for name, value in choices.items() if draw.random() < 0.5}


def _meta(draw: Random, generation: Generation) -> dict[str, Any]:
    found = {"lastTouchedVersion": "2026.6.11"}
    return found if generation == "2026.6" else {**found, "migrations": {"modelPolicyAllowlist": True}}


def _env(draw: Random, generation: Generation) -> dict[str, Any]:
    return {"vars": {f"NAME_{number}": _odd(draw) for number in range(draw.randint(0, 3))}}


def _logging(draw: Random, generation: Generation) -> dict[str, Any]:
    return _some(draw, level="debug", consoleStyle="pretty", redactPatterns=[_odd(draw)])


def _gateway(draw: Random, generation: Generation) -> dict[str, Any]:
    auth = {"mode": "token", "token": draw.choice(["gw-token", "${GATEWAY_TOKEN}"])}
    return {"mode": "local", **_some(draw, port=draw.randint(2000, 60000), bind="loopback", auth=auth)}


def _tools(draw: Random, generation: Generation) -> dict[str, Any]:
    return _some(draw, profile="full", toolSearch=draw.random() < 0.5, deny=["browser"])


def _messages(draw: Random, generation: Generation) -> dict[str, Any]:
    return _some(draw, responsePrefix=_odd(draw), ackReaction="👀")


def _session(draw: Random, generation: Generation) -> dict[str, Any]:
    return _some(draw, scope="per-sender", mainKey=_odd(draw) or "main", resetTriggers=["/new", _odd(draw)])


def _cron(draw: Random, generation: Generation) -> dict[str, Any]:
    return {"enabled": draw.random() < 0.5}


def _ui(draw: Random, generation: Generation) -> dict[str, Any]:
    return {"seamColor": "#0f0f0f"}


def _row(draw: Random, identity: str) -> dict[str, Any]:
    cost = {"input": 1.5, "output": 3, "cacheRead": 0, "cacheWrite": 0.25}
    more = _some(
        draw,
        reasoning=True,
        input=["text", "image"],
        contextWindow=draw.choice([8192, 32768, 1_000_000]),
        maxTokens=4096,
        cost=cost,
        compat={"supportsStore": False},
        params={"temperature": 0.2},
    )
    return {"id": identity, "name": _odd(draw) or "name", **more}


def _provider(draw: Random) -> dict[str, Any]:
    rows = [_row(draw, f"m{number}") for number in range(draw.randint(0, 3))]
    found = {"baseUrl": f"http://10.0.0.{draw.randint(1, 250)}:9000/v1", "api": draw.choice(APIS), "models": rows}
    return {**found, **_some(draw, apiKey=draw.choice(KEYS), timeoutSeconds=30, headers={"x-site": _odd(draw) or "a"})}


def _ours(draw: Random) -> dict[str, Any]:
    """What an older sync, or somebody by hand, left of our own provider."""
    rows = [_row(draw, name) for name in ("planning", "retired", "chat") if draw.random() < 0.5]
    return {"baseUrl": "http://10.1.1.5:8000/v1", "models": rows, **_some(draw, apiKey="literal", headers={"x-a": "b"})}


def _models(draw: Random, generation: Generation) -> dict[str, Any]:
    names = draw.sample(["openai", "native", "local", "größe"], draw.randint(0, 3))
    providers = {name: _provider(draw) for name in names}
    if draw.random() < 0.4:
        providers["anvil"] = _ours(draw)
    return {"providers": providers, **_some(draw, mode=draw.choice(["merge", "replace"]))}


def _agents(draw: Random, generation: Generation) -> dict[str, Any]:
    model: Any = draw.choice(REFERENCES[:3])
    if draw.random() < 0.5:
        model = {"primary": model, **_some(draw, fallbacks=draw.sample(REFERENCES[:4], 2))}
    names = draw.sample(REFERENCES, draw.randint(0, 4))
    catalogue = {name: _some(draw, alias=f"alias-{name[-3:]}", params={"x": 1}) for name in names if "*" not in name}
    defaults = _some(draw, workspace="~/käse", model=model, models=catalogue, skipBootstrap=True)
    if generation == "2026.9" and draw.random() < 0.5:
        defaults["modelPolicy"] = {"allow": draw.sample(REFERENCES, draw.randint(0, 3))}
    found: dict[str, Any] = {"defaults": defaults}
    agent = _some(draw, workspace="~/other", model="native/big")
    if draw.random() < 0.4:
        found |= {"entries": {"main": agent}} if generation == "2026.9" else {"list": [{"id": "main", **agent}]}
    return found


def _plugins(draw: Random, generation: Generation) -> dict[str, Any]:
    entries = {"telegram": {"enabled": False}, "discord": {"enabled": False}}
    found = _some(draw, entries=entries, deny=["slack"], load={"paths": []}, enabled=True)
    if draw.random() < 0.2:
        found["allow"] = ["telegram", "discord"]
    return found


# ------------------------------------------------------------------------------------------------------- as it is typed


def _written(draw: Random, document: dict[str, Any]) -> GatewayDocument:
    """As plain JSON of some layout, or as JSON5 with comments, bare keys, single quotes and trailing commas."""
    json5 = draw.random() < 0.5
    layout = draw.choice([None, 2, 4])
    segments = {name: _segment(draw, name, value, layout, json5) for name, value in document.items()}
    lead = "// mine\n" if json5 else draw.choice(["", "\ufeff"])
    gap = "\n  " if layout else " "
    comma = "," if json5 and segments and draw.random() < 0.5 else ""
    text = f"{lead}{{{gap}{f',{gap}'.join(segments.values())}{comma}{gap.rstrip(' ')}}}{draw.choice(['', chr(10)])}"
    kept = tuple(text for name, text in segments.items() if name not in ("models", "agents", "plugins"))
    return GatewayDocument(text, document, kept, json5)


def _segment(draw: Random, name: str, value: Any, layout: int | None, json5: bool) -> str:
    text = json.dumps(value, ensure_ascii=draw.random() < 0.3, indent=layout).replace("\n", "\n  ")
    if not json5:
        return f'"{name}": {text}'
    if isinstance(value, dict) and value and draw.random() < 0.5:
        text = f"{text[:-1].rstrip()}, {text[-1]}"
    words = draw.choice(["why", "größe", 'see "runbook"'])
    note = f"/* {words} */ " if draw.random() < 0.5 else ""
    return f"{note}{draw.choice([name, repr(name), json.dumps(name)])}: {text}"
