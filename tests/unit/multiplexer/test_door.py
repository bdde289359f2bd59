"""What a caller of the multiplexer meets: relays, error shapes, tokens, limits (contract lab.md 11)."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from anvil.multiplexer.app import App
from anvil.multiplexer.config import MultiplexerConfig, Row
from anvil.multiplexer.lifecycle import Lifecycle
from anvil.multiplexer.relay import Relay
from anvil.multiplexer.residency import Residency
from anvil.multiplexer.server import _bound
from anvil.router.config import ServerConfig
from anvil.router.listener import Listener
from tests.router.tier import Received, Script, Tier, chat, chunk, response, sse
from tests.unit.multiplexer.parts import Fake, Lines, unlimited

BOTH = ("a", "b")


@dataclass
class House:
    client: httpx.AsyncClient
    residency: Residency
    fake: Fake
    tiers: dict[str, Tier]
    log: Lines

    async def ask(self, model: str, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        return await self.client.post(path, json={"model": model, **more})

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not met():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def house(
    tokens: tuple[bytes, ...] = (), limits: ServerConfig | None = None, guard: Any = None, **more: Any
) -> AsyncIterator[House]:
    fake, log = Fake(start_s=0, stop_s=0), Lines()
    tiers = {name: Tier(_engine(name)).start() for name in BOTH}
    rows = tuple(
        Row(name=name, container=f"c-{name}", port=tier.port, host="127.0.0.1", est_weight_gb=1)
        for name, tier in tiers.items()
    )
    config = MultiplexerConfig(registry=rows, **{"min_resident_s": 0, **more})
    relay = Relay(config, log)
    relay.residency = Residency(config, Lifecycle(fake, fake.ready), guard or unlimited(), log)
    relay.residency.open()
    limits = limits or ServerConfig()
    sock = _bound("127.0.0.1", 0)
    port = sock.getsockname()[1]
    app = App(limits, tokens, relay.residency, relay, log)
    listener = Listener(sock, app.serve, limits, lambda reason: None)
    try:
        await listener.start()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            yield House(client, relay.residency, fake, tiers, log)
    finally:
        listener.close()
        relay.residency.close()
        relay.close()
        await asyncio.sleep(0.01)
        for tier in tiers.values():
            tier.stop()


def _engine(name: str) -> Callable[[Received], Script]:
    def behave(request: Received) -> Script:
        if request.path == "/health":
            return response(200, b"{}")
        return chat(f"I am {name}")

    return behave


def kind(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"type", "message"}
    return answer.status_code, error["type"]


async def test_each_model_answers_for_itself() -> None:
    async with house() as made:
        for name in "abba":
            answer = await made.ask(name)
            assert answer.json()["choices"][0]["message"]["content"] == f"I am {name}"
        assert made.fake.story == ["start a", "stop a", "start b", "stop b", "start a"]
        assert not made.fake.overlapped


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"])
async def test_the_body_and_path_reach_the_engine_unchanged(path: str) -> None:
    async with house(tokens=(b"secret",)) as made:
        body = b'{"model": "a",  "odd": [1.50, "\\u00e9"]}'
        headers = {"authorization": "Bearer secret", "anthropic-version": "2023-06-01", "content-type": "application/json"}  # fmt: skip
        answer = await made.client.post(path, content=body, headers=headers)
        assert answer.status_code == 200
        seen = made.tiers["a"].seen[-1]
        assert (seen.path, seen.body) == (path, body)
        assert seen.headers["anthropic-version"] == "2023-06-01"
        assert seen.headers["accept"] == "application/json"
        assert "authorization" not in seen.headers
        await made.client.post(path, content=body, headers={**headers, "accept": "text/event-stream"})
        assert made.tiers["a"].seen[-1].headers["accept"] == "text/event-stream"


async def test_an_engines_error_comes_back_verbatim() -> None:
    async with house() as made:
        text = b'{"oops": "too long"}'
        made.tiers["a"].behaviour = lambda request: response(418, text, "application/problem+json", retry_after="3")
        answer = await made.ask("a")
        assert (answer.status_code, answer.content) == (418, text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["content-length"] == str(len(text))


async def test_a_coded_answer_keeps_its_coding() -> None:
    async with house() as made:
        packed = gzip.compress(b'{"a":1}')
        made.tiers["a"].behaviour = lambda request: response(200, packed, content_encoding="gzip")
        answer = await made.ask("a")
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.json() == {"a": 1}


async def test_a_stream_is_relayed_chunk_by_chunk() -> None:
    async with house() as made:
        first, second = chunk({"content": "one"}), chunk({"content": "two"})
        loop = asyncio.get_running_loop()
        arrived: list[bytes] = []
        made.tiers["a"].behaviour = lambda request: sse(first, 0.3, second)
        async with made.client.stream("POST", "/v1/chat/completions", json={"model": "a", "stream": True}) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            times = []
            async for data in answer.aiter_raw():
                arrived.append(data)
                times.append(loop.time())
        assert arrived == [first, second]
        assert times[1] - times[0] > 0.2


async def test_a_stream_that_breaks_off_does_not_look_complete() -> None:
    async with house() as made:
        made.tiers["a"].behaviour = lambda request: sse(chunk({"content": "one"}), 0.05, end=False)
        with pytest.raises(httpx.RemoteProtocolError):
            await made.ask("a", stream=True)


async def test_when_the_caller_leaves_the_engine_is_told_and_the_lease_ends() -> None:
    async with house() as made:
        made.tiers["a"].behaviour = lambda request: sse(chunk({"content": "one"}), 30.0, chunk({"content": "two"}))
        async with made.client.stream("POST", "/v1/chat/completions", json={"model": "a", "stream": True}) as answer:
            async for _ in answer.aiter_raw():
                break
            assert made.residency.in_flight()["a"] == 1
        await made.until(lambda: made.tiers["a"].cancelled == 1)
        await made.until(lambda: made.residency.in_flight()["a"] == 0)


async def test_a_caller_that_leaves_before_the_head_is_noticed_too() -> None:
    async with house() as made:
        made.tiers["a"].behaviour = lambda request: Script([30.0])
        with pytest.raises(httpx.ReadTimeout):
            await made.client.post("/v1/completions", json={"model": "a"}, timeout=0.3)
        await made.until(lambda: made.tiers["a"].cancelled == 1)
        await made.until(lambda: made.residency.in_flight()["a"] == 0)


async def test_a_swap_cuts_after_the_drain_and_says_so_where_it_can() -> None:
    async with house(drain_timeout_s=0.2) as made:
        made.tiers["a"].behaviour = lambda request: Script([30.0])
        held = asyncio.create_task(made.ask("a"))
        await made.until(lambda: made.residency.in_flight()["a"] == 1)
        assert (await made.ask("b")).status_code == 200
        answer = await held
        assert kind(answer) == (503, "backend_unavailable")
        assert "swap" in answer.json()["error"]["message"]


async def test_the_list_never_loads_and_says_what_is_loaded() -> None:
    async with house() as made:
        rows = (await made.client.get("/v1/models")).json()
        assert [(row["id"], row["status"]) for row in rows["data"]] == [("a", "unloaded"), ("b", "unloaded")]
        assert made.fake.story == []
        await made.ask("b")
        rows = (await made.client.get("/v1/models")).json()
        assert [(row["id"], row["status"]) for row in rows["data"]] == [("a", "unloaded"), ("b", "loaded")]


async def test_health_tells_the_whole_state() -> None:
    async with house() as made:
        await made.ask("a")
        await made.ask("b")
        health = (await made.client.get("/healthz")).json()
        assert health["resident"] == "b"
        assert health["starting"] is None
        assert health["in_flight"] == health["waiting"] == {"a": 0, "b": 0}
        assert (health["last_swap"]["old"], health["last_swap"]["new"]) == ("a", "b")
        assert health["last_swap"]["outcome"] == "done"
        assert health["drain_wait_ms"] >= 0
        assert [row["name"] for row in health["registry"]] == ["a", "b"]
        assert (await made.client.head("/healthz")).status_code == 200


async def test_a_model_that_died_is_started_again_for_the_request_that_finds_out() -> None:
    async with house() as made:
        await made.ask("a")
        port = made.tiers["a"].port
        made.tiers["a"].stop()
        made.fake.up.clear()
        made.tiers["a"] = Tier(_engine("a"), port=port)
        start, made_start = made.fake.start, made.tiers["a"].start

        async def start_again(row: Row) -> None:
            made_start()
            await start(row)

        made.fake.start = start_again  # type: ignore[method-assign]  # the engine comes with its container
        assert (await made.ask("a")).status_code == 200
        assert made.fake.story == ["start a", "stop a", "start a"]


async def test_a_copy_that_its_runtime_restarted_is_not_heard_while_it_loads() -> None:
    """Docker brings a crashed engine back before anybody looks; until its model is loaded it answers 503."""
    async with house() as made:
        await made.ask("a")
        loading, loaded = response(503, b'{"error": {"message": "Loading model"}}'), _engine("a")
        made.tiers["a"].behaviour = lambda request: loaded(request) if len(made.fake.story) > 1 else loading
        made.fake.up["a"] += 1
        answer = await made.ask("a")
        assert answer.json()["choices"][0]["message"]["content"] == "I am a"
        assert made.fake.story == ["start a", "stop a", "start a"]
        made.tiers["a"].behaviour = lambda request: loading  # a resident's own 503 is its word
        assert (await made.ask("a")).json() == {"error": {"message": "Loading model"}}
        assert made.fake.story == ["start a", "stop a", "start a"]


async def test_an_engine_that_does_not_listen_is_503() -> None:
    async with house() as made:
        made.tiers["a"].stop()
        assert kind(await made.ask("a")) == (503, "backend_unavailable")
        made.tiers["a"].start()


async def test_refusals_have_their_status_and_type() -> None:
    async with house() as made:
        assert kind(await made.ask("nope")) == (404, "model_not_found")
        assert kind(await made.client.get("/v1/nothing")) == (404, "not_found")
        assert kind(await made.client.get("/v1/chat/completions")) == (405, "method_not_allowed")
        made.fake.exits["a"] = 7
        assert kind(await made.ask("a")) == (503, "backend_unavailable")
    async with house(guard=unlimited(cap=0.5)) as made:
        assert kind(await made.ask("a")) == (503, "insufficient_memory")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model": 3}', b'{"messages": []}', b'\xff\xfe"', b'{"x":' + b"[" * 9999]
)
async def test_a_malformed_body_is_400(body: bytes) -> None:
    async with house() as made:
        assert kind(await made.client.post("/v1/messages", content=body)) == (400, "invalid_request")
        assert made.fake.story == []


async def test_a_body_without_a_length_is_400_and_a_large_one_413() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "a"}'

    async with house(limits=ServerConfig(max_body_bytes=1000)) as made:
        assert kind(await made.client.post("/v1/messages", content=pieces())) == (400, "invalid_request")
        assert kind(await made.ask("a", text="x" * 1000)) == (413, "payload_too_large")


async def test_a_full_house_is_503() -> None:
    async with house(limits=ServerConfig(max_concurrency=1)) as made:
        made.tiers["a"].behaviour = lambda request: Script([30.0])
        held = asyncio.create_task(made.ask("a"))
        await made.until(lambda: made.residency.in_flight()["a"] == 1)
        assert kind(await made.ask("a")) == (503, "server_busy")
        held.cancel()


async def test_a_token_is_needed_for_all_but_health() -> None:
    async with house(tokens=(b"secret", b"next")) as made:
        assert (await made.client.get("/healthz")).status_code == 200
        assert kind(await made.client.get("/v1/models")) == (401, "authentication_error")
        assert kind(await made.ask("a")) == (401, "authentication_error")
        good = {"x-api-key": "next"}
        assert (await made.client.get("/v1/models", headers=good)).status_code == 200


async def test_a_defect_is_a_500_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house() as made:

        def broken(self: Residency) -> dict[str, int]:
            raise RuntimeError("secret detail")

        monkeypatch.setattr(Residency, "in_flight", broken)
        answer = await made.client.get("/healthz")
        assert kind(answer) == (500, "internal_error")
        assert "secret detail" not in answer.text
        assert len([line for line in made.log.lines if "secret detail" in line]) == 1


async def test_old_http_gets_a_body_that_ends_with_the_connection() -> None:
    async with house() as made:
        made.tiers["a"].behaviour = lambda request: sse(chunk({"content": "one"}))
        reader, writer = await asyncio.open_connection("127.0.0.1", made.client.base_url.port)
        body = json.dumps({"model": "a"}).encode()
        writer.write(b"POST /v1/messages HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        answer = await reader.read()
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert rest == chunk({"content": "one"})
        writer.close()
