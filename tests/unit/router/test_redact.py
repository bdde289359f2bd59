"""The scrubber, the name rules and upstream messages (contract 20)."""

from __future__ import annotations

import base64
import copy
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.redact import MASK, REJECTED, Scrubber, redact, upstream_message

KEY = "canary-Kx92/bQ7+vtoken=Zz81"
SCRUBBER = Scrubber([KEY, "EMPTY", "  spaced-secret-value  "])

SHAPES = [
    "sk-ant-api03-abcDEF123",
    "sk-1234",
    "sk_live_4eC39Hq",
    "SK_TEST_4eC39Hq",
    "rk_live_4eC39Hq",
    "github_pat_11ABCDEFG_xyz",
    "ghp_abcdef123456",
    "gho_abcdef123456",
    "xoxb-123-abc",
    "AIzaSyA1234567890abcdefg",
    "AKIAIOSFODNN7EXAMPLE",
    "asiaiosfodnn7example",
    "Bearer abc.def-ghi",
    "bearer   abc",
    "-----BEGIN PRIVATE KEY-----\nMIIEv\nQIBADAN\n-----END PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\\nMIIEv\\n-----END RSA PRIVATE KEY-----",
    KEY,
    KEY.upper(),
    "spaced-secret-value",
]
SURROUNDINGS = ["%s", "key=%s", "'%s'", "a %s, b", 'x:"%s"', "line\n%s\nline", "json \\n%s"]


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
@pytest.mark.parametrize("secret", SHAPES)
def test_key_shapes_go(secret: str, surrounding: str) -> None:
    scrubbed = SCRUBBER.scrub(surrounding % secret)
    assert MASK in scrubbed
    assert secret[-6:] not in scrubbed
    assert scrubbed.replace(MASK, "").strip() == (surrounding % "").strip()


@pytest.mark.parametrize(
    "text",
    [
        "disk-usage and task-list, risk-free desk-work",
        "max_tokens must be at most 8192",
        "asia is a continent; akia",
        "the bearer",
        "non_empty_content failed, cache is empty",
        "-----BEGIN CERTIFICATE-----",
        "decision=dec_1a20c15f56e1d39191c9bc84 intent=chat served=small verify=pass",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert SCRUBBER.scrub(text) == text


@pytest.mark.parametrize("before", ["", "u", "us", "user", "a:b:c"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_secret_goes_at_every_alignment(before: str, encode: type[str]) -> None:
    form = encode((before + KEY + "!tail").encode()).decode()  # type: ignore[call-arg,attr-defined] # a function
    scrubbed = SCRUBBER.scrub(f"Basic {form} end")
    assert scrubbed.startswith("Basic ")
    assert scrubbed.endswith(f"{MASK} end")
    assert len(scrubbed) <= len(f"Basic {MASK} end") + 8


def test_digest_and_prefix_of_a_secret_go() -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    assert SCRUBBER.scrub(f"sha256:{digest}") == f"sha256:{MASK}"
    assert SCRUBBER.scrub(f"Incorrect API key: {KEY[:8]}****1234.") == f"Incorrect API key: {MASK}"


def test_a_short_secret_goes_as_a_whole_word_only() -> None:
    assert SCRUBBER.scrub("key EMPTY is wrong") == f"key {MASK} is wrong"
    assert SCRUBBER.scrub("Empty EMPTYX") == "Empty EMPTYX"


def test_a_key_without_end_takes_the_rest() -> None:
    text = "a -----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY----- b -----BEGIN PRIVATE KEY-----\nsecret"
    assert SCRUBBER.scrub(text) == f"a {MASK} b {MASK}"
    assert SCRUBBER.scrub('{"m":"-----BEGIN PRIVATE KEY----- MII"}') == f'{{"m":"{MASK}"}}'


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_secret_never_survives(before: str, after: str) -> None:
    assert KEY.lower() not in SCRUBBER.scrub(before + KEY + after).lower()


@given(st.text(max_size=300))
def test_scrubbing_twice_changes_nothing(text: str) -> None:
    once = SCRUBBER.scrub(text)
    assert SCRUBBER.scrub(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "sk-",
        "Bearer ",
        "-----BEGIN PRIVATE KEY----- ",
        '-----BEGIN PRIVATE KEY-----"',
        "xoxb-1",
        "gh",
        "canary-K",
        "a",
        "AKIA",
        "sk-a" * 3 + " ",
    ],
)
def test_scrubbing_is_linear(unit: str) -> None:
    def cost(size: int) -> float:
        text = unit * (size // len(unit))
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            SCRUBBER.scrub(text)
            best = min(best, time.process_time() - began)
        return best

    small, large = cost(60_000), cost(480_000)
    assert large < max(8 * small * 2.5, 0.05)


def test_words_of_callers_are_scrubbed_and_sanitised() -> None:
    assert SCRUBBER.word(f"model {KEY}>x") == f"model_{MASK}_x"
    assert SCRUBBER.word("chat") == "chat"
    assert len(SCRUBBER.word("x" * 5000)) == 128


# -------------------------------------------------------------------------------------------- name rules

PROMPTS = [
    "prompt",
    "message",
    "messages",
    "completion",
    "completions",
    "content",
    "system",
    "input",
    "output",
    "response_text",
    "user_text",
    "query",
    "data",
    "text",
    "request",
    "response",
]
SECRETS = [
    "api_key",
    "apikey",
    "secret",
    "password",
    "passwd",
    "authorization",
    "access_token",
    "auth_token",
    "refresh_token",
    "id_token",
    "bearer_token",
    "session_token",
    "api_token",
    "client_token",
    "token",
    "bearer",
    "credential",
    "credentials",
    "cookie",
    "private_key",
    "signing_key",
    "session",
    "apiToken",
    "accessToken",
    "authToken",
    "refreshToken",
    "idToken",
    "bearerToken",
    "sessionToken",
    "clientToken",
    "clientSecret",
    "apiSecret",
    "privateKey",
    "signingKey",
    "apiKey",
    "X-Api-Key",
    "OPENAI_API_KEY",
    "Set-Cookie",
    "Proxy-Authorization",
    "userPassword",
]
NEVER = [
    "input_tokens",
    "tokens",
    "token_count",
    "token_usage",
    "session_id",
    "duration_ms",
    "api_cost",
    "token_cost_per_mtok",
    "context_limit",
    "token_type",
]


@pytest.mark.parametrize("name", SECRETS)
def test_secret_names_are_masked(name: str) -> None:
    assert redact({name: "abcdefgh"}, SCRUBBER) == {name: "abcd…[REDACTED]"}
    assert redact({name: ""}, SCRUBBER) == {name: MASK}
    assert redact({name: "abcd"}, SCRUBBER) == {name: MASK}
    assert redact({name: 12345678}, SCRUBBER) == {name: MASK}
    assert redact({name: None}, SCRUBBER) == {name: None}
    assert redact({name: ["abcdefgh", {"x": "ijklmnop"}]}, SCRUBBER, calibration=True) == {
        name: ["abcd…[REDACTED]", {"x": "ijkl…[REDACTED]"}]
    }


@pytest.mark.parametrize("name", PROMPTS)
def test_prompt_names_are_replaced_unless_calibrating(name: str) -> None:
    text = f"please fix it with {KEY}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert redact({name: text}, SCRUBBER) == {name: f"[REDACTED_PROMPT chars={len(text)} sha256={digest}]"}
    assert redact({name: text}, SCRUBBER, calibration=True) == {name: f"please fix it with {MASK}"}
    nested = redact({name: [{"role": "user", "content": "hi", "api_key": "abcdefgh", "n": 3}]}, SCRUBBER)
    assert isinstance(nested, dict)
    assert nested[name][0]["content"].startswith("[REDACTED_PROMPT chars=2 ")
    assert nested[name][0]["api_key"] == "abcd…[REDACTED]"
    assert nested[name][0]["n"] == 3


@pytest.mark.parametrize("name", NEVER)
def test_counting_names_are_left_alone(name: str) -> None:
    assert redact({name: 17}, SCRUBBER) == {name: 17}
    assert redact({name: "plain"}, SCRUBBER) == {name: "plain"}
    assert redact({name: KEY}, SCRUBBER) == {name: MASK}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*PROMPTS, *SECRETS, "x"]), inner),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_input_is_never_mutated_and_shape_is_kept(value: object, calibration: bool) -> None:
    before = copy.deepcopy(value)
    result = redact(value, SCRUBBER, calibration=calibration)
    assert value == before
    assert type(result) is type(value) or result == MASK
    if isinstance(value, dict) and isinstance(result, dict):
        assert list(result) == list(value)


def test_depth_is_bounded() -> None:
    value: object = "deep"
    for _ in range(5000):
        value = [value]
    assert MASK in str(redact(value, SCRUBBER))


# --------------------------------------------------------------------------------------- upstream messages


def words(message: object, **changes: object) -> str:
    values: dict[str, object] = {
        "base_url_host": "gpu-1.lan",
        "port": 8123,
        "tier_id": "small",
        "model": "Qwen/Qwen3.6-27B",
        "caller_model": "anvil/chat",
    }
    return upstream_message(message, SCRUBBER, **(values | changes))  # type: ignore[arg-type] # mixed keywords


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("temperature must be <= 2", "temperature must be <= 2"),
        ("model Qwen/Qwen3.6-27B has no tools", "model anvil/chat has no tools"),
        ("http://gpu-1.lan:8123/v1 said no", "[upstream]/v1 said no"),
        ("GPU-1.LAN refused, port 8123, tier small", "[upstream] refused, [upstream], tier [upstream]"),
        ("smaller than 8123 tokens", "smaller than 8123 tokens"),
        ("a\x00b\x1b[31mc\r\nd", "a b [31mc d"),
        (f"key {KEY} is bad", f"key {MASK} is bad"),
        ("x" * 600, "x" * 512),
        (b"bytes \xff", "bytes �"),
        ({"detail": "no"}, '{"detail": "no"}'),
        ("", REJECTED),
        ("  \n ", REJECTED),
        (None, REJECTED),
        (17, REJECTED),
        ([], REJECTED),
    ],
)
def test_upstream_messages(message: object, shown: str) -> None:
    assert words(message) == shown


def test_a_caller_model_is_not_searched_for_names_again() -> None:
    assert words("model Qwen/Qwen3.6-27B", caller_model="small\n") == "model small"
    assert words("model Qwen/Qwen3.6-27B", caller_model=None) == "model the model"


def test_a_cut_never_leaves_half_a_secret() -> None:
    for length in range(480, 512):
        assert KEY[:6] not in words("x" * length + " " + KEY)


@given(st.text(max_size=700))
def test_any_message_becomes_a_short_printable_one(text: str) -> None:
    shown = words(text)
    assert 0 < len(shown) <= 512
    assert not any(char < " " for char in shown)
