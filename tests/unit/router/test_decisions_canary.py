"""Secrets in twelve places of the input: none reaches records, logs, metrics or messages (contract 20, 24 row 24)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anvil.router import log as log_module
from anvil.router.decisions import Recorder, parse_query
from anvil.router.decisions import store as store_module
from anvil.router.decisions.record import Decision, IntentRecord, IntentSignals
from anvil.router.decisions.story import tell
from anvil.router.log import Log
from anvil.router.redact import Scrubber, redact, upstream_message
from tests.unit.router.decision_samples import attempt, decision, in_store, metrics


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "GATHER_SECONDS", 0.001)
    monkeypatch.setattr(store_module, "BATCH_SECONDS", 0.001)


# places of a request or an upstream answer from which text may come near a sink
PLACES: dict[str, Callable[[str, Scrubber], Decision]] = {
    "model of the request": lambda text, s: decision(caller_model=s.word(text)),
    "model with the prefix": lambda text, s: decision(caller_model=s.word(f"anvil/{text}")),
    "urgency signal": lambda text, s: decision(intent=IntentRecord(signals=IntentSignals(urgency=s.word(text)))),
    "unknown field name": lambda text, s: decision(lossy=(f"unknown.{s.word(text)}",)),
    "never-forwarded field name": lambda text, s: decision(lossy=(f"never_forwarded.{s.word(text)}",)),
    "backend exception": lambda text, s: decision(attempts=(attempt(verify_reason=s.word(f"backend error {text}")),)),
}
LINES: dict[str, Callable[[str, Log], None]] = {
    "log message": lambda text, log: log.warning(f"tier small refused: {text}"),
    "log field": lambda text, log: log.info("request", header=text),
    "exception text": lambda text, log: log.exception("walk failed", RuntimeError(text)),
}
MESSAGES: dict[str, Callable[[str, Scrubber], str]] = {
    "upstream error message": lambda text, s: upstream_message(
        f"bad key {text}", s, base_url_host="h", port=1, tier_id="small", model="m", caller_model="chat"
    ),
    "upstream error object": lambda text, s: upstream_message(
        {"error": {"detail": text}}, s, base_url_host="h", port=1, tier_id="small", model="m", caller_model="chat"
    ),
    "sampled tool argument": lambda text, s: str(redact({"arguments": [text]}, s, calibration=True)),
}


def test_there_are_twelve_places() -> None:
    assert len(PLACES) + len(LINES) + len(MESSAGES) == 12


def forms(secret: str) -> dict[str, str]:
    return {
        "plain": secret,
        "base64": base64.b64encode(secret.encode()).decode(),
        "basic": base64.b64encode(f"user:{secret}".encode()).decode(),
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "prefix": secret[:8],
    }


def forbidden(secret: str) -> list[bytes]:
    """What must not be found: every form, and of base64 with a user name the part that is the secret's."""
    basic = base64.b64encode(b"\0" * 5 + secret.encode()).decode()[8:-4]
    found = [*forms(secret).values(), basic]
    return [form.encode() for form in found if form != forms(secret)["basic"]]


async def everything(directory: Path, secret: str, text: str, format: str) -> bytes:
    """All bytes that any reader gets when ``text`` turned up in all twelve places."""
    scrubber = Scrubber([secret])
    read_end, write_end = os.pipe()
    log = Log(format=format, scrubber=scrubber, descriptor=write_end)  # type: ignore[arg-type] # two literals
    counted = metrics()
    recorder = Recorder(in_store(directory / "decisions.sqlite"), counted, log)
    follower = recorder.follow(parse_query("follow=1"))
    records = [build(text, scrubber) for build in PLACES.values()]
    for record in records:
        recorder.record(record)
    for write in LINES.values():
        write(text, log)
    await anext(follower)
    out = [await anext(follower), (await recorder.query(parse_query(""))).json(), counted.render()[1]]
    out += ["\n".join(tell(record)).encode() for record in records]
    out += [build(text, scrubber).encode() for build in MESSAGES.values()]
    assert log.flush(2)
    recorder.close()
    log.close()
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stderr:
        out.append(stderr.read())
    out += [file.read_bytes() for file in directory.iterdir()]
    assert all(out)
    return b"\n".join(out)


SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+/=", min_size=12, max_size=48)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=SECRETS, around=st.sampled_from(["{}", "x {} y", '"{}"', "key={}, more", "\n{}\n"]))
@pytest.mark.parametrize("format", ["text", "json"])
async def test_no_form_of_a_secret_gets_out(
    tmp_path_factory: pytest.TempPathFactory, secret: str, around: str, format: str
) -> None:
    secret = f"Cx7{secret}"  # never by chance a word of ours
    for form in forms(secret).values():
        out = await everything(tmp_path_factory.mktemp("canary"), secret, around.format(form), format)
        hits = [found for found in forbidden(secret) if found.lower() in out.lower()]
        assert hits == []


async def test_the_search_finds_what_is_not_scrubbed(tmp_path: Path) -> None:
    """The property can fail: with a scrubber that does not know the secret it gets out everywhere."""
    out = await everything(tmp_path, "another-secret", "Cx7canary-value-1234", "text")
    assert out.count(b"Cx7canary-value-1234") >= 12
