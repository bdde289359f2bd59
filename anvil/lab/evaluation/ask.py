"""One prompt to one tier, built and read exactly as the router does it (router contract 21.2): its body, its reader."""

from __future__ import annotations

import asyncio
import time

import httpx
import msgspec
from msgspec import Struct

from anvil.lab.reach import PROBE_S
from anvil.router import dialects
from anvil.router.backends import ANTHROPIC_VERSION, Backend, base_of
from anvil.router.config import RouterConfig, TierConfig
from anvil.router.dialects.encode import WindowTooSmall
from anvil.router.failures import classify_response
from anvil.router.gate import fold
from anvil.router.turn import Answer, BadAnswer, BadRequest, Fault, Turn, UpstreamRequest
from anvil.router.upstream import Connection, UpstreamError

# An answer of 4096 tokens is some 20 kB; a tier that sends this much does not stop by itself.
ANSWER_CAP = 4_194_304


class AskFailed(Exception):
    """The tier gave no usable answer. ``reachable`` is False when no connection or response head was had."""

    def __init__(self, label: str, *, reachable: bool = True) -> None:
        super().__init__(label)
        self.reachable = reachable


class Asked(Struct, frozen=True):
    """An answer's text, the model that gave it, its time in seconds and its tokens when the tier counted them."""

    text: str
    model: str | None
    elapsed_s: float
    completion_tokens: int | None


def ask(config: RouterConfig, tier: TierConfig, key: str | None, prompt: str, max_tokens: int) -> Asked:
    """Send ``prompt`` as one user message at temperature 0, streamed; extra_body applies. Raises AskFailed."""
    try:
        backend = Backend(config, tier, key, tier.model)
    except ValueError as error:  # a key that no header can carry
        raise AskFailed(f"{tier.auth_env or 'the key'}: {error}") from None
    return asyncio.run(_ask(backend, _turn(prompt, max_tokens)))


def _turn(prompt: str, max_tokens: int) -> Turn:
    body = {
        "model": "calibrate",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
    }
    try:
        return dialects.caller("openai").parse(msgspec.json.encode(body))
    except BadRequest as error:
        raise AskFailed(f"the prompt is no valid request: {error}") from None


async def _ask(backend: Backend, turn: Turn) -> Asked:
    started = time.monotonic()
    try:
        await backend.known_model()
        request = _request(backend.tier, turn)
        answer = await _answer(backend, request)
    except WindowTooSmall:
        raise AskFailed(
            f"the prompt and {turn.cap} tokens do not fit its window of {backend.tier.context_limit}"
        ) from None
    except UpstreamError as error:
        raise AskFailed(error.label) from None
    except BadAnswer as error:
        raise AskFailed(_told(error.fault)) from None
    finally:
        backend.upstream.close()
    if request.fitted and answer.finish is not None and answer.finish.reason in ("length", "context_window"):
        raise AskFailed(f"cut by its window of {backend.tier.context_limit}: no grade of it would be fair")
    if not answer.text.strip():
        raise AskFailed("empty content: the answer holds no text")
    usage = answer.usage
    tokens = usage.completion if usage is not None and not usage.estimated else None
    return Asked(answer.text, backend.tier.model, round(time.monotonic() - started, 3), tokens)


def _request(tier: TierConfig, turn: Turn) -> UpstreamRequest:
    conversation = None if tier.dialect == turn.dialect else dialects.caller(turn.dialect).conversation(turn)
    request = dialects.tier(tier.dialect).request(turn, tier, conversation)
    if tier.dialect == "anthropic":
        request.headers = [*request.headers, ("anthropic-version", ANTHROPIC_VERSION)]
    return request


async def _answer(backend: Backend, request: UpstreamRequest) -> Answer:
    silence = backend.silence
    head_s = silence.head_s if request.stream else silence.answer_s
    try:
        connection = await _head(backend, request, head_s)
    except UpstreamError as error:
        raise AskFailed(error.label, reachable=False) from None
    try:
        data = await _body(connection, max(head_s, silence.gap_s))
    finally:
        connection.finish()
    if not 200 <= connection.status < 300:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in connection.headers.items()}
        raise BadAnswer(classify_response(connection.status, headers, data))
    module = dialects.tier(backend.tier.dialect)
    if not connection.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
        return module.read_answer(data)
    reader = module.reader()
    events = reader.feed(data) + reader.close()
    if fault := next((event for event in events if isinstance(event, Fault)), None):
        raise BadAnswer(fault)
    if not reader.complete:
        raise AskFailed("the stream ended without its terminator")
    return fold(events)


async def _head(backend: Backend, request: UpstreamRequest, head_s: float) -> Connection:
    """A tier that is silent may read a long prompt, or hang: its /health tells, long before ``head_s`` is over."""
    sending = asyncio.ensure_future(
        backend.upstream.send(
            "POST", backend.path, request.body, head_timeout=head_s, headers=request.headers, streams=request.stream
        )
    )
    done, _ = await asyncio.wait({sending}, timeout=PROBE_S)
    if not done and not await _alive(backend.tier):
        sending.cancel()
        await asyncio.wait({sending})
        if sending.cancelled() or sending.exception():
            raise AskFailed(f"no answer, and none from /health within {PROBE_S:g} s", reachable=False)
    return await sending


async def _alive(tier: TierConfig) -> bool:
    """Whether anything is answered at all: an engine without /health says so."""
    root = base_of(tier).removesuffix("/v1")
    try:
        async with (
            asyncio.timeout(PROBE_S),
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=PROBE_S) as client,
            client.stream("GET", f"{root}/health"),
        ):
            return True
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return False


async def _body(connection: Connection, silence_s: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while data := await connection.next(silence_s):
        parts.append(data)
        size += len(data)
        if size > ANSWER_CAP:
            raise AskFailed(f"the answer is longer than {ANSWER_CAP} bytes")
    return b"".join(parts)


def _told(fault: Fault) -> str:
    return f"{fault.failure_class}: {fault.label}" + (f" (HTTP {fault.status})" if fault.status else "")
