"""Circuits and rests (contract 15.4)."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from anvil.router.breaker import Breakers, Grant
from anvil.router.config import BreakerConfig
from anvil.router.turn import Fault

DOWN = Fault("unavailable", "backend error ConnectError")
BAD = Fault("bad_answer", "not_truncated")
MISCONFIGURED = Fault("tier_misconfigured", "http 401", status=401)
GIVEN_BACK = ["caller_error", "over_context", "router_fault"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(BreakerConfig(), clock)


def usable(breakers: Breakers, work_class: str | None = "chat") -> bool:
    return breakers.peek("t", work_class).usable


def test_opens_at_the_threshold_and_success_resets(breakers: Breakers) -> None:
    assert breakers.failed("t", "chat", DOWN).opened is None
    breakers.served("t", "chat")
    assert breakers.failed("t", "chat", DOWN).opened is None
    assert breakers.failed("t", "chat", DOWN).opened == ("t", "")
    assert breakers.ask("t", "review") == Grant(False, "skipped-circuit", "circuit open 2", 60.0)
    assert breakers.ask("other", "chat").usable
    assert breakers.state("t").state == "open"


def test_bad_answers_close_one_class_only(breakers: Breakers) -> None:
    breakers.failed("t", "chat", BAD)
    assert breakers.failed("t", "chat", BAD).opened == ("t", "chat")
    assert not usable(breakers, "chat")
    assert usable(breakers, "review")
    assert usable(breakers, None)
    assert breakers.state("t").state == "closed"
    assert breakers.states() == {("t", "chat"): "open"}


def test_requests_without_a_class_have_their_own_circuit(breakers: Breakers) -> None:
    breakers.failed("t", None, BAD)
    breakers.failed("t", None, BAD)
    assert not usable(breakers, None)
    assert usable(breakers, "chat")


def test_misconfiguration_opens_at_once(breakers: Breakers, clock: Clock) -> None:
    assert breakers.failed("t", "chat", MISCONFIGURED).opened == ("t", "")
    clock.now += 59.9
    assert not usable(breakers)
    clock.now += 0.1
    assert usable(breakers)


@pytest.mark.parametrize("name", [*GIVEN_BACK, "rate_limited"])
def test_uncounted_failures_never_open(breakers: Breakers, name: str) -> None:
    for _ in range(30):
        breakers.failed("t", "chat", Fault(name, "x", retry_after_s=0.0))
    assert breakers.state("t").state == "closed"
    assert usable(breakers)


def test_one_probe_at_a_time(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 60
    assert breakers.state("t").state == "half-open"
    assert breakers.ask("t", "chat").probes
    assert breakers.ask("t", "chat") == Grant(False, "skipped-circuit", "circuit open 1", 60.0)
    assert not breakers.ask("t", "review").usable


def test_late_failures_lengthen_the_cooldown_and_open_nothing_new(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 40
    assert breakers.failed("t", "chat", DOWN).opened is None
    clock.now += 59
    assert not usable(breakers)
    clock.now += 1
    assert usable(breakers)


def test_a_good_probe_closes_and_forgets(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", DOWN)
    breakers.failed("t", "chat", DOWN)
    clock.now += 60
    breakers.ask("t", "chat")
    breakers.served("t", "chat")
    assert breakers.failed("t", "chat", DOWN).opened is None
    assert usable(breakers)


def test_a_bad_probe_opens_for_a_full_cooldown(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 90
    grant = breakers.ask("t", "chat")
    clock.now += 5
    assert breakers.failed("t", "chat", DOWN, grant).opened == ("t", "")
    clock.now += 59
    assert breakers.ask("t", "chat").retry_after_s == 1.0
    clock.now += 1
    assert breakers.ask("t", "chat").usable


@pytest.mark.parametrize("name", GIVEN_BACK)
def test_probes_that_say_nothing_are_given_back(breakers: Breakers, clock: Clock, name: str) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 60
    breakers.failed("t", "chat", Fault(name, "x"), breakers.ask("t", "chat"))
    assert breakers.state("t").state == "half-open"
    breakers.give_back("t", "chat", breakers.ask("t", "chat"))
    assert breakers.ask("t", "chat").probes


def test_a_rate_limited_probe_is_given_back_after_the_rest(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 60
    breakers.failed("t", "chat", Fault("rate_limited", "http 429", retry_after_s=3), breakers.ask("t", "chat"))
    assert breakers.state("t").state == "resting"
    assert breakers.ask("t", "chat") == Grant(False, "resting", "resting 3s", 3.0)
    clock.now += 3
    assert breakers.state("t").state == "half-open"
    assert breakers.ask("t", "chat").probes


def test_only_the_holder_gives_a_probe_back(breakers: Breakers, clock: Clock) -> None:
    early = breakers.ask("t", "chat")
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 60
    assert breakers.ask("t", "chat").probes
    breakers.give_back("t", "chat", early)
    assert not breakers.ask("t", "chat").usable


def test_an_abandoned_probe_is_replaced(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 60
    lost = breakers.ask("t", "chat")
    clock.now += 60
    assert breakers.ask("t", "chat").probes
    breakers.give_back("t", "chat", lost)
    assert not breakers.ask("t", "chat").usable


def test_no_probe_is_taken_when_the_other_circuit_refuses(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 30
    breakers.failed("t", "chat", BAD)
    breakers.failed("t", "chat", BAD)
    clock.now += 30
    assert not breakers.ask("t", "chat").usable
    assert breakers.ask("t", "review").probes


@pytest.mark.parametrize(("asked", "seconds"), [(7.5, 7.5), (600.0, 60.0), (None, 5.0)])
def test_rests(breakers: Breakers, clock: Clock, asked: float | None, seconds: float) -> None:
    breakers.failed("t", "chat", Fault("rate_limited", "http 429", retry_after_s=asked))
    assert breakers.state("t").resting_s == seconds
    assert breakers.states() == {("t", ""): "resting"}
    clock.now += seconds
    assert usable(breakers)
    assert breakers.states() == {}


def test_a_shorter_rest_does_not_cut_a_longer_one(breakers: Breakers) -> None:
    breakers.failed("t", "chat", Fault("rate_limited", "x", retry_after_s=50))
    breakers.failed("t", "chat", Fault("rate_limited", "x", retry_after_s=1))
    assert breakers.peek("t", "chat").retry_after_s == 50


def test_an_open_and_resting_tier_says_when_both_are_over(breakers: Breakers) -> None:
    breakers.failed("t", "chat", Fault("rate_limited", "x", retry_after_s=60))
    breakers.failed("t", "chat", MISCONFIGURED)
    breakers.failed("t", "chat", Fault("rate_limited", "x", retry_after_s=2))
    grant = breakers.ask("t", "chat")
    assert (grant.outcome, grant.retry_after_s) == ("skipped-circuit", 60.0)


def test_peeking_takes_no_probe(breakers: Breakers, clock: Clock) -> None:
    breakers.failed("t", "chat", MISCONFIGURED)
    clock.now += 60
    assert breakers.peek("t", "chat").usable
    assert breakers.ask("t", "chat").usable
    assert not breakers.peek("t", "chat").usable


def test_ten_caller_errors_are_noted_once_per_cooldown(breakers: Breakers, clock: Clock) -> None:
    wrong = Fault("caller_error", "http 400", status=400)
    noted = [breakers.failed("t", "chat", wrong).suspicious for _ in range(25)]
    assert noted == [False] * 9 + [True] + [False] * 15
    clock.now += 60
    assert breakers.failed("t", "chat", wrong).suspicious
    breakers.served("t", "chat")
    clock.now += 60
    assert not breakers.failed("t", "chat", wrong).suspicious


class Circuits(RuleBasedStateMachine):
    """Against a model of one tier with two classes: what is promised about openness and probes always holds."""

    grants = Bundle("grants")
    classes = st.sampled_from(["chat", "review"])

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.config = BreakerConfig(threshold=2, cooldown_s=10, retry_after_cap_s=8)
        self.breakers = Breakers(self.config, self.clock)
        self.row = 0
        self.opened_at: float | None = None
        self.rest_until = 0.0
        self.probe: tuple[Grant, float] | None = None

    def shut(self) -> bool:
        return self.opened_at is not None and self.clock.now < self.opened_at + 10

    @rule(target=grants, work_class=classes)
    def ask(self, work_class: str):  # type: ignore[no-untyped-def]
        grant = self.breakers.ask("t", work_class)
        if self.shut() or self.clock.now < self.rest_until:
            assert not grant.usable
            assert grant.retry_after_s > 0
        if not grant.usable:
            return multiple()
        if self.opened_at is not None:
            assert grant.probes
            assert self.probe is None or self.clock.now >= self.probe[1] + 10
            self.probe = (grant, self.clock.now)
        return (grant, work_class)

    @rule(held=consumes(grants))
    def serve(self, held: tuple[Grant, str]) -> None:
        self.breakers.served("t", held[1])
        self.row, self.opened_at, self.probe = 0, None, None

    @rule(held=consumes(grants))
    def fail(self, held: tuple[Grant, str]) -> None:
        self.breakers.failed("t", held[1], DOWN, held[0])
        self.row += 1
        if self.row >= 2 or self.opened_at is not None:
            self.opened_at, self.probe = self.clock.now, None

    @rule(held=consumes(grants), name=st.sampled_from(GIVEN_BACK))
    def say_nothing(self, held: tuple[Grant, str], name: str) -> None:
        self.breakers.failed("t", held[1], Fault(name, "x"), held[0])
        if self.probe is not None and self.probe[0] is held[0]:
            self.probe = None

    @rule(held=consumes(grants), seconds=st.sampled_from([1.0, 5.0, 100.0]))
    def rest(self, held: tuple[Grant, str], seconds: float) -> None:
        self.breakers.failed("t", held[1], Fault("rate_limited", "x", retry_after_s=seconds), held[0])
        self.rest_until = max(self.rest_until, self.clock.now + min(seconds, 8))
        if self.probe is not None and self.probe[0] is held[0]:
            self.probe = None

    @rule(seconds=st.sampled_from([1.0, 4.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def a_tier_nobody_is_probing_is_never_lost(self) -> None:
        if not self.shut() and self.clock.now >= self.rest_until and self.probe is None:
            assert self.breakers.peek("t", "chat").usable

    @invariant()
    def the_state_is_told_truly(self) -> None:
        if self.shut():
            assert self.breakers.state("t").state == "open"


Circuits.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCircuits = Circuits.TestCase
