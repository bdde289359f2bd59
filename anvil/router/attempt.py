"""One real call to one tier: send, read, judge; for a streaming caller through the gate (contract 13, 15.3 step 7)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from anvil.router import dialects
from anvil.router.dialects import anthropic_messages, losses
from anvil.router.dialects.encode import WindowTooSmall
from anvil.router.exchange import CallerGone, DeadlineReached, Exchange, Plain, Try
from anvil.router.failures import classify_response, window_full
from anvil.router.gate import Gate, GateFault, GatePolicy, fold, unfold
from anvil.router.reading import count_words
from anvil.router.turn import (
    Answer,
    BadAnswer,
    Event,
    Fault,
    Finish,
    Reply,
    TextDelta,
    ToolCall,
    UpstreamRequest,
    Usage,
)
from anvil.router.upstream import Connection, UpstreamError
from anvil.router.verify import chains, evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anvil.router.backends import Backend
    from anvil.router.runtime import Runtime

# Classification reads no more of an error body than this (contract 15.1).
ERROR_BODY_CAP = 65_536
# How long a tier may take to end its body after the terminator before we stop listening.
TRAILER_S = 2.0
# A write that takes longer waits for a caller that reads slowly: that is not our time.
SLOW_SEND_S = 0.001
# Text deltas kept of one answer for an observer that wants texts.
SAID_DELTAS = 4096
# Held answers above this count towards the process-wide pool.
POOLED = 65_536
# Answers up to this many characters are judged on the loop: a thread hop costs more than the checks.
INLINE_CHARS = 16_384


class AttemptFailed(Exception):
    """Nothing reached the caller; the walk decides what is next."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.label)
        self.fault = fault


class AbortedAfterCommit(Exception):
    """The caller has a prefix of the answer and one error event; nothing else may follow."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.label)
        self.fault = fault


class Attempt:
    """State of one call. ``run`` returns the complete answer, or None when it was streamed."""

    def __init__(self, runtime: Runtime, exchange: Exchange, backend: Backend, verdict: str, entry: Try) -> None:
        assert exchange.turn is not None  # the walk starts after parsing
        self.runtime = runtime
        self.exchange = exchange
        self.turn = exchange.turn.for_dialect(backend.tier.dialect)
        self.backend = backend
        self.entry = entry
        self.chain = chains.chain(verdict, backend.tier.local, runtime.config.verify_local_min)
        self.hold = verdict != "allow"
        self.same_dialect = backend.tier.dialect == self.turn.dialect
        self.module = dialects.tier(backend.tier.dialect)
        self.caller = dialects.caller(self.turn.dialect)
        self.started = time.perf_counter()
        self.pooled = 0
        self.first_data_at: float | None = None
        exchange.said = [] if runtime.observer is not None and runtime.observer.wants_texts else None  # nothing yet

    async def run(self) -> Plain | None:
        """Raises AttemptFailed, AbortedAfterCommit, CallerGone, DeadlineReached."""
        try:
            request = self._request()
        except WindowTooSmall:
            self.entry.real = False
            raise AttemptFailed(Fault("over_context", "window too small for an answer")) from None
        limit = self.exchange.left(self.backend.silence.head_s if request.stream else self.backend.silence.answer_s)
        asked_at = time.perf_counter()
        try:
            connection = await self.backend.upstream.send(
                "POST",
                self.backend.path,
                request.body,
                head_timeout=limit,
                headers=request.headers,
                streams=request.stream,
            )
        except UpstreamError as error:
            raise AttemptFailed(self._broken(error)) from None
        finally:
            self.first_data_at = time.perf_counter()
            self.exchange.tier_wait_s += self.first_data_at - asked_at
        self.exchange.connection = connection
        connection.waited = 0.0  # the wait for the head is counted above, with connecting
        try:
            return await self._answer(connection, request)
        finally:
            self.exchange.connection = None
            self.exchange.tier_wait_s += connection.waited
            if self.pooled:
                self.runtime.pool.shrink(self.pooled)
            connection.finish()  # back to the idle list, or closed at once, which cancels the tier's work

    # ------------------------------------------------------------------------------------------ request

    def _request(self) -> UpstreamRequest:
        conversation = None if self.same_dialect else self.caller.conversation(self.turn)
        request = self.module.request(self.turn, self.backend.tier, conversation)
        if self.same_dialect and self.turn.dialect == "anthropic":
            request.headers = [*request.headers, *anthropic_messages.forward_headers(self.exchange.inbound)]
        elif self.backend.tier.dialect == "anthropic":
            request.headers = [*request.headers, ("anthropic-version", "2023-06-01")]
        self.exchange.lossy.update(request.lossy)
        return request

    # ------------------------------------------------------------------------------------------- answer

    async def _answer(self, connection: Connection, request: UpstreamRequest) -> Plain | None:
        status = self.entry.upstream_status = connection.status
        if not 200 <= status < 300:
            raise AttemptFailed(await self._refusal(connection))
        encoding = connection.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"", b"identity"):
            raise AttemptFailed(Fault("unavailable", "wrong content encoding"))
        streamed = connection.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        if self.turn.stream:
            await self._stream(connection, request, streamed)
            return None
        answer = await (self._folded(connection) if streamed else self._whole(connection))
        await self._judge(answer, request)
        return self._plain(answer)

    async def _refusal(self, connection: Connection) -> Fault:
        parts, size = [], 0
        try:
            while size < ERROR_BODY_CAP and (data := await connection.next(self.exchange.left(5.0))):
                parts.append(data)
                size += len(data)
        except UpstreamError:
            pass
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in connection.headers.items()}
        return classify_response(connection.status, headers, b"".join(parts)[:ERROR_BODY_CAP])

    async def _whole(self, connection: Connection) -> Answer:
        data = await self._read(connection)
        try:
            return self.module.read_answer(data)
        except BadAnswer as error:
            raise AttemptFailed(error.fault) from None

    async def _read(self, connection: Connection) -> bytes:
        cap = self.runtime.config.limits.buffer_cap_bytes
        parts: list[bytes] = []
        size = 0
        try:
            while data := await connection.next(self.exchange.left(self.backend.silence.answer_s)):
                parts.append(data)
                size += len(data)
                if size > cap:
                    raise AttemptFailed(Fault("bad_answer", f"buffer cap {cap}"))
                self._hold(size)
        except UpstreamError as error:
            raise AttemptFailed(self._broken(error)) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _folded(self, connection: Connection) -> Answer:
        """A tier that streams although nobody asked (extra_body): the whole stream becomes one answer."""
        reader = self.module.reader()
        events: list[Event] = []
        try:
            data = await self._read(connection)
            events = reader.feed(data) + reader.close()
        except BadAnswer as error:
            raise AttemptFailed(error.fault) from None
        for event in events:
            if isinstance(event, Fault):
                raise AttemptFailed(event)
        if not reader.complete:
            raise AttemptFailed(Fault("unavailable", "stream ended without its terminator"))
        self.exchange.lossy.update(reader.lossy)
        return fold(events)

    async def _judge(self, answer: Answer, request: UpstreamRequest) -> None:
        """Run the chain; raises AttemptFailed when a check fails."""
        self._account(answer.usage, count_words(answer.text))
        self.exchange.lossy.update(answer.lossy)
        if (full := window_full(answer)) is not None:
            raise AttemptFailed(full)
        proof = evidence.of(answer, self.turn, _cap(request))
        started = time.perf_counter()
        if len(proof.text) + sum(len(call.arguments) for call in proof.calls) <= INLINE_CHARS:
            outcome = self.chain.run(proof)
        else:
            outcome = await self._judge_aside(proof)
        self.runtime.observe_verify(self.chain.name, time.perf_counter() - started)
        self.entry.advisories = outcome.advisories
        self.entry.verifier_passed = outcome.passed
        self.entry.verify_reason = "passed" if outcome.passed else outcome.failed or "verifier_error"
        if not outcome.passed:
            failed = self.entry.verify_reason
            internal = failed == "verifier_timeout" or failed.endswith("_error")
            raise AttemptFailed(Fault("router_fault" if internal else "bad_answer", failed))

    async def _judge_aside(self, proof: evidence.Evidence) -> chains.Outcome:
        budget = self.runtime.config.limits.verify_budget_s
        try:
            async with asyncio.timeout(budget):
                return await asyncio.to_thread(self.chain.run, proof)
        except TimeoutError:
            return chains.Outcome(passed=False, failed="verifier_timeout")

    def _plain(self, answer: Answer) -> Plain:
        self._overhear([TextDelta(answer.text)])
        body = self.caller.render(answer, self.turn, self._reply(), self.exchange.lossy)
        self.exchange.committed = True
        return Plain(200, body)

    def _reply(self) -> Reply:
        model = self.turn.model or self.caller.DEFAULT_MODEL
        return self.runtime.reply(model, self.turn.signals.words, self.same_dialect)

    # ------------------------------------------------------------------------------------------- stream

    async def _stream(self, connection: Connection, request: UpstreamRequest, streamed: bool) -> None:
        writer = self.caller.writer(self.turn, self._reply())
        gate = Gate(writer, self._gate_policy())
        try:
            if streamed:
                await self._relay(connection, gate)
            else:
                answer = await self._whole(connection)
                self._overhear([TextDelta(answer.text)])
                self.exchange.lossy.update(answer.lossy)
                losses.name_shell(answer, self.exchange.lossy)
                await self._send([gate.push(event) for event in unfold(answer)])
            await self._conclude(gate, request)
        except (GateFault, BadAnswer, AttemptFailed) as error:
            await self._break_off(gate, error.fault)
        except DeadlineReached:
            if not self.exchange.committed:
                raise
            await self._break_off(gate, Fault("unavailable", "deadline"))
        except CallerGone:
            raise
        except Exception as error:  # a defect of ours is told like one of the tier: never a stream that just ends
            self.runtime.defect(error)
            await self._break_off(gate, Fault("router_fault", "internal defect"))
        finally:
            self.exchange.lossy.update(writer.lossy)

    def _gate_policy(self) -> GatePolicy:
        choice = self.turn.tool_choice
        local = self.backend.tier.local
        return GatePolicy(
            hold=self.hold,
            verify_call=self._verify_call,
            eager=local and not self.runtime.config.verify_local_min,
            require_call=self.turn.requires_call,
            require_name=choice.name if choice is not None and choice.mode == "named" else "",
            cap=self.runtime.config.limits.buffer_cap_bytes,
        )

    def _verify_call(self, call: ToolCall) -> str | None:
        return self.chain.verify_call(call, self.turn)

    async def _relay(self, connection: Connection, gate: Gate) -> None:
        """Tier bytes -> events -> gate -> caller, until the terminator or a defect."""
        reader = self.module.reader()
        limit = self.backend.silence.head_s
        left, feed, push, next_ = self.exchange.left, reader.feed, gate.push, connection.next
        ended = False
        while not ended:
            try:
                data = await next_(left(TRAILER_S if reader.complete else limit))
            except UpstreamError as error:
                if reader.complete:
                    break
                raise GateFault(self._broken(error)) from None
            ended = not data
            frames: list[bytes] = []
            try:
                events = feed(data) if data else reader.close()
                if self.exchange.said is not None:
                    self._overhear(events)
                if events:  # comments are no answer: llama-server sends some while it still reads the prompt
                    limit = self.backend.silence.gap_s
                # extend keeps what came before an exception
                frames.extend(filter(None, map(push, events)))
            finally:
                # what a commit released leaves even when a later event is a defect, however the bytes were packed
                if frames:
                    await self._send(frames)
            self._hold(gate.held_bytes)
        self.runtime.count_bad_events(self.backend.id, reader.bad_events)
        self.exchange.lossy.update(reader.lossy)
        if not reader.complete:
            raise GateFault(Fault("unavailable", "stream ended without its terminator"))

    async def _send(self, frames: list[bytes]) -> None:
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        if not data:
            return
        if not self.exchange.committed:
            self._note_commit()
            if not self.exchange.started_stream:
                await self.runtime.start_stream(self.exchange, self.entry)
        began = self.exchange.sent_at = time.perf_counter()
        await self.exchange.outlet.send(data)
        if (took := time.perf_counter() - began) > SLOW_SEND_S:
            self.exchange.caller_wait_s += took

    def _note_commit(self) -> None:
        now = time.perf_counter()
        self.exchange.committed = True
        self.exchange.first_byte_at = now
        self.entry.ttft_ms = (now - self.started) * 1000
        if self.first_data_at is not None:
            self.runtime.observe_hold(self.backend.id, self.entry.verdict, now - self.first_data_at)

    async def _conclude(self, gate: Gate, request: UpstreamRequest) -> None:
        if gate.needs_verdict:
            await self._judge(gate.answer(), request)
            await self._send([gate.accept()])
            return
        self._account(gate.usage, gate.words.count)
        self.entry.verifier_passed = True
        self.entry.verify_reason = "passed"
        if _ran_out(gate.finish) and self._truncated(gate, request):
            self.entry.advisories = (*self.entry.advisories, "not_truncated")
        await self._send([gate.end()])

    def _truncated(self, gate: Gate, request: UpstreamRequest) -> bool:
        return chains.truncated(evidence.of(Answer([], gate.finish, gate.usage), self.turn, _cap(request)))

    async def _break_off(self, gate: Gate, fault: Fault) -> None:
        if not self.entry.prompt_tokens:  # what was generated before the end costs, served or not
            self._account(gate.usage, gate.words.count)
        if not self.exchange.committed:  # the gate may have opened, but only bytes that left bind us to this tier
            raise AttemptFailed(fault)
        with contextlib.suppress(CallerGone):
            await self.exchange.outlet.send(gate.abort(fault, self.runtime.config.exhaustion_status))
        raise AbortedAfterCommit(fault)

    # ------------------------------------------------------------------------------------------- inside

    def _overhear(self, events: Sequence[Event]) -> None:
        said = self.exchange.said
        if said is not None and len(said) < SAID_DELTAS:
            said += [event.text for event in events if type(event) is TextDelta]

    def _account(self, usage: Usage | None, words: int) -> None:
        """Real counts where the tier reports them, else estimates (contract 7.4)."""
        entry = self.entry
        if usage is not None and not usage.estimated:
            entry.prompt_tokens, entry.completion_tokens = usage.prompt, usage.completion
            entry.cached_tokens, entry.usage_source = usage.cached, "upstream"
            self.runtime.check_bound(self.turn, self.backend.tier, usage.prompt)
            return
        entry.prompt_tokens, entry.completion_tokens = self.turn.signals.words, words

    def _hold(self, size: int) -> None:
        """Account for held bytes in the process-wide pool (contract 2.4); small answers are not worth counting."""
        more = size - self.pooled
        if size <= POOLED or more <= 0:
            return
        if not self.runtime.pool.grow(more):
            raise AttemptFailed(Fault("bad_answer", f"buffer cap {self.runtime.pool.limit}"))
        self.pooled = size

    def _broken(self, error: UpstreamError) -> Fault:
        self.exchange.left(0.001)
        return Fault("unavailable", f"backend error {error.label}")


def _cap(request: UpstreamRequest) -> int | None:
    """The cap that excuses a length stop; one we lowered ourselves does not (README reconciliation 11)."""
    return None if request.fitted else request.cap


def _ran_out(finish: Finish | None) -> bool:
    return finish is not None and finish.reason in ("length", "context_window")
