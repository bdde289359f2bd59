"""The load rules of contract lab.md 11 (B13), on a clock that costs nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.multiplexer.refusal import Refused
from anvil.multiplexer.residency import WATCH_S, Residency
from tests.unit.multiplexer.parts import Fake, Lines, residency, row, run, unlimited


def now() -> float:
    return asyncio.get_running_loop().time()


async def use(made: Residency, name: str, seconds: float = 0.0) -> float:
    """Hold a lease; when it was taken. Ends early when cut."""
    async with made.lease(name) as lease:
        taken = now()
        cut = asyncio.Event()
        lease.on_cut = cut.set
        try:
            async with asyncio.timeout(seconds):
                await cut.wait()
        except TimeoutError:
            pass
        return taken


def start(made: Residency, name: str, seconds: float = 0.0) -> asyncio.Task[float]:
    return asyncio.get_running_loop().create_task(use(made, name, seconds))


async def refusal(made: Residency, name: str) -> Refused:
    with pytest.raises(Refused) as caught:
        await use(made, name)
    return caught.value


def test_the_first_request_starts_its_model_and_the_next_finds_it() -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake)
        assert await use(made, "a") >= 1.0
        begun = now()
        assert await use(made, "a") == begun
        assert fake.story == ["start a"]

    run(story())


def test_an_unknown_model_is_refused_and_touches_nothing() -> None:
    async def story() -> None:
        fake = Fake()
        error = await refusal(residency(fake), "nope")
        assert (error.kind, fake.story) == ("model_not_found", [])
        assert "a, b, c" in error.message

    run(story())


def test_a_swap_waits_for_the_leases_of_the_old_resident() -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake, min_resident_s=0)
        await use(made, "a")
        held = start(made, "a", 10)
        await asyncio.sleep(1)
        other = start(made, "b")
        await asyncio.sleep(5)
        assert fake.story == ["start a"]
        assert (made.in_flight()["a"], made.waiting()["b"]) == (1, 1)
        await asyncio.gather(held, other)
        assert fake.story == ["start a", "stop a", "start b"]
        assert not fake.overlapped
        assert made.drain_wait_ms == pytest.approx(9000, abs=100)

    run(story())


def test_after_drain_timeout_the_rest_is_cut_and_said() -> None:
    async def story() -> None:
        log = Lines()
        made = residency(Fake(), min_resident_s=0, drain_timeout_s=3, log=log)
        await use(made, "a")
        held = start(made, "a", 1000)
        await asyncio.sleep(1)
        begun = now()
        assert await use(made, "b") - begun == pytest.approx(3 + 1 + 1, abs=1.1)
        assert held.done()
        assert any("cuts requests" in line and "'cut': 1" in line for line in log.lines)

    run(story())


def test_drain_timeout_0_swaps_at_once() -> None:
    async def story() -> None:
        made = residency(Fake(), min_resident_s=0, drain_timeout_s=0)
        await use(made, "a")
        held = start(made, "a", 1000)
        await asyncio.sleep(0.1)
        begun = now()
        await use(made, "b")
        assert now() - begun < 3
        assert held.done()

    run(story())


def test_new_requests_for_the_old_model_queue_behind_the_swap() -> None:
    async def story() -> None:
        made = residency(Fake(), min_resident_s=0)
        await use(made, "a")
        held = start(made, "a", 5)
        await asyncio.sleep(1)
        other = start(made, "b")
        await asyncio.sleep(1)
        late = start(made, "a")
        await asyncio.gather(held, other, late)
        assert held.result() < other.result() < late.result()

    run(story())


def test_the_queue_is_served_in_the_order_it_came() -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake, min_resident_s=0)
        await use(made, "a")
        held = start(made, "a", 5)
        await asyncio.sleep(1)
        queue = [start(made, name) for name in ("c", "b", "c", "b")]
        await asyncio.gather(held, *queue)
        assert fake.story == ["start a", "stop a", "start c", "stop c", "start b"]

    run(story())


def test_a_model_stays_min_resident_s_and_serves_meanwhile() -> None:
    async def story() -> None:
        made = residency(Fake(), min_resident_s=20)
        since = await use(made, "a")
        other = start(made, "b")
        await asyncio.sleep(10)
        begun = now()
        assert await use(made, "a") == begun
        assert await other >= since + 20

    run(story())


def test_min_resident_s_never_makes_anybody_wait_longer_than_itself() -> None:
    async def story() -> None:
        made = residency(Fake(start_s=15), min_resident_s=20)
        first = start(made, "a")
        await asyncio.sleep(0.1)
        begun = now()
        waiter = start(made, "b")
        await first
        assert await waiter - begun == pytest.approx(20 + 1 + 15, abs=1.5)

    run(story())


@pytest.mark.parametrize(
    ("estimates", "guard"),
    [
        ({"est_weight_gb": 60}, {"ram": 10}),
        ({"est_weight_gb": 60}, {"ram": 1000, "cap": 50}),
        ({"est_weight_gb": 60}, {"cap": 50}),
        ({"vram_gb": 60}, {"vram": 10}),
    ],
)
def test_a_doomed_swap_harms_nobody(estimates: dict[str, Any], guard: dict[str, float]) -> None:
    async def story() -> None:
        fake = Fake()
        small = row("a", est_weight_gb=1, vram_gb=1)
        made = residency(fake, small, row("b", **estimates), guard=unlimited(**guard), min_resident_s=0)
        await use(made, "a")
        held = start(made, "a", 10)
        await asyncio.sleep(1)
        begun = now()
        assert (await refusal(made, "b")).kind == "insufficient_memory"
        assert now() == begun
        assert not held.done()
        await held
        assert fake.story == ["start a"]

    run(story())


def test_what_the_evictee_frees_counts_and_unknown_is_unlimited() -> None:
    async def story() -> None:
        big = row("a", est_weight_gb=50)
        made = residency(Fake(), big, row("b", est_weight_gb=50), guard=unlimited(ram=58), min_resident_s=0)
        await use(made, "a")
        made._guard = unlimited(ram=8)
        await use(made, "b")
        made = residency(Fake(), row("a"), row("b", est_weight_gb=50), guard=unlimited(ram=1), min_resident_s=0)
        await use(made, "a")
        await use(made, "b")

    run(story())


def test_a_start_that_fails_brings_the_old_model_back() -> None:
    async def story() -> None:
        fake = Fake(exits={"b": 137})
        made = residency(fake, min_resident_s=0)
        await use(made, "a")
        error = await refusal(made, "b")
        assert error.kind == "backend_unavailable"
        assert "code 137" in error.message
        assert "last words of b" in error.message
        assert fake.story == ["start a", "stop a", "start b", "stop b", "start a"]
        begun = now()
        assert await use(made, "a") == begun
        assert made.last_swap is not None
        assert made.last_swap.outcome == "rolled_back"

    run(story())


def test_everybody_who_waited_for_a_failed_start_learns_it_once() -> None:
    async def story() -> None:
        fake = Fake(broken={"b"})
        rows = (row("a"), row("b", start_timeout_s=30))
        made = residency(fake, *rows, min_resident_s=0)
        await use(made, "a")
        ends = await asyncio.gather(*(start(made, "b") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(end, Refused) and "not ready within 30 s" in end.message for end in ends)
        assert fake.story.count("start b") == 1

    run(story())


def test_an_exited_container_fails_at_once_not_after_600_s() -> None:
    async def story() -> None:
        made = residency(Fake(exits={"a": 1}))
        await refusal(made, "a")
        assert now() < 5

    run(story())


def test_a_stop_that_is_not_confirmed_keeps_the_resident() -> None:
    async def story() -> None:
        fake = Fake(stuck={"a"})
        made = residency(fake, min_resident_s=0)
        await use(made, "a")
        error = await refusal(made, "b")
        assert "GPU may still be occupied" in error.message
        assert made.resident is not None
        assert made.resident.row.name == "a"
        assert "start b" not in fake.story
        await use(made, "a")

    run(story())


def test_nothing_starts_before_a_failed_start_is_cleared_away() -> None:
    async def story() -> None:
        fake = Fake(broken={"b"}, stuck={"b"})
        made = residency(fake, row("a"), row("b", start_timeout_s=5), min_resident_s=0)
        await use(made, "a")
        await refusal(made, "b")
        assert made.resident is None
        assert "GPU may still be occupied" in (await refusal(made, "a")).message
        assert not fake.overlapped
        fake.stuck.clear()
        await use(made, "a")
        assert not fake.overlapped

    run(story())


def test_a_dead_resident_is_noticed_and_started_again() -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake)
        await use(made, "a")
        fake.up.clear()
        await asyncio.sleep(WATCH_S + 0.1)
        assert made.resident is None
        await use(made, "a")
        assert fake.story == ["start a", "stop a", "start a"]

    run(story())


@pytest.mark.parametrize("wanted", ["a", "b"])
def test_a_resident_that_its_runtime_restarted_is_no_longer_the_resident(wanted: str) -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake)
        await use(made, "a")
        await asyncio.sleep(1)
        fake.up["a"] = now()  # crashed; `restart: unless-stopped` brought it back
        await asyncio.sleep(WATCH_S + 0.1)
        assert made.resident is None
        await use(made, wanted)
        assert fake.story == ["start a", "stop a", f"start {wanted}"]
        assert not fake.overlapped

    run(story())


def test_a_crash_loop_is_a_failed_start_not_a_long_one() -> None:
    async def story() -> None:
        fake = Fake(broken={"a"})
        made = residency(fake)
        asked = start(made, "a")
        await asyncio.sleep(3)
        fake.up["a"] = now()
        with pytest.raises(Refused, match="crashed and was restarted"):
            await asked
        assert now() < 10

    run(story())


def test_a_refused_connection_looks_at_once() -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake)
        async with made.lease("a") as lease:
            assert not await made.lost(lease)
            asyncio.get_running_loop().call_later(0.2, fake.up.clear)  # the runtime learns it a little later
            assert await made.lost(lease)
            assert await made.lost(lease)

    run(story())


def test_a_silent_daemon_is_no_dead_resident() -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake)
        await use(made, "a")
        fake.silent = True
        await asyncio.sleep(3 * WATCH_S)
        assert made.resident is not None

    run(story())


def test_a_left_over_container_is_adopted() -> None:
    async def story() -> None:
        fake = Fake(up={"b": 5.0})
        made = residency(fake)
        await use(made, "b")
        assert fake.story == []

    run(story())


def test_of_several_left_over_containers_the_newest_stays() -> None:
    async def story() -> None:
        fake = Fake(up={"a": 5.0, "b": 9.0, "c": 7.0})
        made = residency(fake)
        await use(made, "b")
        assert sorted(fake.story) == ["stop a", "stop c"]

    run(story())


def test_a_left_over_container_that_is_of_no_use_is_stopped() -> None:
    async def story() -> None:
        fake = Fake(up={"a": 5.0}, broken={"a"})
        made = residency(fake, row("a", start_timeout_s=5), row("b"))
        await use(made, "b")
        assert fake.story == ["stop a", "start b"]

    run(story())


def test_adoption_is_tried_again_when_the_daemon_was_away() -> None:
    async def story() -> None:
        fake = Fake(up={"a": 5.0}, silent=True)
        made = residency(fake, min_resident_s=0)
        assert "does not answer" in (await refusal(made, "b")).message
        fake.silent = False
        await use(made, "b")
        assert fake.story == ["stop a", "start b"]
        assert not fake.overlapped

    run(story())


def test_a_caller_that_leaves_the_queue_takes_its_swap_with_it() -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake, min_resident_s=0)
        await use(made, "a")
        held = start(made, "a", 10)
        await asyncio.sleep(1)
        other = start(made, "b")
        await asyncio.sleep(1)
        other.cancel()
        await asyncio.sleep(0.1)
        begun = now()
        assert await use(made, "a") == begun
        await held
        assert fake.story == ["start a"]
        assert made.waiting() == {"a": 0, "b": 0, "c": 0}

    run(story())


def test_a_caller_that_leaves_while_its_model_starts_leaves_nothing_half_done() -> None:
    async def story() -> None:
        made = residency(Fake(start_s=10))
        asked = start(made, "a")
        await asyncio.sleep(3)
        asked.cancel()
        await use(made, "a")
        assert made.in_flight()["a"] == 0

    run(story())


def test_draining_refuses_who_waits_and_lets_leases_end() -> None:
    async def story() -> None:
        made = residency(Fake(), min_resident_s=0)
        await use(made, "a")
        held = start(made, "a", 5)
        await asyncio.sleep(1)
        other = start(made, "b")
        await asyncio.sleep(1)
        made.drain()
        with pytest.raises(Refused, match="shutting down"):
            await other
        assert not held.done()
        await held

    run(story())


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.floats(0, 40),  # arrives
        st.floats(0, 15),  # holds its lease
        st.one_of(st.none(), st.floats(0, 40)),  # goes away after
    ),
    max_size=14,
)
TROUBLE = st.tuples(
    st.sets(st.sampled_from("abc"), max_size=1),  # exits at start
    st.lists(st.floats(0, 60), max_size=3),  # the resident dies at
)


@settings(max_examples=120, deadline=None)
@given(REQUESTS, TROUBLE, st.sampled_from([0, 3, 20]), st.sampled_from([0, 2, 30]))
def test_whatever_comes(
    requests: list[tuple[str, float, float, float | None]],
    trouble: tuple[set[str], list[float]],
    min_resident_s: float,
    drain_timeout_s: float,
) -> None:
    """Never two at once; a lease is always of the model asked for; every request ends; nothing is left behind."""
    exits, deaths = trouble

    async def one(made: Residency, name: str, at: float, seconds: float, leaves: float | None) -> str:
        await asyncio.sleep(at)
        try:
            async with asyncio.timeout(leaves), made.lease(name) as lease:
                assert lease.row.name == name
                assert made.resident is lease.resident
                cut = asyncio.Event()
                lease.on_cut = cut.set
                try:
                    async with asyncio.timeout(seconds):
                        await cut.wait()
                except TimeoutError:
                    pass
        except Refused:
            return "refused"
        except TimeoutError:
            return "left"
        return "served"

    async def kill(fake: Fake, at: float) -> None:
        await asyncio.sleep(at)
        fake.up.clear()

    async def story() -> None:
        fake = Fake(exits=dict.fromkeys(exits, 3))
        made = residency(fake, min_resident_s=min_resident_s, drain_timeout_s=drain_timeout_s)
        async with asyncio.timeout(2000):
            killers = [asyncio.create_task(kill(fake, at)) for at in deaths]
            ends = await asyncio.gather(*(one(made, *each) for each in requests))
            await asyncio.gather(*killers)
        await asyncio.sleep(120)
        refused = {name for (name, *_), end in zip(requests, ends, strict=True) if end == "refused"}
        assert refused <= exits or deaths  # a model may also die while it starts
        assert not fake.overlapped
        assert not made._tickets
        assert not any(made.in_flight().values())
        assert made._change is None
        made.close()

    run(story())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=10), st.sampled_from([0.0, 5.0]))
def test_everybody_who_asked_together_is_served_and_no_model_twice(names: list[str], min_resident_s: float) -> None:
    async def story() -> None:
        fake = Fake()
        made = residency(fake, min_resident_s=min_resident_s)
        await asyncio.gather(*(use(made, name, 1) for name in names))
        starts = [line for line in fake.story if line.startswith("start")]
        assert starts == [f"start {name}" for name in dict.fromkeys(names)]

    run(story())
