"""Chat completions of one endpoint, read without trust: every way to fail has a class (lab contract 4.1)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import msgspec

from anvil.lab.endpoint import Endpoint
from anvil.router.sse import Parser
from anvil.router.turn import BadAnswer
from anvil.topology import derived

CONNECT_S = 5.0
WHOLE_CAP = 32 << 20
# a stream of 100,000 tokens, one event each, is less than half of it
STREAM_CAP = 64 << 20
_REFUSAL_CAP = 1 << 16
_SHOWN = 300
_OVER_WINDOW = re.compile(
    r"exceed_context_size|context_length_exceeded|maximum context length|context (length|window|size)"
    r"|longer than the model|max_model_len",
    re.IGNORECASE,
)


class Failure(Exception):
    """A request that did not give a usable answer. ``kind``: empty_content, garbage, no_tool_call, wrong_args,
    wrong_answer, http_<status>, timeout, malformed, over_window or unreachable."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        # it may quote the endpoint, which must not write to a terminal
        self.detail = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(detail.split()))
        super().__init__(self.detail)


class Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class ToolCall(msgspec.Struct):
    function: Function
    id: str | None = None


class Message(msgspec.Struct):
    """A message or, in a stream, a part of one."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thought(self) -> str:
        return self.reasoning_content or self.reasoning or ""


Count = Annotated[int, msgspec.Meta(ge=0)]


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class Usage(msgspec.Struct):
    """Token counts as the engine reports them; None = not reported."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_tokens_details: _PromptDetails | None = None

    @property
    def reasoning_tokens(self) -> int | None:
        return self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None

    @property
    def cached_tokens(self) -> int | None:
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None


class _Choice(msgspec.Struct):
    message: Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: Usage | None = None


class Reply(msgspec.Struct, frozen=True):
    """A whole answer."""

    message: Message
    finish_reason: str | None
    usage: Usage

    @property
    def content(self) -> str:
        return self.message.content or ""

    @property
    def thinks(self) -> bool:
        """Whether there was reasoning, seen as text or counted in tokens."""
        return bool(self.message.thought or self.usage.reasoning_tokens)


class StreamChoice(msgspec.Struct):
    delta: Message | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """One event of a streamed answer."""

    choices: list[StreamChoice] = []
    usage: Usage | None = None
    error: Any = None


_DECODE_COMPLETION = msgspec.json.Decoder(_Completion).decode
_DECODE_CHUNK = msgspec.json.Decoder(Chunk).decode


def client(endpoint: Endpoint) -> httpx.AsyncClient:
    """No proxies of the environment, no redirects, as many connections as asked; time is limited by the callers."""
    # idle connections go before the engines close them (uvicorn after 5 s): a lost race would look like a fault
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2)
    timeout = httpx.Timeout(None, connect=CONNECT_S)
    return httpx.AsyncClient(
        headers=endpoint.headers,
        timeout=timeout,
        limits=limits,
        trust_env=False,
        follow_redirects=False,
        verify=endpoint.base_url.startswith("https"),  # reading the certificates takes 40 ms that http has no use for
    )


async def complete(http: httpx.AsyncClient, endpoint: Endpoint, body: Mapping[str, Any], timeout_s: float) -> Reply:
    """One whole answer. Raises Failure."""
    async with _asked(http, endpoint, _request(endpoint, body), timeout_s) as answer:
        return _reply(endpoint, await whole(answer))


async def whole(answer: httpx.Response) -> bytes:
    """The body of an answer whose head is read. Raises Failure above WHOLE_CAP bytes: an endpoint may never stop."""
    found = await _beginning(answer, WHOLE_CAP)
    if len(found) > WHOLE_CAP:
        raise Failure("malformed", f"the answer is larger than {WHOLE_CAP >> 20} MiB")
    return found


async def _beginning(answer: httpx.Response, cap: int) -> bytes:
    """The body, or a little more than its first ``cap`` bytes."""
    found = bytearray()
    async for piece in answer.aiter_bytes():
        found += piece
        if len(found) > cap:
            break
    return bytes(found)


def _reply(endpoint: Endpoint, content: bytes) -> Reply:
    try:
        found = _DECODE_COMPLETION(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = endpoint.masked(content[:_SHOWN].decode(errors="replace"))
        raise Failure("malformed", f"no chat completion ({error}): {shown}") from None
    if not found.choices:
        raise Failure("malformed", "the answer has no choices")
    first = found.choices[0]
    return Reply(first.message, first.finish_reason, found.usage or Usage())


async def stream(
    http: httpx.AsyncClient,
    endpoint: Endpoint,
    body: Mapping[str, Any],
    timeout_s: float,
    take: Callable[[Chunk], None],
    arrived: Callable[[], None] = lambda: None,
) -> None:
    """Give every event of a streamed answer to ``take`` as it comes; ``arrived`` is called before the events of one
    read. Raises Failure, also when [DONE] is missing."""
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    start, size = b"", 0
    async with _asked(http, endpoint, _request(endpoint, streamed), timeout_s) as answer:
        parser = Parser()
        async for piece in answer.aiter_bytes():
            arrived()
            start, size = start + piece[: _SHOWN - len(start)], size + len(piece)
            if size > STREAM_CAP:
                raise Failure("malformed", f"the stream is longer than {STREAM_CAP >> 20} MiB")
            for _, data in parser.feed(piece):
                if data.strip() == b"[DONE]":
                    return
                take(_chunk(endpoint, data))
    raise Failure("malformed", _unfinished(endpoint, start))


def _unfinished(endpoint: Endpoint, start: bytes) -> str:
    if start.lstrip().startswith((b"data:", b"event:", b"id:", b":")):
        return "the stream ended without [DONE]"
    return f"no event stream: {endpoint.masked(start.decode(errors='replace')) or 'the answer is empty'}"


def _chunk(endpoint: Endpoint, data: bytes) -> Chunk:
    try:
        chunk = _DECODE_CHUNK(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = endpoint.masked(data[:_SHOWN].decode(errors="replace"))
        raise Failure("malformed", f"no chunk of a chat completion ({error}): {shown}") from None
    if chunk.error is not None:
        raise Failure("malformed", f"an error in the stream: {endpoint.masked(str(chunk.error))[:_SHOWN]}")
    return chunk


def _request(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    return derived.merged({"model": endpoint.model, "temperature": 0, **body}, endpoint.extra_body)


def _refused(endpoint: Endpoint, status: int, text: str) -> Failure:
    said = " ".join(endpoint.masked(text)[:_SHOWN].split())
    if status in (400, 413, 422) and _OVER_WINDOW.search(text):
        return Failure("over_window", f"HTTP {status}: {said}")
    if 300 <= status < 400:
        return Failure(f"http_{status}", "a redirect; redirects are not followed, give the final --base-url")
    return Failure(f"http_{status}", said or "no text")


@asynccontextmanager
async def _asked(
    http: httpx.AsyncClient, endpoint: Endpoint, request: Mapping[str, Any], timeout_s: float
) -> AsyncIterator[httpx.Response]:
    """The answer with status 200, its body yet to be read. Raises Failure for every other."""
    async with (
        _guarded(endpoint, timeout_s),
        http.stream("POST", f"{endpoint.base_url}/chat/completions", json=request) as answer,
    ):
        if answer.status_code != 200:
            text = (await _beginning(answer, _REFUSAL_CAP)).decode(errors="replace")
            raise _refused(endpoint, answer.status_code, text)
        yield answer


@asynccontextmanager
async def _guarded(endpoint: Endpoint, timeout_s: float) -> AsyncIterator[None]:
    """The time limit of the whole request, and a class for every way a connection can fail."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise Failure("timeout", f"no complete answer within {timeout_s:g} s") from None
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Failure("unreachable", f"no connection to {endpoint.base_url}: {error}") from None
    except (httpx.HTTPError, httpx.InvalidURL, BadAnswer) as error:
        raise Failure("malformed", f"the answer broke off: {str(error) or type(error).__name__}") from None
