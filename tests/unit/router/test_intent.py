"""Resolution of names and of /v1/route hints (contract 9.1 to 9.3, 2.11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.intent import NO_HINTS, Hints, Intents, read_hints
from tests.unit.router.routing import cloud, config, local, turn

CONFIG = config(
    local("small"),
    local("Big"),
    cloud("paid"),
    presets={
        "chat": ("small",),
        "quick-edit": ("small", "Big"),
        "Nightly": ("Big",),
        "bare": ("Big",),
        "paid": ("small",),
    },
    preset_classes={"Nightly": "review"},
)
INTENTS = Intents(CONFIG)


@pytest.mark.parametrize(
    "spelling",
    [
        "quick-edit",
        "QUICK-EDIT",
        " quick-edit ",
        "anvil/quick-edit",
        "Anvil:Quick-Edit",
        "anvil/ quick-edit",
        " anvil:quick-edit",
    ],
)
def test_spellings_of_a_preset_give_equal_intents(spelling: str) -> None:
    intent = INTENTS.resolve(turn(spelling, "review this"))
    assert intent == INTENTS.resolve(turn("quick-edit", "review this"))
    assert (intent.source, intent.preset, intent.work_class) == ("declared-preset", "quick-edit", "bounded-edit")
    assert (intent.pool, intent.ambiguous, intent.confidence) == (("small", "Big"), False, 1.0)


def test_custom_presets_have_a_class_or_none() -> None:
    assert INTENTS.resolve(turn("nightly")).work_class == "review"
    assert INTENTS.resolve(turn("nightly")).preset == "Nightly"
    assert INTENTS.resolve(turn("bare", "fix it")).work_class is None


def test_a_preset_shadows_a_tier() -> None:
    assert INTENTS.resolve(turn("paid")).source == "declared-preset"


def test_a_pinned_tier_takes_its_class_from_the_text() -> None:
    intent = INTENTS.resolve(turn("anvil/BIG", "fix the plan"))
    assert (intent.source, intent.pinned, intent.pool) == ("pinned", "Big", ("Big",))
    assert (intent.work_class, intent.ambiguous, intent.confidence) == ("planning", False, 0.9)
    assert intent.matched_keywords == ("plan", "fix")


def test_without_pins_a_tier_id_is_any_unknown_name() -> None:
    intents = Intents(config(*CONFIG.tiers, presets=CONFIG.presets, pins=False))
    assert intents.resolve(turn("small", "fix it")).source == "inferred"


@pytest.mark.parametrize("model", [None, "", "  ", "claude-opus-5", "anvil/", "anvil/anvil/chat", "review"])
def test_everything_else_is_inferred(model: str | None) -> None:
    intent = INTENTS.resolve(turn(model, "fix it"))
    assert (intent.source, intent.preset, intent.pool) == ("inferred", "quick-edit", ("small", "Big"))
    assert (intent.confidence, intent.ambiguous) == (0.8, False)


def test_ambiguous_requests_see_every_tier_the_safer_first() -> None:
    doubtful = INTENTS.resolve(turn(None, "hello"))
    assert (doubtful.work_class, doubtful.confident, doubtful.ambiguous) == ("chat", False, True)
    unconfigured = INTENTS.resolve(turn(None, "review it"))
    assert (unconfigured.work_class, unconfigured.confident, unconfigured.ambiguous) == ("review", True, True)
    for intent in (doubtful, unconfigured):
        assert (intent.pool, intent.preset, intent.confidence) == (("paid", "Big", "small"), None, 0.5)


def test_recorded_signals() -> None:
    intent = INTENTS.resolve(turn("chat", "fix", words=12, thinking=True, has_tools=True))
    assert (intent.token_estimate, intent.thinking_enabled, intent.has_tools) == (12, True, True)
    assert intent.matched_keywords == ()


@given(st.none() | st.text(max_size=300), st.text(max_size=40))
def test_any_name_resolves(model: str | None, text: str) -> None:
    intent = INTENTS.resolve(turn(model, text))
    assert intent.pool
    assert set(intent.pool) <= {tier.id for tier in CONFIG.tiers}


# ------------------------------------------------------------------------------------------- /v1/route


@pytest.mark.parametrize("value", [None, 3, "review", [], {}, {"work_class": 3, "token_estimate": "9", "urgency": 1}])
def test_useless_hints_are_ignored(value: object) -> None:
    assert read_hints(value) == NO_HINTS


@pytest.mark.parametrize(("estimate", "read"), [(0, 0), (7, 7), (-1, 0), (True, 0), (1.5, 0)])
def test_token_estimates(estimate: object, read: int) -> None:
    assert read_hints({"token_estimate": estimate}).token_estimate == read


def test_a_known_class_wins_over_the_model() -> None:
    assert read_hints({"work_class": "multi-file-refactor", "urgency": "now"}) == Hints(
        "multi-file-refactor", None, 0, "now"
    )
    intent = INTENTS.advise(turn("nightly", "hello"), Hints("bounded-edit", token_estimate=50))
    assert (intent.preset, intent.work_class, intent.pool) == ("quick-edit", "bounded-edit", ("small", "Big"))
    assert (intent.confidence, intent.token_estimate, intent.label) == (1.0, 50, "preset='quick-edit'")


def test_a_known_class_without_its_preset_goes_to_the_safer_tiers() -> None:
    intent = INTENTS.advise(turn("chat"), Hints("planning"))
    assert (intent.source, intent.work_class, intent.pool) == ("inferred", "planning", ("paid", "Big", "small"))
    assert intent.label == "inferred, ambiguous: safer tier first"


def test_an_unknown_class_is_tried_as_a_name() -> None:
    assert read_hints({"work_class": "Quick-Edit"}) == Hints(None, "Quick-Edit")
    assert INTENTS.advise(turn("chat"), Hints(model="Quick-Edit")).preset == "quick-edit"
    assert INTENTS.advise(turn("chat"), Hints(model="nonsense")).preset == "chat"
    assert INTENTS.advise(turn(None, "fix it"), NO_HINTS) == INTENTS.resolve(turn(None, "fix it"))


def test_labels() -> None:
    assert INTENTS.resolve(turn("NIGHTLY")).label == "preset='Nightly'"
    assert INTENTS.resolve(turn("small")).label == "pinned"
    assert INTENTS.resolve(turn(None, "fix it")).label == "inferred"


# ---------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("model", ["chat", "Big", None, "other"])
@pytest.mark.parametrize("text", ["fix it", "review the plan", "hello", "review it"])
def test_a_replay_needs_no_text(model: str | None, text: str) -> None:
    live = INTENTS.resolve(turn(model, text))
    again = INTENTS.replay(model, live.work_class, not live.confident, turn(words=live.token_estimate).signals)
    assert (again.pool, again.work_class, again.preset) == (live.pool, live.work_class, live.preset)
