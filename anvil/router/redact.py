"""Keeps secrets and prompts out of what is written down (contract 20).

Records and metrics are built from allow-lists; the scrubber guards log lines, upstream messages and samples. Every
rule is linear in the text: literal searches first, and patterns without nested repetition only where one was found.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from anvil.router.decisions.record import sanitise

MASK: Final = "[REDACTED]"
REJECTED: Final = "the request was rejected"
MESSAGE_LIMIT: Final = 512
# a configured value shorter than this ("EMPTY", "none") is a word of many texts: only whole and exact it is a secret
SHORT_SECRET: Final = 8
# deeper than any accepted body (5.1); what lies below is not worth keeping
MAX_DEPTH: Final = 200

# ---------------------------------------------------------------------------------------------- scrubber

# a letter or digit before the prefix makes it a part of a word ("disk-full"), unless it belongs to an escape like \n
_START = r"(?:(?<![a-z0-9])|(?<=\\[nrtbf]))"
# (what must occur, in lower case; the pattern that then runs)
_SHAPES: Final[tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]] = tuple(
    (needles, re.compile(_START + pattern, re.IGNORECASE | re.ASCII))
    for needles, pattern in (
        (("sk-",), r"sk-[a-z0-9_-]{4,}"),
        (("sk_live_", "sk_test_", "rk_live_"), r"(?:sk_live|sk_test|rk_live)_[a-z0-9]{4,}"),
        (("github_pat_",), r"github_pat_[a-z0-9_]{4,}"),
        (("gho_", "ghp_", "ghr_", "ghs_", "ghu_"), r"gh[oprsu]_[a-z0-9]{4,}"),
        (("xoxb-", "xoxa-", "xoxp-", "xoxr-", "xoxs-"), r"xox[baprs]-[a-z0-9-]{4,}"),
        (("aiza",), r"aiza[a-z0-9_-]{8,}"),
        (("akia", "asia"), r"(?:akia|asia)[0-9a-z]{16}"),
        (("bearer",), r"bearer\s{1,8}[a-z0-9._~+/=-]+"),
    )
)
_PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----", re.IGNORECASE)
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----", re.IGNORECASE)


class Scrubber:
    """Replaces key-like shapes and the literal values of configured secrets by ``[REDACTED]`` (20.3).

    Of each secret also its base64 and SHA-256 forms and anything that begins with its first eight characters go.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret.strip() for secret in secrets} - {""}, key=len, reverse=True)
        self._literals = [literal for secret in known if len(secret) >= SHORT_SECRET for literal in _literals(secret)]
        short = [re.escape(secret) for secret in known if len(secret) < SHORT_SECRET]
        self._short = re.compile(rf"(?<!\w)(?:{'|'.join(short)})(?!\w)") if short else None
        self.word: Callable[[str], str] = lru_cache(maxsize=1024)(self._word)

    def scrub(self, text: str) -> str:
        lower = text.lower()
        for needle, pattern in self._literals:
            if needle in lower:
                text = pattern.sub(MASK, text)
        for needles, pattern in _SHAPES:
            if any([needle in lower for needle in needles]):
                text = pattern.sub(MASK, text)
        if "private key-----" in lower:
            text = _without_keys(text)
        if self._short is not None:
            text = self._short.sub(MASK, text)
        return text

    def _word(self, text: str) -> str:
        """``word``: a caller's string, scrubbed and sanitised, for a record. Remembers the usual ones."""
        return sanitise(self.scrub(text[:1024]))


def _literals(secret: str) -> list[tuple[str, re.Pattern[str]]]:
    """(lower-case needle, pattern) for every form of one secret of at least eight characters."""
    forms = [(secret[:SHORT_SECRET], re.escape(secret[:SHORT_SECRET]) + r"""[^\s"'\\,;<>(){}\[\]]*""")]
    whole = secret.encode()
    forms.insert(0, (secret, re.escape(secret)))
    forms.append((hashlib.sha256(whole).hexdigest(), hashlib.sha256(whole).hexdigest()))
    for lead in range(3):  # base64 of any text around the secret holds one of three alignments of it
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(b"\0" * lead + whole).decode()[-(-lead * 8 // 6) :].rstrip("=")
            form = form[: (len(whole) + lead) * 8 // 6 - -(-lead * 8 // 6)]
            forms.append((form, re.escape(form) + r"[A-Za-z0-9+/_=-]*"))
    return [(needle.lower(), re.compile(pattern, re.IGNORECASE)) for needle, pattern in dict.fromkeys(forms)]


def _without_keys(text: str) -> str:
    """Without PEM private keys; one without an end reaches to the next double quote, which no key contains."""
    kept: list[str] = []
    position = 0
    ends = True
    while begin := _PEM_BEGIN.search(text, position):
        kept += [text[position : begin.start()], MASK]
        end = _PEM_END.search(text, begin.end()) if ends else None
        ends = end is not None
        quote = text.find('"', begin.end())
        position = end.end() if end is not None else quote if quote >= 0 else len(text)
    return "".join([*kept, text[position:]])


# -------------------------------------------------------------------------------------------- name rules

_NEVER = re.compile(r"tokens|token_count|token_usage|.*_(?:tokens|id|ms|cost|limit|type)|.*_cost_per_.*", re.DOTALL)
_SECRET_NAMES: Final = (
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
)
_SECRET = re.compile(rf"(?:^|_)(?:{'|'.join(_SECRET_NAMES)})(?:_|$)")
_PROMPT_NAMES: Final = frozenset(
    {"prompt", "message", "messages", "completion", "completions", "content", "system", "input", "output"}
    | {"response_text", "user_text", "query", "data", "text", "request", "response"}
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")


@lru_cache(maxsize=4096)
def _kind(name: str) -> str:
    """secret, prompt or "" for a field name, by its components in any spelling (api_key, apiKey, X-Api-Key)."""
    snake = _SEPARATORS.sub("_", _CAMEL.sub("_", name[:256])).strip("_").lower()
    if _NEVER.fullmatch(snake):
        return ""
    if _SECRET.search(snake):
        return "secret"
    return "prompt" if snake in _PROMPT_NAMES else ""


def redact(value: object, scrubber: Scrubber, *, calibration: bool = False) -> object:
    """A copy of JSON-like data without secrets, and without prompt text unless ``calibration`` (20.2)."""
    return _redact(value, scrubber, calibration, "", 0)


def _redact(value: object, scrubber: Scrubber, calibration: bool, kind: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        return MASK
    if isinstance(value, str):
        return _redact_text(value, scrubber, calibration, kind)
    if isinstance(value, Mapping):
        return {
            key: _redact(inner, scrubber, calibration, _stronger(kind, _kind(str(key))), depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        items = [_redact(inner, scrubber, calibration, kind, depth + 1) for inner in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, bytes | bytearray):
        return MASK
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return MASK if kind == "secret" and number else value


def _stronger(outer: str, inner: str) -> str:
    """What lies inside a secret is secret, what lies inside a prompt at least a prompt."""
    return "secret" if "secret" in (outer, inner) else outer or inner


def _redact_text(text: str, scrubber: Scrubber, calibration: bool, kind: str) -> str:
    if kind == "secret":
        # four characters tell two keys apart; of a value this short they would be all of it
        return f"{text[:4]}…{MASK}" if len(text) > 4 else MASK
    if kind == "prompt" and not calibration:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return f"[REDACTED_PROMPT chars={len(text)} sha256={digest}]"
    return scrubber.scrub(text)


# -------------------------------------------------------------------------------------- upstream messages

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def upstream_message(
    message: object,
    scrubber: Scrubber,
    *,
    base_url_host: str,
    port: int | None,
    tier_id: str,
    model: str | None,
    caller_model: str | None,
) -> str:
    """A tier's own words about a caller's mistake, fit for that caller (20.4). At most 512 characters."""
    if isinstance(message, bytes):
        message = message.decode("utf-8", "replace")
    if not isinstance(message, str | dict | list) or not message:
        return REJECTED
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    text = scrubber.scrub(_CONTROL.sub(" ", text[:65536])).strip()
    names = _upstream_names(base_url_host, port, tier_id, model)
    shown = _CONTROL.sub(" ", caller_model or "the model")[:128]
    text = names.sub(lambda found: shown if found.lastgroup == "model" else "[upstream]", text)
    return text[:MESSAGE_LIMIT].strip() or REJECTED


@lru_cache(maxsize=256)
def _upstream_names(host: str, port: int | None, tier_id: str, model: str | None) -> re.Pattern[str]:
    """One pattern for all names of a tier, so that nothing put in is looked at again. Whole words, any case."""
    tail = rf"(?::{port}(?!\d))?" if port else ""
    parts = [rf"(?:https?://)?{re.escape(host)}{tail}"] if host else []
    if port:
        parts += [rf":{port}(?!\d)", rf"port[ =:]{{1,2}}{port}(?!\d)"]
    parts.append(re.escape(tier_id))
    if model:
        parts.insert(0, f"(?P<model>{re.escape(model)})")
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.IGNORECASE)
