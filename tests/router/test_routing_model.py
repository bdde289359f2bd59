"""The router's choices and walks are those an independent reading of contract 9 to 11 and 15 predicts.

ROUTING_SEEDS=N tries N houses nobody has seen before instead of the same few.
"""

from __future__ import annotations

import http.client
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from anvil.router import loading, replay
from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml
from tests.router.routing import reading
from tests.router.routing.world import CANONICAL, Asked, World, asked, world

MANY = os.environ.get("ROUTING_SEEDS")
SEEDS = [random.randrange(2**32) for _ in range(int(MANY))] if MANY else [3, 14, 15, 92]
REQUESTS = 60
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
FOR_EVER = "retry_after_default_s = 1000\nretry_after_cap_s = 1000\ncooldown_s = 1000\n"
AT_ONCE = "retry_after_default_s = 0\nretry_after_cap_s = 0\ncooldown_s = 0.0001\n"


def config(made: World, tiers: dict[str, t.Tier], profile: Path) -> str:
    tables = []
    for spec in made.tiers:
        keys: dict[str, Any] = {"dialect": spec.dialect, "context_limit": spec.limit, "privacy": spec.privacy}
        keys |= {
            "tool_support": spec.tools,
            "auth_env": "TEST_KEY" if spec.bound else "TEST_NO_KEY",
            "model": f"m-{spec.id}",
        }
        optional = {"role": spec.role, "swap_group": spec.group, "vision": spec.vision, "documents": spec.documents}
        tables.append(
            tier_toml(spec.id, tiers[spec.id].url, **keys, **{k: v for k, v in optional.items() if v is not None})
        )
    router = (
        f"metered_cloud = {json.dumps(made.metered)}\npins = {json.dumps(made.pins)}\nexhaustion_status = {made.status}\n"
        f"profile_path = {json.dumps(str(profile))}\n[router.limits]\nmax_attempts = {made.max_attempts}\n"
        f"[router.breaker]\nthreshold = {made.threshold}\n{AT_ONCE if made.forgets else FOR_EVER}"
    )
    classes = "".join(f'{json.dumps(name)} = "{value}"\n' for name, value in made.preset_classes.items())
    return config_toml(*tables, presets=made.presets, router=router) + f"[router.preset_classes]\n{classes}"


def profile(made: World) -> str:
    entries: list[Any] = [
        {"tier_id": tier_id, "work_class": work_class, "model_label": "m", "decision": decision, "quality_score": 0.5,
         "sample_n": 1, "eval_total_avg": None, "eval_max": 25.0, "last_measured": None, "source_evals": [],
         "fingerprint": "0" * 64 if stale else None, "reasoning": None}
        for (tier_id, work_class), (decision, stale) in made.rows.items()
    ]  # fmt: skip
    return json.dumps(
        {"schema": "anvil-serving.router.profile_bootstrap/v2", "mode": "live", "eval_max": 25.0, "entries": entries}
    )


def body(request: Asked) -> dict[str, Any]:
    """The request in the words of its dialect."""
    out: dict[str, Any] = {} if request.model is None else {"model": request.model}
    out |= {"stream": True} if request.stream else {}
    if request.path == "/v1/messages":
        out |= {"max_tokens": 1, "messages": [{"role": "user", "content": request.text}]}
        out |= {"system": request.system} if request.system else {}
        out |= {"thinking": {"type": request.thinking}} if request.thinking else {}
        return out | ({"tools": [{"name": "f", "input_schema": {"type": "object"}}]} if request.tools else {})
    if request.path == "/v1/responses":
        out |= {"input": request.text} | ({"instructions": request.system} if request.system else {})
        return out | ({"tools": [{"type": "function", "name": "f", "parameters": {}}]} if request.tools else {})
    parts: list[Any] = [{"type": "text", "text": request.text}]
    parts += [part for part, on in ((IMAGE, request.image), (FILE, request.document), (AUDIO, request.audio)) if on]
    messages: list[Any] = [{"role": "system", "content": request.system}] if request.system else []
    messages.append({"role": "user", "content": parts if len(parts) > 1 else request.text})
    if request.later == "result":
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": "c", "content": reading.later(request)})
    elif request.later:
        messages.append({"role": "user", "content": reading.later(request)})
    out["messages"] = messages
    out |= {"tools": [{"type": "function", "function": {"name": "f"}}]} if request.tools else {}
    return out | ({"signals": request.signals} if request.signals is not None else {})


def behave(what: str, dialect: str, *, stream: bool) -> t.Script:
    if stream and what in ("ok", "blank", "cut"):
        text = " " if what == "blank" else "hello"
        script = t.chat_stream(text) if dialect == "openai" else t.messages_stream(text)
        cut = 3 if dialect == "openai" else 4  # behind the first words
        return t.Script(script.steps[:cut], close=True) if what == "cut" else script
    if what == "cut":
        return t.response(200, b'{"choices": [')
    if what == "ok":
        return t.chat() if dialect == "openai" else t.messages()
    if what == "blank":
        return t.chat(" ") if dialect == "openai" else t.messages(" ")
    if what == "429":
        return t.response(429, b"{}")
    message = "prompt is too long: 9 tokens" if what == "size" else "no"
    status = 400 if what == "size" else int(what)
    return t.response(status, json.dumps({"error": {"message": message}}).encode())


def always(script: t.Script) -> t.Behaviour:
    return lambda _: script


def post(running: Running, path: str, data: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    host, port = running.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request("POST", path, json.dumps(data), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_house_routes_as_the_contract_reads(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    made = world(rng)
    tiers = {spec.id: t.Tier(t.auto()).start() for spec in made.tiers}
    (tmp_path / "profile.json").write_text(profile(made))
    running = start_router(tmp_path, config(made, tiers, tmp_path / "profile.json"), {"TEST_KEY": "k"})
    memory = reading.Memory(made)
    try:
        for number in range(REQUESTS):
            request = asked(rng, made)
            for spec in made.tiers:
                tiers[spec.id].behaviour = always(
                    behave(request.behaviours[spec.id], spec.dialect, stream=request.stream)
                )
            check(running, made, request, memory, f"seed {seed}, request {number}: {request}\n{made}")
            if number % 20 == 19:
                check_presets(running, made)
                check_readiness(running, made, memory)
        records = running.decisions(limit=1000)
        assert len(records) == REQUESTS
        check_queries(running, records, rng)
        check_metrics(running, records)
        check_replay(running, made, tmp_path / "decisions.json")
    finally:
        running.stop(expect=None)
        for tier in tiers.values():
            tier.stop()


def check(running: Running, made: World, request: Asked, memory: reading.Memory, told: str) -> None:
    status, headers, answer = post(running, request.path, body(request))
    record = running.last()
    told = f"{told[:6000]}\n{status} {headers} {answer!r}\n{record}"
    wish = reading.intent(made, request)
    choice = reading.chosen(made, request, wish, memory)
    intent = record["intent"]
    assert (intent["source"], record["work_class"], intent["ambiguous"], intent["confidence"], intent["preset"]) == (
        wish.source, wish.work_class, wish.ambiguous, wish.confidence, wish.preset
    ), told  # fmt: skip
    assert record["requested_tiers"] == choice.requested, told
    assert {k: v for k, v in record["dropped"].items() if v} == {k: v for k, v in choice.dropped.items() if v}, told
    assert record["gate_note"].startswith(choice.note), told
    if request.path == "/v1/route":
        check_advice(
            json.loads(answer), status, record, reading.advised(made, wish, choice, memory), made, wish, choice, told
        )
        return
    expected = reading.walked(made, request, wish, choice, memory)
    assert (status, record["status"], record["outcome"]) == (expected.status, expected.status, expected.outcome), told
    assert [(a["tier_id"], a["outcome"]) for a in record["attempts"]] == expected.attempts, told
    verdicts = {tier.id: found for tier, found in choice.order}
    assert all(a["verdict"] == verdicts[a["tier_id"]] for a in record["attempts"]), told
    assert record["served_tier"] == expected.served, told
    assert ("retry-after" in headers) is expected.retry, told
    called = [outcome for _, outcome in expected.attempts if outcome not in ("skipped-circuit", "resting")]
    if expected.served:
        assert (headers["x-anvil-tier"], headers["x-anvil-model"]) == (expected.served, f"m-{expected.served}"), told
    if expected.attempts:
        assert headers["x-anvil-attempts"] == str(len(called)), told
    assert headers["x-anvil-work-class"] == (wish.work_class or "-"), told
    fell = {"fallback", "error", "overflow", "rate-limited", "misconfigured", "over-context"}
    assert record["fell_back"] is any(outcome in fell for outcome in called), told


def check_advice(
    answer: Any, status: int, record: Any, expected: reading.Expected, made: World, wish: reading.Intent,
    choice: reading.Chosen, told: str,
) -> None:  # fmt: skip
    assert (status, record["outcome"]) == (expected.status, expected.outcome), told
    if expected.served is None:
        return
    assert answer.keys() == {"tier", "model", "provider", "work_class", "reason", "confidence", "session_id"}, told
    tier = made.tier(expected.served)
    assert (answer["tier"], answer["provider"], answer["model"]) == (tier.privacy, tier.id, f"m-{tier.id}"), told
    assert (answer["work_class"], answer["confidence"]) == (wish.work_class or "", wish.confidence), told
    label = {"declared-preset": f"preset='{wish.preset}'", "pinned": "pinned", "inferred": "inferred"}[wish.source]
    assert answer["reason"].startswith(label), told
    assert ("denied: [" in answer["reason"]) is bool(choice.dropped["denied"]), told


def check_presets(running: Running, made: World) -> None:
    """10.6, 2.10: what is listed is what some bound tier may serve."""
    names: list[str] = [name for name in CANONICAL if name in made.presets]
    names += [name for name in made.presets if name not in names]
    servable = [
        name for name in names
        if any(made.tier(i).bound and not reading.gate(made, made.tier(i), reading.class_of(made, name)) for i in made.presets[name])
    ]  # fmt: skip
    tiers = [tier.id for tier in made.tiers if tier.bound] if made.pins else []
    listed = [entry["id"] for entry in running.client.get("/v1/models").json()["data"]]
    assert listed == servable + [tier for tier in tiers if tier.lower() not in [name.lower() for name in servable]]


def check_readiness(running: Running, made: World, memory: reading.Memory) -> None:
    """2.9: every tier's state, and ready while some preset has a usable tier whose own circuit is not open."""
    answer = running.client.get("/readyz")
    state = {tier.id: "closed" for tier in made.tiers}
    if not made.forgets:
        state |= dict.fromkeys(memory.resting, "resting")
    opened = "half-open" if made.forgets else "open"
    state |= {tier_id: opened for tier_id, work_class in memory.open if not work_class}
    rows = {
        row["id"]: (row["bound"], row["breaker"], row["resident"], row["in_flight"]) for row in answer.json()["tiers"]
    }
    residents = set(memory.resident.values())
    assert rows == {tier.id: (tier.bound, state[tier.id], tier.id in residents, 0) for tier in made.tiers}
    ready = any(
        made.tier(i).bound and not reading.gate(made, made.tier(i), reading.class_of(made, name)) and state[i] != "open"
        for name, pool in made.presets.items() for i in pool
    )  # fmt: skip
    assert (answer.status_code, answer.json()["status"]) == ((200, "ready") if ready else (503, "not_ready"))


FILTERS: dict[str, Any] = {
    "tier": lambda record: [record["served_tier"]],
    "work_class": lambda record: [record["work_class"]],
    "preset": lambda record: [record["intent"]["preset"]],
    "endpoint": lambda record: [record["endpoint"]],
    "outcome": lambda record: [record["outcome"]],
    "failure_class": lambda record: [attempt["failure_class"] for attempt in record["attempts"]],
    "status": lambda record: [record["status"]],
    "fell_back": lambda record: [str(record["fell_back"]).lower()],
    "committed": lambda record: [str(record["committed"]).lower()],
}


def check_queries(running: Running, records: list[dict[str, Any]], rng: random.Random) -> None:
    """2.13: a page of what matches, newest first, and its cursor; a second value of a parameter means either."""
    for _ in range(12):
        names = rng.sample(sorted(FILTERS), rng.randint(0, 3))
        wanted = {name: {value for value in FILTERS[name](rng.choice(records)) if value is not None} for name in names}
        wanted = {name: values for name, values in wanted.items() if values}
        matching = [r for r in records if all(values & set(FILTERS[name](r)) for name, values in wanted.items())]
        limit = rng.choice((1, 5, 1000))
        pairs: list[Any] = [("limit", limit), *[(name, value) for name, values in wanted.items() for value in values]]
        page = running.client.get("/v1/decisions", params=pairs).json()
        assert page["data"] == matching[:limit], pairs
        assert (page["has_more"], page["next"] is not None) == (len(matching) > limit, len(matching) > limit)
        if page["next"]:
            rest = running.client.get("/v1/decisions", params=[*pairs, ("before", page["next"])]).json()
            assert rest["data"] == matching[limit : 2 * limit], pairs


def check_metrics(running: Running, records: list[dict[str, Any]]) -> None:
    """17: the counters are the sums of the records."""
    counted: Counter[str] = Counter()
    for record in records:
        told = {
            "endpoint": record["endpoint"],
            "outcome": record["outcome"],
            "work_class": record["work_class"] or "",
            "status": record["status"],
        }
        counted[sample("requests", told)] += 1
        counted[sample("fallbacks", {"work_class": record["work_class"] or ""})] += record["fell_back"]
        for attempt in record["attempts"]:
            told = {
                "tier": attempt["tier_id"],
                "outcome": attempt["outcome"],
                "failure_class": attempt["failure_class"] or "",
            }
            counted[sample("attempts", told)] += 1
    lines = running.client.get("/metrics").text.splitlines()
    found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
    names = tuple(f"anvil_{name}_total{{" for name in ("requests", "fallbacks", "attempts"))
    assert {name: value for name, value in found.items() if name.startswith(names)} == {
        k: v for k, v in counted.items() if v
    }


def check_replay(running: Running, made: World, file: Path) -> None:
    """3.1: under the same configuration nothing moves, but for what a swap group held and what was not bound."""
    if not all(tier.bound for tier in made.tiers):
        return
    file.write_bytes(running.client.get("/v1/decisions", params={"limit": 1000}).content)
    loaded = loading.load(running.config, mode=None, environ={"TEST_KEY": "k"})
    for move in replay.moves(replay.read(file), loaded):
        assert sorted(move.before) == sorted(move.after), move


def sample(name: str, labels: dict[str, Any]) -> str:
    told = ",".join([f'{key}="{value}"' for key, value in sorted(labels.items())])
    return f"anvil_{name}_total{{{told}}}"
