"""Log lines: form, scrubbing, and a stderr nobody reads (contract 3.4)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router import log as module
from anvil.router.log import Log, audit_fields
from anvil.router.redact import Scrubber
from tests.unit.router.decision_samples import attempt, decision, fell_back, id_at

KEY = "canary-Kx92bQ7vtoken"


class Pipe:
    """A stderr; ``lines`` gives all complete lines so far."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self._data = b""

    def lines(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.read_end, 1 << 20):
                self._data += part
        return self._data.decode().split("\n")[:-1]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.read_end)
    os.close(pipe.write_end)


def written(pipe: Pipe, log: Log) -> list[str]:
    assert log.flush(2)
    lines = pipe.lines()
    log.close()
    return lines


def test_the_audit_line_is_exactly_the_contract(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end)
    log.decision(decision())
    log.decision(fell_back(1))
    log.decision(
        decision(
            2, intent=None, work_class=None, served_tier=None, attempts=(), total_prompt_tokens=0, outcome="exhausted"
        )
    )
    assert written(pipe, log) == [
        f"decision={id_at(0)} intent=chat work_class=chat served=small verify=pass fell_back=false tiers=small"
        " prompt=100 completion=21",
        f"decision={id_at(1)} intent=chat work_class=chat served=paid verify=pass fell_back=true tiers=small>paid"
        " prompt=100 completion=21",
        f"decision={id_at(2)} intent=- work_class=- served=- verify=- fell_back=false tiers=- prompt=0 completion=21",
    ]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "pass"),
        ({"attempts": (attempt(verifier_passed=None),)}, None),
        ({"served_tier": None, "attempts": (attempt("a", "fallback", verifier_passed=False),)}, "fail"),
        ({"attempts": (attempt("a", "fallback", verifier_passed=False), attempt(verifier_passed=None))}, "fail"),
    ],
)
def test_verify(changes: dict[str, object], verdict: str | None) -> None:
    assert audit_fields(decision(**changes))["verify"] == verdict


def test_text_and_audit_fields_agree(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end)
    for record in (decision(), fell_back()):
        log.decision(record)
        log.info("same", **audit_fields(record))
    lines = written(pipe, log)
    assert lines[0] == lines[1].removeprefix("info: same ")
    assert lines[2] == lines[3].removeprefix("info: same ")


def test_json_lines(pipe: Pipe) -> None:
    log = Log(format="json", descriptor=pipe.write_end)
    log.decision(fell_back())
    log.warning("tier is odd", tier="small", status=401)
    first, second = map(json.loads, written(pipe, log))
    assert first["event"] == "decision"
    assert first["decision"] == id_at(0)
    assert first["tiers"] == ["small", "paid"]
    assert first["fell_back"] is True
    assert {name: second[name] for name in ("level", "message", "tier", "status")} == {
        "level": "warning",
        "message": "tier is odd",
        "tier": "small",
        "status": 401,
    }


@given(st.text(max_size=300), st.text(max_size=300))
def test_one_event_is_one_line(message: str, value: str) -> None:
    for render in (module._as_text, module._as_json):
        line = render(module.Line("info", message, {"value": value}))
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        line.encode("utf-8", "backslashreplace")


def test_values_cannot_forge_words(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end)
    log.decision(decision(work_class="a b>c\nserved=evil", served_tier="x" * 300))
    [line] = written(pipe, log)
    words = line.split(" ")
    assert words[2] == "work_class=a_b_c_served=evil"
    assert words[3] == "served=" + "x" * 128
    assert len(words) == 9


@pytest.mark.parametrize("format", ["text", "json"])
def test_every_line_is_scrubbed(pipe: Pipe, format: str) -> None:
    log = Log(format=format, scrubber=Scrubber([KEY]), descriptor=pipe.write_end)  # type: ignore[arg-type] # literals
    log.decision(decision(served_tier=KEY))
    log.info(f"starting with {KEY}", header=f"Bearer {KEY}")
    log.exception("failed", ValueError(f"bad key {KEY}\nTraceback"))
    lines = written(pipe, log)
    assert len(lines) == 3
    assert KEY[:8] not in "".join(lines)
    assert "ValueError" in lines[2]
    if format == "json":
        assert all(isinstance(json.loads(line), dict) for line in lines)


def test_a_key_without_end_takes_only_its_own_line(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end)
    log.info("got -----BEGIN PRIVATE KEY----- MIIEv")
    log.info("next")
    assert written(pipe, log) == ["info: got [REDACTED]", "info: next"]


def test_a_line_that_cannot_be_formatted_does_not_end_the_log(pipe: Pipe) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError(KEY)

    log = Log(descriptor=pipe.write_end)
    log.info("odd", value=Odd())
    log.info("next")
    lines = written(pipe, log)
    assert "RuntimeError" in lines[0]
    assert KEY not in lines[0]
    assert lines[1] == "info: next"


def test_a_blocked_stderr_costs_requests_nothing(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LINES", 500)
    log = Log(descriptor=pipe.write_end)
    began = time.perf_counter()
    for number in range(3000):
        log.info("x" * 200, number=number)
    assert (time.perf_counter() - began) / 3000 < 0.0005
    time.sleep(0.1)
    for number in range(2000):
        log.info("y" * 200, number=number)
    assert len(log._queue) == 500
    deadline = time.monotonic() + 5
    while not log.flush(0.05) or log._queue:
        pipe.lines()
        assert time.monotonic() < deadline
    log.close()
    lines = pipe.lines()
    dropped = sum(int(line.rsplit("=", 1)[1]) for line in lines if "log lines dropped" in line)
    kept = sum(line.startswith("info: ") for line in lines)
    assert dropped + kept == 5000
    assert dropped > 3000


def test_a_full_non_blocking_stderr_waits_for_its_reader(pipe: Pipe) -> None:
    os.set_blocking(pipe.write_end, False)
    log = Log(descriptor=pipe.write_end)
    for number in range(1000):
        log.info("z" * 200, number=number)
    deadline = time.monotonic() + 5
    while len(pipe.lines()) < 1000:
        time.sleep(0.02)
        assert time.monotonic() < deadline
    log.close()


def test_a_closed_stderr_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    log = Log(descriptor=write_end)
    log.info("nobody hears this")
    assert log.flush(2)
    log.close()
    os.close(write_end)


def test_close_writes_what_is_queued(pipe: Pipe) -> None:
    log = Log(descriptor=pipe.write_end)
    log.info("last words")
    log.close()
    assert pipe.lines() == ["info: last words"]
