"""Who may serve (contract 10)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.config import RouterConfig, TierConfig
from anvil.router.decisions.record import Dropped, Residency
from anvil.router.intent import Intent, Intents
from anvil.router.policy import Decision, Policy, Residencies, TableRow
from anvil.router.profile import Profile, Row
from anvil.router.taxonomy import WORK_CLASSES
from anvil.router.turn import Signals, Turn
from tests.unit.router.routing import cloud, config, local, turn


def decide(setup: RouterConfig, asked: Turn, rows: list[Row] | None = None, bound: set[str] | None = None) -> Decision:
    ids = {tier.id for tier in setup.tiers} if bound is None else bound
    policy = Policy(setup, Profile(setup, rows or []), ids)
    return policy.decide(Intents(setup).resolve(asked), asked.signals)


def ids(decision: Decision) -> list[str]:
    return [tier.id for tier, _ in decision.tiers]


FAST, HEAVY, PAID = local("fast", role="fast"), local("heavy", role="heavy", context_limit=131_072), cloud("paid")
PRESETS = {
    "chat": ("fast", "heavy"),
    "quick-edit": ("fast", "heavy", "paid"),
    "review": ("heavy", "paid"),
    "planning": ("paid",),
    "long-context": ("heavy",),
    "bare": ("fast", "paid"),
}
THREE = config(FAST, HEAVY, PAID, presets=PRESETS, metered_cloud=("planning",))


def test_each_tier_has_its_own_verdict() -> None:
    setup = config(FAST, HEAVY, PAID, presets={"review": ("fast", "heavy", "paid")}, metered_cloud=("review",))
    decision = decide(setup, turn("review"))
    assert [(tier.id, verdict) for tier, verdict in decision.tiers] == [
        ("fast", "allow-with-verify"),
        ("heavy", "allow"),
        ("paid", "allow"),
    ]
    assert (decision.kind, decision.gate_note, decision.dropped) == (None, "on", Dropped())


def test_the_metered_gate_closes_every_cloud_tier() -> None:
    decision = decide(THREE, turn("quick-edit"))
    assert ids(decision) == ["fast", "heavy"]
    assert decision.dropped == Dropped(metered=("paid",))
    assert ids(decide(THREE, turn("planning"))) == ["paid"]


def test_a_preset_without_class_has_no_deny_gate_and_no_cloud() -> None:
    denied = Row(tier_id="fast", work_class=None, decision="deny")
    decision = decide(THREE, turn("bare"), [denied])
    assert [(tier.id, verdict) for tier, verdict in decision.tiers] == [("fast", "allow-with-verify")]
    assert decision.dropped.metered == ("paid",)
    assert decision.gate_note.startswith("off")


def test_denied_tiers_are_dropped() -> None:
    decision = decide(THREE, turn("chat"), [Row(tier_id="FAST", work_class="chat", decision="deny")])
    assert (ids(decision), decision.dropped.denied) == (["heavy"], ("fast",))


def test_a_gated_pool() -> None:
    setup = config(FAST, HEAVY, PAID, presets={"planning": ("fast", "heavy", "paid")})
    decision = decide(setup, turn("planning"))
    assert (decision.tiers, decision.requested, decision.kind) == ((), (), "gated")
    assert decision.dropped == Dropped(metered=("paid",), denied=("fast", "heavy"))
    assert decision.why == "work class planning; metered gate: paid; deny gate: fast, heavy"


def test_context_equal_passes() -> None:
    assert ids(decide(THREE, turn("chat", words=32768))) == ["fast", "heavy"]
    decision = decide(THREE, turn("chat", words=32769))
    assert (ids(decision), decision.dropped) == (["heavy"], Dropped(context=("fast",)))
    assert ids(decide(THREE, turn("chat", words=131_072))) == ["heavy"]


def test_too_large_for_every_tier() -> None:
    assert decide(THREE, turn("chat", words=10**6)).kind == "over_context"
    assert decide(THREE, turn("quick-edit", words=150_000)).kind == "gated"  # a larger tier exists, behind the gate


def test_a_route_estimate_raises_the_need() -> None:
    intent = Intent("declared-preset", "chat", ("fast", "heavy"), "chat", token_estimate=50_000)
    policy = Policy(THREE, Profile.seed(THREE), {"fast", "heavy", "paid"})
    assert ids(policy.decide(intent, Signals(words=3))) == ["heavy"]


def test_tools_need_tool_support() -> None:
    setup = config(local("mute", tool_support=False), FAST, presets={"chat": ("mute", "fast")})
    assert ids(decide(setup, turn("chat"))) == ["mute", "fast"]
    decision = decide(setup, turn("chat", tool_artifacts=True))
    assert (ids(decision), decision.dropped.constraint) == (["fast"], ("mute",))
    alone = config(local("mute", tool_support=False), presets={"chat": ("mute",)})
    assert decide(alone, turn("chat", tool_artifacts=True)).kind == "constrained"


@pytest.mark.parametrize(
    ("visions", "left"),
    [
        ((None, None), ["a", "b"]),
        ((None, True), ["b"]),
        ((False, None), ["b"]),
        ((False, False), []),
        ((True, None), ["a"]),
    ],
)
def test_images(visions: tuple[bool | None, bool | None], left: list[str]) -> None:
    setup = config(local("a", vision=visions[0]), local("b", vision=visions[1]), presets={"chat": ("a", "b")})
    decision = decide(setup, turn("chat", images=1))
    assert ids(decision) == left
    assert len(decision.dropped.constraint) == 2 - len(left)
    assert ids(decide(setup, turn("chat"))) == ["a", "b"]


@pytest.mark.parametrize("bound", [{"fast", "paid"}, {"fast"}])
def test_a_seeing_tier_that_may_not_serve_displaces_nobody(bound: set[str]) -> None:
    closed = config(FAST, PAID, presets={"chat": ("fast", "paid")})
    assert ids(decide(closed, turn("chat", images=1), bound=bound)) == ["fast"]


def test_documents_and_audio() -> None:
    setup = config(FAST, cloud("paid"), presets={"planning": ("fast", "paid")}, metered_cloud=("planning",))
    allowed = [Row(tier_id="fast", work_class="planning", decision="allow")]
    assert ids(decide(setup, turn("planning", documents=1), allowed)) == ["paid"]
    assert ids(decide(setup, turn("planning", audio=True), allowed)) == ["fast"]


def test_unbound_tiers_are_not_replaced() -> None:
    decision = decide(THREE, turn("planning"), bound={"fast", "heavy"})
    assert (decision.tiers, decision.kind, decision.requested) == ((), "unbound", ("paid",))
    assert decision.dropped.unbound == ("paid",)
    assert ids(decide(THREE, turn("chat"), bound={"heavy"})) == ["heavy"]


def test_a_denied_pin_is_redirected_to_its_class() -> None:
    decision = decide(THREE, turn("heavy", "plan it"))
    assert ids(decision) == ["paid"]
    assert decision.gate_note == "pin denied for planning, redirected"
    assert ids(decide(THREE, turn("heavy", "fix it"))) == ["heavy"]


def test_a_denied_pin_without_a_preset_ends_gated() -> None:
    decision = decide(config(FAST, PAID, presets={}), turn("fast", "plan it"))
    assert (decision.tiers, decision.kind) == ((), "gated")
    assert "pool is empty" in decision.why


def test_a_pin_is_not_redirected_for_its_size() -> None:
    decision = decide(THREE, turn("heavy", "fix it", words=200_000))
    assert (decision.kind, decision.gate_note) == ("over_context", "on")
    assert decide(THREE, turn("paid", "fix it")).kind == "gated"


def test_unknown_and_repeated_ids_of_a_pool() -> None:
    policy = Policy(THREE, Profile.seed(THREE), {"fast", "heavy"})
    intent = Intent("inferred", "chat", ("heavy", "gone", "fast", "heavy"))
    decision = policy.decide(intent, Signals())
    assert ids(decision) == ["heavy", "fast"]
    assert decision.dropped == Dropped(missing=("gone",), duplicate=("heavy",))


def test_a_defect_is_an_empty_decision() -> None:
    policy = Policy(THREE, Profile.seed(THREE), {"fast"})
    decision = policy.decide(Intent("inferred", "chat", (["unhashable"],)), Signals())  # type: ignore[arg-type]
    assert (decision.tiers, decision.gate_note, decision.kind) == ((), "error", "exhausted")


def test_untouched_requests_share_one_decision() -> None:
    policy = Policy(THREE, Profile.seed(THREE), {"fast", "heavy"})
    intents = Intents(THREE)
    first, second = turn("chat", "hello", words=4), turn("CHAT", "other", words=9, tool_artifacts=True)
    assert policy.decide(intents.resolve(first), first.signals) is policy.decide(
        intents.resolve(second), second.signals
    )


# ------------------------------------------------------------------------------------------- residency


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


GROUPED = config(
    local("a", swap_group="gpu"),
    local("x"),
    local("b", swap_group="gpu"),
    local("c", swap_group="gpu"),
    presets={"chat": ("a", "x", "b", "c"), "quick-edit": ("x", "b")},
)


def test_the_resident_takes_the_first_place_of_its_group() -> None:
    clock = Clock()
    residencies = Residencies(GROUPED, clock)
    policy = Policy(GROUPED, Profile.seed(GROUPED), {"a", "x", "b", "c"}, residencies)
    asked = turn("chat")
    intent = Intents(GROUPED).resolve(asked)
    assert ids(policy.decide(intent, asked.signals)) == ["a", "x", "b", "c"]
    residencies.note(GROUPED.tiers[3])
    residencies.note(GROUPED.tiers[1])
    decision = policy.decide(intent, asked.signals)
    assert ids(decision) == list(decision.requested) == ["c", "x", "a", "b"]
    assert decision.residency == Residency("gpu", "c")
    assert residencies.is_resident(GROUPED.tiers[3])
    assert not residencies.is_resident(GROUPED.tiers[1])
    clock.now = 299.9
    assert ids(policy.decide(intent, asked.signals))[0] == "c"
    clock.now = 300.0
    late = policy.decide(intent, asked.signals)
    assert (ids(late), late.residency) == (["a", "x", "b", "c"], None)


def test_a_resident_that_is_no_candidate_moves_nobody() -> None:
    residencies = Residencies(GROUPED)
    policy = Policy(GROUPED, Profile.seed(GROUPED), {"a", "x", "b", "c"}, residencies)
    residencies.note(GROUPED.tiers[0])
    asked = turn("quick-edit")
    decision = policy.decide(Intents(GROUPED).resolve(asked), asked.signals)
    assert (ids(decision), decision.residency) == (["x", "b"], None)


def test_swap_idle_zero_never_forgets() -> None:
    clock = Clock()
    residencies = Residencies(config(*GROUPED.tiers, swap_idle_s=0.0), clock)
    residencies.note(GROUPED.tiers[2])
    clock.now = 1e9
    assert residencies.resident("gpu") == "b"


# -------------------------------------------------------------------------------------------- servable


def test_usable_tiers_and_the_table() -> None:
    policy = Policy(THREE, Profile.seed(THREE), {"fast", "paid"})
    assert [tier.id for tier in policy.usable("quick-edit")] == ["fast"]
    assert [tier.id for tier in policy.usable("planning")] == ["paid"]
    assert policy.usable("long-context") == []
    assert [tier.id for tier in policy.usable("bare")] == ["fast"]
    assert policy.table("quick-edit") == [
        TableRow("fast", "allow", ""),
        TableRow("heavy", "allow", "unbound"),
        TableRow("paid", "allow", "metered"),
    ]
    assert policy.is_bound("fast")
    assert not policy.is_bound("heavy")


# ------------------------------------------------------------------------------------------ properties

verdicts = st.sampled_from(["allow", "allow-with-verify", "deny"])


@st.composite
def setups(draw: st.DrawFn) -> tuple[RouterConfig, list[Row], set[str]]:
    tiers: list[TierConfig] = []
    for index in range(draw(st.integers(1, 4))):
        fields = {
            "context_limit": draw(st.sampled_from([100, 1000])),
            "tool_support": draw(st.booleans()),
            "vision": draw(st.sampled_from([None, True, False])),
            "documents": draw(st.booleans()),
            "swap_group": draw(st.sampled_from([None, "g"])),
        }
        tiers.append(
            cloud(f"t{index}", **{**fields, "swap_group": None})
            if draw(st.booleans())
            else local(f"t{index}", **fields)
        )
    names = [tier.id for tier in tiers]
    pools = st.lists(st.sampled_from(names), min_size=1, unique=True).map(tuple)
    presets = draw(st.dictionaries(st.sampled_from(["chat", "planning", "quick-edit", "review", "bare"]), pools))
    metered = tuple(draw(st.sets(st.sampled_from(WORK_CLASSES))))
    rows = [
        Row(tier_id=name, work_class=work_class, decision=draw(verdicts))
        for name in names
        for work_class in draw(st.sets(st.sampled_from(WORK_CLASSES)))
    ]
    bound = draw(st.sets(st.sampled_from(names)))
    return config(*tiers, presets=presets, metered_cloud=metered), rows, bound


requests = st.builds(
    turn,
    st.sampled_from([None, "chat", "planning", "quick-edit", "review", "bare", "t0", "t1", "other"]),
    st.sampled_from(["hello", "fix it", "review the plan", "plan it", "refactor"]),
    words=st.sampled_from([5, 100, 101, 2000, 5000]),
    tool_artifacts=st.booleans(),
    has_tools=st.booleans(),
    images=st.integers(0, 1),
    documents=st.integers(0, 1),
    audio=st.booleans(),
)


def fits(tier: TierConfig, signals: Signals) -> bool:
    return (
        signals.words <= tier.context_limit
        and (tier.tool_support or not signals.tool_artifacts)
        and not (signals.images and tier.vision is False)
        and not (signals.documents and not tier.documents)
        and not (signals.audio and tier.dialect != "openai")
    )


@given(setups(), requests)
def test_no_gate_is_ever_passed(case: tuple[RouterConfig, list[Row], set[str]], asked: Turn) -> None:
    setup, rows, bound = case
    profile = Profile(setup, rows)
    intent = Intents(setup).resolve(asked)
    decision = Policy(setup, profile, bound).decide(intent, asked.signals)
    for tier, verdict in decision.tiers:
        assert verdict != "deny"
        assert intent.work_class is None or profile.verdict(tier, intent.work_class) == verdict
        assert tier.local or intent.work_class in setup.metered_cloud
        assert tier.id in bound
        assert fits(tier, asked.signals)
    assert (decision.kind is None) is bool(decision.tiers)
    # every id of the pool is accounted for exactly once
    dropped = decision.dropped
    lists = [dropped.missing, dropped.context, dropped.constraint, dropped.metered, dropped.denied, decision.requested]
    told = [tier_id for listed in lists for tier_id in listed]
    assert len(told) == len(set(told))
    if "redirected" not in decision.gate_note:
        assert set(told) == set(intent.pool)
    assert [tier.id for tier, _ in decision.tiers] == [i for i in decision.requested if i not in dropped.unbound]


@given(setups(), requests)
def test_an_ambiguous_request_is_no_dead_end(case: tuple[RouterConfig, list[Row], set[str]], asked: Turn) -> None:
    setup, rows, bound = case
    profile = Profile(setup, rows)
    intent = Intents(setup).resolve(asked)
    if not intent.ambiguous:
        return
    allowed = [
        tier
        for tier in setup.tiers
        if tier.id in bound
        and (tier.local or intent.work_class in setup.metered_cloud)
        and profile.verdict(tier, intent.work_class) != "deny"
        and fits(tier, asked.signals)
    ]
    decision = Policy(setup, profile, bound).decide(intent, asked.signals)
    assert bool(decision.tiers) is bool(allowed)
    if allowed and not asked.signals.images:
        assert decision.tiers[0][0] is allowed[-1]


@given(setups(), requests)
def test_the_choice_is_a_function_of_the_request(case: tuple[RouterConfig, list[Row], set[str]], asked: Turn) -> None:
    setup, rows, bound = case
    intents, policy = Intents(setup), Policy(setup, Profile(setup, rows), bound)
    first = policy.decide(intents.resolve(asked), asked.signals)
    policy.decide(intents.resolve(turn(None, "plan", images=1)), Signals(images=1))
    assert policy.decide(intents.resolve(asked), asked.signals) == first
