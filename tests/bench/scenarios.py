"""What is run against every lane, and how long."""

from __future__ import annotations

from msgspec import Struct

from tests.bench import bodies

CHAT_PATH, MESSAGES_PATH = "/v1/chat/completions", "/v1/messages"
# Text that only the upstream's plain answer has, in either dialect.
MARKER = "one line at a time"
HEALTH_MARKER = '"status":"ok"'
CHUNK_DELAY_MS = 20
TURNS, QUICK_TURNS = 3, 2


class Scenario(Struct, frozen=True):
    """One row. ``against``: the row whose peer figures ours is held to; ``lanes``: empty for all of them.

    ``crowd``: so many callers of 2 kB chats at the same time, which makes the row one of latency, not of CPU.
    """

    key: str
    title: str
    path: str
    body: bytes
    connections: int
    stream: bool = False
    against: str = ""
    lanes: tuple[str, ...] = ()
    crowd: int = 0
    marker: str = MARKER
    quick: bool = False

    @property
    def peer_row(self) -> str:
        return self.against or self.key


def plain() -> list[Scenario]:
    chat, agent = bodies.chat(), bodies.agent()
    ours = ("anvil",)
    return [
        Scenario("chat-1", "2 kB chat, 1 connection", CHAT_PATH, chat, 1),
        Scenario("chat-16", "2 kB chat, 16 connections", CHAT_PATH, chat, 16, quick=True),
        Scenario("chat-64", "2 kB chat, 64 connections", CHAT_PATH, chat, 64),
        Scenario("chat-256", "2 kB chat, 256 connections", CHAT_PATH, chat, 256),
        Scenario(
            key="review-16",
            title="2 kB review, all checks, 16 connections",
            path=CHAT_PATH,
            body=bodies.chat(preset="review"),
            connections=16,
            against="chat-16",
            lanes=ours,
        ),
        Scenario("agent-16", "108 kB agent with 50 tools, 16 connections", CHAT_PATH, agent, 16, quick=True),
        Scenario(
            key="anthropic-16",
            title="the same as an Anthropic caller",
            path=MESSAGES_PATH,
            body=bodies.agent_anthropic(),
            connections=16,
            against="agent-16",
            lanes=ours,
            quick=True,
        ),
        Scenario(
            key="healthz",
            title="/healthz, 1 connection, beside 64 chat callers",
            path="/healthz",
            body=b"",
            connections=1,
            lanes=ours,
            crowd=64,
            marker=HEALTH_MARKER,
        ),
    ]


def streams() -> list[Scenario]:
    chat = bodies.chat(stream=True)
    everyone = ("direct", "nginx", "vllm-router", "anvil")
    return [
        Scenario("stream-8", "8 streams", CHAT_PATH, chat, 8, stream=True, lanes=everyone, quick=True),
        Scenario("stream-64", "64 streams", CHAT_PATH, chat, 64, stream=True, lanes=everyone, quick=True),
        Scenario(
            key="stream-64-anthropic",
            title="64 streams, Anthropic caller",
            path=MESSAGES_PATH,
            body=bodies.agent_anthropic(stream=True),
            connections=64,
            stream=True,
            against="stream-64",
            lanes=("anvil",),
        ),
        Scenario("stream-256", "256 streams", CHAT_PATH, chat, 256, stream=True, lanes=everyone),
    ]


class Plan(Struct, frozen=True):
    """Length of a run. ``turns`` of every lane in one scenario; ``chunks`` of one stream come CHUNK_DELAY_MS apart."""

    rounds: int
    turns: int
    seconds: float
    chunks: int
    stream_seconds: float
    scenarios: tuple[Scenario, ...]


def plan(*, quick: bool, rounds: int | None, seconds: float | None, only: str) -> Plan:
    """The full plan takes about four minutes, the quick one about half a minute."""
    turns = QUICK_TURNS if quick else TURNS
    chosen = [s for s in [*plain(), *streams()] if (s.quick or not quick) and only in s.key]
    return Plan(
        rounds=rounds or (2 if quick else 3),
        # Many short turns: a neighbour's burst then hits one pair of figures, which the median forgets.
        turns=turns,
        seconds=(seconds or (0.5 if quick else 1.5)) / turns,
        chunks=30 if quick else 60,
        # Streams follow each other on a connection until this long after the start.
        stream_seconds=0.1 if quick else 1.5,
        scenarios=tuple(chosen),
    )
