"""Bound tiers: configuration joined with credential, model id and one HTTP client (contract 4.8, 6.6)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping

import msgspec

from anvil.router.config import ConfigError, RouterConfig, TierConfig, silence
from anvil.router.upstream import Upstream, UpstreamError

DISCOVERY_TIMEOUT_S = 5.0
DISCOVERY_EVERY_S = 5.0
ANTHROPIC_VERSION = "2023-06-01"


class _ModelRow(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_ModelRow]


class Busy(Exception):
    """No place at the tier became free within queue_timeout_s."""


class Places:
    """``max_concurrency`` of one tier: first come, first served, bounded waiting."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def take_free(self) -> bool:
        """Take a place if one is free, without waiting."""
        if self._limit is None or (self.in_flight < self._limit and not self._queue):
            self.in_flight += 1
            return True
        return False

    async def take(self, timeout: float) -> None:
        """Wait for a place, first come, first served. Raises Busy after ``timeout`` seconds."""
        if self.take_free():
            return
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(timeout):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.release()
            elif place in self._queue:
                self._queue.remove(place)
            if isinstance(error, TimeoutError):
                raise Busy from None
            raise

    def release(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_flight -= 1


class Backend:
    """One usable tier of one worker."""

    def __init__(self, config: RouterConfig, tier: TierConfig, key: str | None, model: str | None) -> None:
        self.tier = tier if model == tier.model else msgspec.structs.replace(tier, model=model)
        self.id = tier.id
        self.base = base_of(tier)
        self.path = path_of(self.base, "/chat/completions" if tier.dialect == "openai" else "/v1/messages")
        self.silence = silence(config, tier)
        self.places = Places(tier.max_concurrency)
        headers = [("content-type", "application/json")]
        if key and tier.dialect == "openai":
            headers.append(("authorization", f"Bearer {key}"))
        elif key:
            headers.append(("x-api-key", key))
        self.upstream = Upstream(
            self.base,
            connect_timeout=config.limits.connect_timeout_s,
            headers=headers,
            pool=tier.max_concurrency or 100,
        )
        self.tokenizer_off_until = 0.0
        forced = (tier.extra_body or {}).get("model")
        self._forced_model = forced if isinstance(forced, str) else None
        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Backend({self.id})"

    @property
    def model(self) -> str | None:
        """The model id that is really sent: extra_body may name another one (6.1). None while it is unknown."""
        return self._forced_model or self.tier.model

    async def known_model(self) -> str | None:
        """The upstream model id, asking the tier at most once per 5 s while it is unknown."""
        if self.tier.model is None:
            if self._asking is None and time.monotonic() - self._asked >= DISCOVERY_EVERY_S:
                self._asked = time.monotonic()
                self._asking = asyncio.create_task(self._discover())
            if self._asking is not None:
                await asyncio.shield(self._asking)
        return self.tier.model

    async def _discover(self) -> None:
        try:
            status, body = await fetch(self.upstream, path_of(self.base, models_path(self.tier)), DISCOVERY_TIMEOUT_S)
            ids = model_ids(body) if status == 200 else []
            if len(ids) == 1:
                self.tier = msgspec.structs.replace(self.tier, model=ids[0])
        except UpstreamError:
            pass
        finally:
            self._asking = None


def base_of(tier: TierConfig) -> str:
    """Base URL of a tier: OpenAI dialect with exactly one /v1 at its end, Anthropic without."""
    base = tier.base_url.rstrip("/")
    if tier.dialect == "openai":
        return base if base.endswith("/v1") else base + "/v1"
    return base.removesuffix("/v1").rstrip("/")


def path_of(base: str, suffix: str) -> str:
    """Request path of ``suffix`` below a base URL."""
    rest = base.split("://", 1)[1]
    slash = rest.find("/")
    return (rest[slash:] if slash >= 0 else "") + suffix


def models_path(tier: TierConfig) -> str:
    return "/models" if tier.dialect == "openai" else "/v1/models"


def model_ids(body: bytes) -> list[str]:
    try:
        return [row.id for row in msgspec.json.decode(body, type=_ModelList).data]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


async def fetch(upstream: Upstream, path: str, timeout: float, cap: int = 1_048_576) -> tuple[int, bytes]:
    """GET a small JSON body, all of it within ``timeout`` seconds. Raises UpstreamError on failure."""
    try:
        async with asyncio.timeout(timeout):
            return await _fetched(upstream, path, timeout, cap)
    except TimeoutError:
        raise UpstreamError("answer too slow") from None


async def _fetched(upstream: Upstream, path: str, timeout: float, cap: int) -> tuple[int, bytes]:
    connection = await upstream.send("GET", path, b"", head_timeout=timeout)
    data = bytearray()
    try:
        while part := await connection.next(timeout):
            data += part
            if len(data) > cap:
                raise UpstreamError("answer too large")
    finally:
        connection.finish()
    return connection.status, bytes(data)


class Binding(msgspec.Struct):
    """What start-up found out: keys and model ids by tier id, notes for the banner."""

    keys: dict[str, str | None]
    models: dict[str, str | None]
    notes: list[str]


def bind(config: RouterConfig, environ: Mapping[str, str], *, online: bool = True) -> Binding:
    """Decide which tiers are usable (4.8). Raises ConfigError when none is, or a local tier's model is unclear."""
    binding = Binding({}, {}, [])
    problems: list[str] = []
    for tier in config.tiers:
        key = environ.get(tier.auth_env, "").strip() or None
        if not tier.local and key is None:
            binding.notes.append(f"tier {tier.id}: skipped, set {tier.auth_env} to use it")
            continue
        if key is not None and not (key.isascii() and key.isprintable()):
            problems.append(
                f"router.tiers.{tier.id}: {tier.auth_env} holds a line break or a letter that no header carries; "
                "set it to the key alone"
            )
        binding.keys[tier.id] = key
        binding.models[tier.id] = tier.model
        if tier.local and not tier.model and online:
            ids = asyncio.run(_discover_once(config, tier))
            if ids is None:
                binding.notes.append(f"tier {tier.id}: not reachable yet, its model is asked for on demand")
            elif len(ids) == 1:
                binding.models[tier.id] = ids[0]
            else:
                problems.append(
                    f"router.tiers.{tier.id}: serves {len(ids)} models ({', '.join(ids) or 'none'}); set model"
                )
    if not binding.keys and online:
        problems.append("router.tiers: no tier is usable; " + "; ".join(binding.notes))
    if problems:
        raise ConfigError(problems)
    return binding


async def _discover_once(config: RouterConfig, tier: TierConfig) -> list[str] | None:
    upstream = Upstream(base_of(tier), connect_timeout=config.limits.connect_timeout_s)
    try:
        status, body = await fetch(upstream, path_of(base_of(tier), models_path(tier)), DISCOVERY_TIMEOUT_S)
    except UpstreamError:
        return None
    finally:
        upstream.close()
    return model_ids(body) if status == 200 else None
