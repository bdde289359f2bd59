"""What one worker holds for its whole life: configuration, tiers, breakers, records, lanes. Nothing is shared."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING

from msgspec import Raw, Struct

from anvil.router import gauges, models, records
from anvil.router.backends import Backend
from anvil.router.breaker import Breakers
from anvil.router.config import TierConfig
from anvil.router.decisions import Recorder
from anvil.router.exchange import Exchange, Try
from anvil.router.intent import Intents
from anvil.router.lanes import Clients, Lane, Pool
from anvil.router.log import Log
from anvil.router.metrics import Metrics
from anvil.router.observer import Observer
from anvil.router.policy import Policy, Residencies
from anvil.router.redact import Scrubber
from anvil.router.tokens import upper_bound
from anvil.router.turn import Reply, Turn

if TYPE_CHECKING:
    from anvil.router.loading import Loaded
    from anvil.router.server import Listen, Shared


_NO_BODY: dict[str, Raw] = {}
# Records of finished requests are built in batches: the code then runs warm, and no answer waits for it.
RECORD_EVERY_S = 0.05
RECORD_BATCH = 64


class Identity(Struct, frozen=True):
    """Which configuration answers; stamped on every record."""

    release: str | None
    config_hash: str
    mapping_version: str
    mode: str | None


class Runtime:
    """One worker's state. Methods are called on the event loop."""

    def __init__(self, loaded: Loaded, shared: Shared, listen: Listen) -> None:
        config = self.config = loaded.config
        binding = loaded.binding
        self.loaded = loaded
        self.shared = shared
        self.listen = listen
        self.identity = Identity(loaded.release, loaded.config_hash, config.mapping_version, loaded.mode)
        self.privacy = {tier.id: tier.privacy for tier in config.tiers}
        self.residencies = Residencies(config)
        self.policy = Policy(config, loaded.profile, bound=frozenset(binding.keys), residencies=self.residencies)
        self.intents = Intents(config)
        self.breakers = Breakers(config.breaker)
        secrets = [token.decode() for token in loaded.tokens] + [key for key in binding.keys.values() if key]
        self.scrubber = Scrubber(secrets)
        self.serve_lane = Lane("serve", config.server.max_concurrency)
        self.control_lane = Lane("control", config.server.control_concurrency)
        self.clients = Clients(config.server.max_per_client)
        self.pool = Pool(config.limits.buffer_pool_bytes)
        self.offers = models.offers(config, self.policy)
        self.models_openai = models.openai_list(self.offers)
        self.models_anthropic = models.anthropic_list(self.offers)
        self.draining = False
        self.active: set[Exchange] = set()
        self.started = time.time()
        self.backends: dict[str, Backend] = {}
        self.reachable: tuple[float, dict[str, bool]] = (float("-inf"), {})
        self.bound_broken: set[str] = set()
        self._reloads = (0, 0)
        self.observer: Observer | None = None
        self._finished: list[Exchange] = []
        self._settling: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Everything that needs the worker's process: threads, clients, gauges."""
        self._loop = loop
        binding = self.loaded.binding
        identity = self.identity
        self.metrics = Metrics(
            self.config, release=identity.release, config_hash=identity.config_hash, mode=identity.mode
        )
        gauges.register(self)
        self.log = Log(format=self.listen.log_format, scrubber=self.scrubber)
        self.recorder = Recorder(self.config.decisions, self.metrics, self.log)
        if self.loaded.observe is not None:
            self.observer = Observer(self.loaded.observe, self.metrics.observer_lost)
        for tier in self.config.tiers:
            if tier.id in binding.keys:
                self.backends[tier.id] = Backend(self.config, tier, binding.keys[tier.id], binding.models[tier.id])

    def drain(self) -> None:
        """No new requests; what runs may finish until ``cut``."""
        if not self.draining:
            self.draining = True
            self.recorder.followers.close()  # endless by nature: waiting for them would be waiting for the deadline

    def cut(self) -> None:
        """The drain time is over: streams end with an error event."""
        for exchange in list(self.active):
            exchange.deadline = 0.0
            if exchange.connection is not None:
                exchange.connection.abort("draining")

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.settle()
            if self.observer is not None:
                self.observer.close()
            self.recorder.close()
            self.log.close()

    # ------------------------------------------------------------------------------- for the walk

    def reply(self, model: str, words: int, same_dialect: bool) -> Reply:
        return Reply(
            id=f"{random.getrandbits(96):024x}",  # an identifier, not a secret
            model=model,
            created=int(time.time()),
            prompt_estimate=words,
            same_dialect=same_dialect,
        )

    async def start_stream(self, exchange: Exchange, entry: Try | None) -> None:
        """The 200 of a stream. ``entry`` is None when a ping comes first: then no tier is known yet."""
        exchange.started_stream = True
        exchange.status = 200
        await exchange.outlet.start(self.answer_headers(exchange, entry))

    def answer_headers(self, exchange: Exchange, entry: Try | None) -> list[tuple[str, str]]:
        """The x-anvil headers of contract 2.9 as far as they are known."""
        decision = exchange.decision_id
        anthropic = exchange.endpoint in ("messages", "count_tokens")
        headers = [("x-anvil-decision", decision), ("request-id" if anthropic else "x-request-id", decision)]
        if exchange.intent is not None:
            headers.append(("x-anvil-work-class", exchange.intent.work_class or "-"))
        if entry is not None:
            headers.append(("x-anvil-tier", _header_text(entry.tier_id)))
            headers.append(("x-anvil-model", _header_text(entry.model or "")))
        if exchange.attempts and not (exchange.pinged and entry is None):
            headers.append(("x-anvil-attempts", str(exchange.real_attempts)))
        return headers

    def served(self, tier: TierConfig, work_class: str | None) -> None:
        self.breakers.served(tier.id, work_class)
        if tier.swap_group is not None:
            self.residencies.note(tier)

    def finish(self, exchange: Exchange) -> None:
        """The request is over: its one record is built within RECORD_EVERY_S, many at a time, off its own path."""
        exchange.finished_at = time.perf_counter()
        if exchange.turn is not None and exchange.said is None:
            exchange.turn.body, exchange.turn.view = _NO_BODY, None  # a record needs no text, and texts are large
        self._finished.append(exchange)
        if len(self._finished) >= RECORD_BATCH:
            self.settle()
        elif self._settling is None:
            self._settling = self._loop.call_later(RECORD_EVERY_S, self.settle)

    def settle(self) -> None:
        """Write the records of every finished request. Readers of records and metrics call it first."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        finished, self._finished = self._finished, []
        for exchange in finished:
            record = records.build(self, exchange)
            self.recorder.record(record)
            if self.observer is not None:
                self.observer.tell(record, exchange.turn, "".join(exchange.said) if exchange.said else None)
            began = exchange.received_at  # until then we waited for the caller's body
            own = exchange.finished_at - began - exchange.tier_wait_s - exchange.caller_wait_s
            self.metrics.overhead.observe((exchange.endpoint,), max(0.0, own))

    # ---------------------------------------------------------------------------------- telemetry

    def refused(self, reason: str) -> None:
        self.metrics.refused.inc((reason,))

    def caller_gone(self, stage: str) -> None:
        self.metrics.client_gone.inc((stage,))

    def defect(self, error: BaseException) -> None:
        self.log.exception("internal error", error)

    def observe_verify(self, chain: str, seconds: float) -> None:
        self.metrics.verify_seconds.observe((chain,), seconds)

    def observe_hold(self, tier: str, verdict: str, seconds: float) -> None:
        self.metrics.commit_hold.observe((tier, verdict), seconds)

    def check_bound(self, turn: Turn, tier: TierConfig, prompt: int) -> None:
        """A tier that counts more tokens than our bound gets one token per byte from now on (contract 2.12)."""
        if turn.signals.images or tier.id in self.bound_broken:
            return
        # the bound is at least half a token per byte of text: most counts need no closer look
        if 2 * prompt > sum([len(memoryview(raw)) for raw in turn.body.values()]) and prompt > upper_bound(turn):
            self.bound_broken.add(tier.id)
            self.metrics.bound_violations.inc((tier.id,))

    def sync_reloads(self) -> None:
        """Reload counts live in the main process; bring ours up to them."""
        applied, refused = self.shared.applied.value, self.shared.refused.value
        self.metrics.reloads.inc(("applied",), applied - self._reloads[0])
        self.metrics.reloads.inc(("refused",), refused - self._reloads[1])
        self._reloads = (applied, refused)

    def count_bad_events(self, tier: str, count: int) -> None:
        if count:
            self.metrics.bad_events.inc((tier,), count)


def _header_text(text: str) -> str:
    """A configured name as a header value: what HTTP cannot carry becomes ``?``."""
    return text if text.isascii() and text.isprintable() else "".join(c if " " <= c <= "~" else "?" for c in text)
