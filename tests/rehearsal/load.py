"""Steady traffic against the router while something changes, and the engine it is about: cheap, exact, on one thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.rehearsal.lab import ROUTER, TOKEN, TOPOLOGY, Lab

RATE = 20  # requests a second
LONG_S = 6.0  # a stream that is on its way whenever a swap happens
IMAGE = "anvil-rehearsal/python:3.11"
# Answers at once; an answer streamed to someone who says "long" takes LONG_S seconds.
ENGINE = r"""
import json, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *words): pass
    def say(self, body, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.say(json.dumps({"object": "list", "data": [{"id": "echo", "object": "model", "max_model_len": 32768}]}).encode())
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        told = {"id": "c", "created": 1, "model": "echo"}
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "one two three"}, "finish_reason": "stop"}
            return self.say(json.dumps({**told, "object": "chat.completion", "choices": [choice], "usage": usage}).encode())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        words, pause = (48, LONG / 48) if "long" in str(asked["messages"]) else (3, 0)
        for each in range(words):
            self.event({**told, "choices": [{"index": 0, "delta": {"content": f"w{each} "}, "finish_reason": None}]})
            time.sleep(pause)
        self.event({**told, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.event({**told, "choices": [], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")
    def event(self, data):
        self.chunk(b"data: " + json.dumps({"object": "chat.completion.chunk", **data}).encode() + b"\n\n")
    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

ThreadingHTTPServer(("0.0.0.0", 9000), Engine).serve_forever()
""".replace("LONG", str(LONG_S))
WITH_ENGINE = TOPOLOGY.replace(
    "[presets]", '[tiers.echo]\nbase_url = "http://echo:9000/v1"\nmodel = "echo"\ncontext_limit = 32768\n\n[presets]'
).replace('chat         = ["fast-local", "heavy-local"]', 'chat         = ["echo"]')
HANDOVER = WITH_ENGINE.replace(
    'token    = ["ANVIL_ROUTER_TOKEN"]', 'token    = ["ANVIL_ROUTER_TOKEN"]\nhandover = true'
)


@contextmanager
def engine(lab: Lab) -> Iterator[None]:
    """The scripted engine, on the network that the router is on."""
    lab.ssh("forge", f"docker run -d --init --name echo --network anvil -i {IMAGE} python3 -c '{ENGINE}'")
    try:
        yield
    finally:
        lab.ssh("forge", "docker rm -f echo", check=False)


@dataclass
class Traffic:
    """What became of every request: `answered` in seconds, `failed` as (seconds since the start, what went wrong)."""

    answered: list[float] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def story(self) -> str:
        worst = max(self.answered, default=0.0)
        lost = f"; lost {self.failed[0][0]:.2f}..{self.failed[-1][0]:.2f} s: {self.failed[:3]}" if self.failed else ""
        return (
            f"{len(self.answered)} answered, slowest {worst:.2f} s, {len(self.failed)} failed {dict(self.kinds)}{lost}"
        )


@contextmanager
def traffic(lab: Lab) -> Iterator[Traffic]:
    """Requests at RATE from before the block begins until after it ends; every one has ended when this returns."""
    seen, over = Traffic(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask(seen, over)))
    thread.start()
    try:
        time.sleep(1.5)
        yield seen
        time.sleep(1.5)
    finally:
        over.set()
        thread.join(LONG_S + 60)
    assert not thread.is_alive(), "a request never ended"
    lab.say(f"           {seen.story}")


async def _ask(seen: Traffic, over: threading.Event) -> None:
    """One tick, one request: plain, streamed, plain on a fresh connection; every two seconds a long stream."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=60)
    async with httpx.AsyncClient(base_url=ROUTER, headers=headers, timeout=60, limits=limits) as kept:
        began, running, tick = time.monotonic(), set[asyncio.Task[None]](), 0
        while not over.is_set():
            running.add(asyncio.create_task(_one(kept, seen, tick, began)))
            tick += 1
            await asyncio.sleep(max(0.0, began + tick / RATE - time.monotonic()))
        await asyncio.gather(*running)


async def _one(kept: httpx.AsyncClient, seen: Traffic, tick: int, began: float) -> None:
    kind = "long" if tick % (2 * RATE) == 0 else ("plain", "streamed", "fresh")[tick % 3]
    asked = time.monotonic()
    try:
        wrong = await _answer(kept, kind)
    except httpx.HTTPError as error:
        wrong = type(error).__name__
    if wrong:
        seen.failed.append((asked - began, f"{kind}: {wrong}"))
        seen.kinds[wrong] += 1
    elif kind != "long":
        seen.answered.append(time.monotonic() - asked)
    else:
        seen.answered.append(time.monotonic() - asked - LONG_S)
        seen.kinds["long streams"] += 1


async def _answer(kept: httpx.AsyncClient, kind: str) -> str:
    """What is wrong with the answer; "" when it is whole."""
    word = "long" if kind == "long" else "short"
    body = {"model": "chat", "messages": [{"role": "user", "content": word}], "max_tokens": 512}
    if kind in ("plain", "fresh"):
        more = {"Connection": "close"} if kind == "fresh" else {}
        answer = await kept.post("/v1/chat/completions", json=body, headers=more)
        whole = "one two three" in answer.text
    else:
        answer = await kept.post("/v1/chat/completions", json={**body, "stream": True})
        whole = answer.text.rstrip().endswith("data: [DONE]") and ("w47 " if kind == "long" else "w2 ") in answer.text
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:120]}"
    return "" if whole else f"cut: {answer.text[-80:]}"
