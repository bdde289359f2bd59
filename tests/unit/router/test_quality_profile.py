"""Quality profile and fingerprints (contract 11)."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.config import ConfigError
from anvil.router.fingerprint import fingerprint
from anvil.router.profile import SCHEMA_V1, SCHEMA_V2, Profile, Row
from tests.unit.router.routing import cloud, config, local

FAST = local("fast-box", role="fast")
HEAVY = local("heavy-box", role="heavy")
PLAIN = local("plain")
PAID = cloud("paid")
CONFIG = config(FAST, HEAVY, PLAIN, PAID)


def document(*rows: dict[str, object], schema: str = SCHEMA_V2, **top: object) -> bytes:
    return json.dumps({"schema": schema, "mode": "live", "eval_max": 25.0, "entries": rows, **top}).encode()


def row(**fields: object) -> dict[str, object]:
    return {"tier_id": "plain", "work_class": "planning", "decision": "allow", **fields}


def load(*rows: dict[str, object], **top: object) -> Profile:
    return Profile.load(document(*rows, **top), CONFIG, name="p.json")  # type: ignore[arg-type]  # test builder


SEED = """
planning deny deny allow
multi-file-refactor deny allow-with-verify allow
long-context deny allow allow
review allow-with-verify allow allow
bounded-edit allow allow allow
chat allow allow allow
"""


@pytest.mark.parametrize("line", SEED.split("\n")[1:-1])
def test_the_seed_profile(line: str) -> None:
    work_class, *wanted = line.split()
    tiers = [FAST, HEAVY, cloud("c", role="cloud")]
    profile = Profile.seed(config(*tiers))
    assert [profile.verdict(tier, work_class) for tier in tiers] == wanted
    for tier, anchor, verdict in zip(tiers, (0.65, 0.80, 0.95), wanted, strict=True):
        score = {"allow": anchor, "allow-with-verify": round(anchor - 0.1, 2), "deny": 0.2}[verdict]
        assert profile.score(tier, work_class) == score


def test_unmeasured_pairs() -> None:
    profile = Profile.seed(CONFIG)
    assert [profile.verdict(tier, None) for tier in CONFIG.tiers] == ["allow"] * 4
    assert profile.verdict(PAID, "planning") == "allow"
    assert profile.verdict(PLAIN, "planning") == profile.verdict(PLAIN, "multi-file-refactor") == "deny"
    assert profile.verdict(PLAIN, "chat") == profile.verdict(PLAIN, "review") == "allow-with-verify"
    assert profile.score(PLAIN, "chat") == 0.5
    assert profile.stale_rows == []


def test_rows_overlay_the_seed() -> None:
    profile = load(row(tier_id="Fast-Box", work_class="chat", decision="deny", quality_score=0.3), row(work_class=None))
    assert profile.verdict(FAST, "chat") == "deny"
    assert profile.verdict(FAST, "bounded-edit") == "allow"
    assert profile.score(FAST, "chat") == 0.3
    assert profile.verdict(PLAIN, None) == "allow"


def test_v1_files_load_without_fingerprints() -> None:
    assert load(row(), schema=SCHEMA_V1).verdict(PLAIN, "planning") == "allow"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "p.json: not a profile"),
        (b"[]", "p.json: not a profile"),
        (b"\xff", "p.json: not a profile"),
        (b'{"schema": "anvil-serving.router.profile_bootstrap/v2", "mode": "live"}', "p.json: not a profile"),
        (document(schema="anvil-serving.router.profile_bootstrap/v3"), "v3"),
        (document(mode="dream"), "mode must be"),
        (document(row(decision="Allow")), r"entries\[0\].*decision"),
        (document(row(), row(decision=None)), r"entries\[1\]"),
        (document(row(quality_score=1.5)), "quality_score"),
        (document(row(quality_score=True)), "quality_score"),
        (document(row(sample_n=0)), "sample_n"),
        (document(row(tier_id=" ")), "tier_id"),
        (document({"tier_id": "a", "decision": "allow"}), "work_class"),
        (document(row(), row(tier_id="PLAIN")), "a second row"),
    ],
)
def test_bad_files_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Profile.load(data, CONFIG, name="p.json")


# ---------------------------------------------------------------------------------------------- staleness


def test_equal_fingerprints_are_quiet_and_others_stale() -> None:
    same = row(fingerprint=fingerprint(PLAIN))
    assert load(same).stale_rows == []
    profile = load(row(fingerprint="0" * 64), row(work_class="chat", decision="deny", fingerprint="0" * 64))
    assert profile.stale_rows == [("plain", "chat"), ("plain", "planning")]
    assert profile.verdict(PLAIN, "planning") == "allow-with-verify"
    assert profile.verdict(PLAIN, "chat") == "deny"


def test_a_row_without_fingerprint_adopts_the_current_one() -> None:
    (written,) = [entry for entry in json.loads(load(row()).dump())["entries"] if entry["tier_id"] == "plain"]
    assert written["fingerprint"] == fingerprint(PLAIN)


def test_staleness_survives_a_restart() -> None:
    first = load(row(fingerprint="0" * 64))
    again = Profile.load(first.dump(), CONFIG)
    assert again.stale_rows == first.stale_rows == [("plain", "planning")]


def test_rows_of_unknown_tiers_are_kept() -> None:
    profile = load(row(tier_id="elsewhere", fingerprint="1" * 64))
    assert profile.stale_rows == []
    assert "elsewhere" in profile.dump().decode()


def test_the_mode_is_part_of_the_identity() -> None:
    stored = row(fingerprint=fingerprint(PLAIN))
    assert Profile.load(document(stored), CONFIG, mode="agentic").stale_rows == [("plain", "planning")]
    assert fingerprint(PLAIN, "agentic") != fingerprint(PLAIN, "flexibility")


def test_the_written_form() -> None:
    data = load(row(tier_id="plain", work_class="chat"), row(tier_id="elsewhere", work_class=None)).dump()
    assert data == json.dumps(json.loads(data), indent=2, sort_keys=True).encode() + b"\n"
    written = json.loads(data)
    assert (written["schema"], written["mode"], written["eval_max"]) == (SCHEMA_V2, "live", 25.0)
    keys = [(entry["tier_id"], entry["work_class"] or "") for entry in written["entries"]]
    assert keys == sorted(keys)
    assert len(keys) == 14  # two tiers with a role, six classes each, and the two rows
    assert set(written["entries"][0]) == {
        *("tier_id", "work_class", "model_label", "decision", "quality_score", "sample_n", "eval_total_avg"),
        *("eval_max", "last_measured", "source_evals", "fingerprint", "reasoning"),
    }
    assert Profile.load(data, CONFIG).dump() == data


# -------------------------------------------------------------------------------------------- fingerprints


def test_the_digest_is_the_published_one() -> None:
    tier = local("t", quantization="fp8", extra_body={"b": 1, "a": 2}, params={"x": 1})
    identity = {
        "tier_id": "t",
        "model": "t-model",
        "quantization": "fp8",
        "endpoint": "http://127.0.0.1:7001/v1",
        "dialect": "openai",
        "context_limit": 32768,
        "params": {"x": 1},
        "reasoning": {"b": 1, "a": 2},
    }
    text = json.dumps(
        {"schema": "anvil-serving.router.fingerprint/v1", "identity": identity}, sort_keys=True, separators=(",", ":")
    )
    assert fingerprint(tier) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "fields",
    [
        {"extra_body_defaults": {"a": 1}},
        {"timeout": 9.0},
        {"max_concurrency": 2},
        {"auth_env": "OTHER"},
        {"cost_input_per_mtok": 1.0},
        {"role": "heavy"},
        {"swap_group": "g"},
        {"vision": True},
    ],
)
def test_what_is_not_identity(fields: dict[str, object]) -> None:
    assert fingerprint(local("t", **fields)) == fingerprint(local("t"))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "x"},
        {"quantization": "x"},
        {"engine": "x"},
        {"base_url": "http://h"},
        {"dialect": "anthropic"},
        {"context_limit": 1},
        {"params": {}},
        {"extra_body": {"a": 1}},
    ],
)
def test_what_is_identity(fields: dict[str, object]) -> None:
    assert fingerprint(local("t", **fields)) != fingerprint(local("t"))


def test_synonyms_sets_and_order() -> None:
    assert fingerprint({"id": "a", "model_id": "m", "quant": "q"}) == fingerprint(
        {"quantization": "q", "served_model": "m", "tier_id": "a", "model": None}
    )
    assert fingerprint({"model": "m", "model_id": "other"}) == fingerprint({"model": "m"})
    assert fingerprint({"params": {"s": {"b", "a"}, "t": 1}}) == fingerprint({"params": {"t": 1, "s": {"a", "b"}}})
    assert fingerprint({"params": {"s": {"b", "a"}}}) == fingerprint({"params": {"s": ["a", "b"]}})
    assert fingerprint({"params": {"s": ["b", "a"]}}) != fingerprint({"params": {"s": ["a", "b"]}})


# ------------------------------------------------------------------------------------------------- grading


def test_a_running_mean() -> None:
    profile = load(row(quality_score=0.8, sample_n=3))
    assert profile.record_grade(PLAIN, "planning", 0.4).quality_score == 0.7
    graded = profile.record_grade(PLAIN, "planning", 0.1, weight=2, last_measured="2026-11-24", decision="deny")
    assert (graded.quality_score, graded.sample_n, graded.last_measured) == (0.5, 6, "2026-11-24")
    assert profile.verdict(PLAIN, "planning") == "deny"
    assert profile.record_grade(PLAIN, "planning", 0.9, weight=-4).sample_n == 6


@pytest.mark.parametrize(
    ("work_class", "decision"),
    [("planning", "deny"), ("multi-file-refactor", "deny"), (None, "allow"), ("chat", "allow-with-verify")],
)
def test_new_rows(work_class: str | None, decision: str) -> None:
    profile = Profile.seed(CONFIG)
    graded = profile.record_grade(PLAIN, work_class, 0.91234567)
    assert (graded.decision, graded.quality_score, graded.sample_n) == (decision, 0.9123, 1)
    assert profile.record_grade(PLAIN, work_class, 0.5, weight=0).sample_n == 1


def test_a_grade_clears_staleness_unless_the_tier_moved_on() -> None:
    profile = load(row(fingerprint="0" * 64))
    profile.record_grade(PLAIN, "planning", 0.9, submitted_fingerprint="2" * 64)
    assert profile.stale_rows == [("plain", "planning")]
    profile.record_grade(PLAIN, "planning", 0.9, submitted_fingerprint=profile.fingerprint("plain"))
    assert profile.stale_rows == []
    assert profile.verdict(PLAIN, "planning") == "allow"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), True])
def test_scores_are_numbers(score: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Profile.seed(CONFIG).record_grade(PLAIN, "chat", score)


def test_grading_from_many_threads_loses_nothing() -> None:
    profile = Profile.seed(CONFIG)
    threads = [
        threading.Thread(target=lambda: [profile.record_grade(PLAIN, "chat", 0.5) for _ in range(100)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (graded,) = [entry for entry in profile.rows if entry.tier_id == "plain"]
    assert (graded.sample_n, graded.quality_score) == (400, 0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_mean_stays_within_the_grades(scores: list[float]) -> None:
    profile = Profile(CONFIG, [])
    graded = [profile.record_grade(PLAIN, "chat", score) for score in scores][-1]
    assert min(scores) - 1e-3 <= graded.quality_score <= max(scores) + 1e-3
    assert graded.sample_n == len(scores)
    assert isinstance(graded, Row)
