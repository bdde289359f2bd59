"""stderr, one line per event, text or JSON, every line scrubbed (contract 3.4).

Requests only append to a queue; one thread formats, scrubs and writes in batches. A reader of stderr that does not
read blocks that thread, never a request: the queue is bounded, what does not fit is dropped and counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, cast

import msgspec

from anvil.router.decisions.record import Decision, sanitise, timestamp
from anvil.router.redact import Scrubber

Level = Literal["debug", "info", "warning", "error"]

QUEUE_LINES: Final = 10_000
# one write for many lines; long enough to gather a batch under load, too short to notice
GATHER_SECONDS: Final = 0.05
# lines formatted between two writes: a write releases the interpreter to the event loop
BATCH_LINES: Final = 64
LINE_LIMIT: Final = 4096
VALUE_LIMIT: Final = 128


class Line:
    """One event waiting to be written; ``fields`` become ``name=value`` words or JSON members."""

    __slots__ = ("fields", "level", "message", "time")

    def __init__(self, level: Level, message: str, fields: dict[str, object]) -> None:
        self.level = level
        self.message = message
        self.fields = fields
        self.time = time.time()


class Log:
    """The process's only way to stderr after start-up. All methods return at once and never raise."""

    def __init__(
        self,
        *,
        format: Literal["text", "json"] = "text",
        scrubber: Scrubber | None = None,
        descriptor: int = 2,
    ) -> None:
        self._scrubber = scrubber or Scrubber()
        self._descriptor = descriptor
        self._format = _as_json if format == "json" else _as_text
        self._text = format == "text"
        self._queue: deque[Line | Decision | str] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------- writing

    def decision(self, decision: Decision) -> None:
        """The audit line of one record. Its words are scrubbed one by one, and remembered: they repeat."""
        self._put(_audit_line(decision, self._scrubber.word) if self._text else decision)

    def info(self, message: str, **fields: object) -> None:
        self._put(Line("info", message, fields))

    def warning(self, message: str, **fields: object) -> None:
        self._put(Line("warning", message, fields))

    def error(self, message: str, **fields: object) -> None:
        self._put(Line("error", message, fields))

    def exception(self, message: str, error: BaseException) -> None:
        """An unexpected exception by type and (scrubbed) text; no traceback, its frames may show prompts."""
        self._put(Line("error", message, {"exception": type(error).__name__, "text": str(error)[:LINE_LIMIT]}))

    def _put(self, item: Line | Decision | str) -> None:
        if len(self._queue) >= QUEUE_LINES:
            self._dropped += 1
            return
        self._queue.append(item)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait until everything queued so far is written; False when that takes longer."""
        self._idle.clear()
        self._wake.set()
        return self._idle.wait(timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for at most ``timeout`` seconds."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)

    # -------------------------------------------------------------------------------------------- thread

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(GATHER_SECONDS)
            self._wake.clear()
            flushed = not self._idle.is_set()
            self._drain()
            if flushed:
                self._idle.set()
        self._drain()

    def _drain(self) -> None:
        while self._queue:
            items = [self._queue.popleft() for _ in range(min(BATCH_LINES, len(self._queue)))]
            if self._dropped:
                lost, self._dropped = self._dropped, 0
                items.append(Line("warning", "log lines dropped", {"lines": lost}))
            if all([type(item) is str for item in items]):
                self._write("".join(cast("list[str]", items)))
            else:
                self._write("".join([self._clean(item) for item in items]))

    def _clean(self, item: Line | Decision | str) -> str:
        if isinstance(item, str):
            return item
        try:
            return self._scrubber.scrub(self._format(item)[:-1]) + "\n"
        except Exception as error:  # one odd value must not end the log
            return f"error: a log line could not be formatted: {type(error).__name__}\n"

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody made the shared stderr non-blocking and it is full
                if self._stop.wait(GATHER_SECONDS):
                    return
            except OSError:
                return  # stderr is gone; there is nobody to tell


# ----------------------------------------------------------------------------------------------- formats


def audit_fields(decision: Decision) -> dict[str, object]:
    """The words of an audit line, in order; None where there is nothing to say."""
    intent = decision.intent
    return {
        "decision": decision.id,
        "intent": (intent.preset or intent.source) if intent else None,
        "work_class": decision.work_class,
        "served": decision.served_tier,
        "verify": _verify(decision),
        "fell_back": decision.fell_back,
        "tiers": [attempt.tier_id for attempt in decision.attempts],
        "prompt": decision.total_prompt_tokens,
        "completion": decision.total_completion_tokens,
    }


def _verify(decision: Decision) -> str | None:
    """pass or fail: the verdict on the answer that was served, else on the last one judged."""
    served = decision.served_attempt
    if served is not None and served.verifier_passed is not None:
        return "pass" if served.verifier_passed else "fail"
    judged = [a.verifier_passed for a in decision.attempts if a.verifier_passed is not None]
    if not judged:
        return None
    return "pass" if judged[-1] else "fail"


@lru_cache(maxsize=1024)
def _text_word(text: str) -> str:
    return sanitise(text, VALUE_LIMIT) or "-"


def word(value: object) -> str:
    """A value as one word of a text line."""
    if isinstance(value, str):
        return _text_word(value)
    if value is None or value == []:
        return "-"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, list):
        return ">".join([_text_word(str(item)) for item in value])
    return _text_word(str(value))


def _audit_line(decision: Decision, clean: Callable[[str], str]) -> str:
    """``audit_fields`` as text, spelled out because it runs once per request."""
    intent = decision.intent
    asked = (clean(intent.preset or intent.source) or "-") if intent else "-"
    work_class = clean(decision.work_class or "") or "-"
    served = clean(decision.served_tier or "") or "-"
    tiers = ">".join([clean(attempt.tier_id) for attempt in decision.attempts]) or "-"
    return (
        f"decision={decision.id} intent={asked} work_class={work_class} served={served}"
        f" verify={_verify(decision) or '-'} fell_back={'true' if decision.fell_back else 'false'} tiers={tiers}"
        f" prompt={decision.total_prompt_tokens} completion={decision.total_completion_tokens}\n"
    )


def _as_text(item: Line | Decision) -> str:
    if isinstance(item, Decision):
        return _audit_line(item, _text_word)
    words = "".join([f" {name}={word(value)}" for name, value in item.fields.items()])
    return f"{item.level}: {_one_line(item.message)}{words}\n"


def _as_json(item: Line | Decision) -> str:
    if isinstance(item, Decision):
        fields = {name: _member(value) for name, value in audit_fields(item).items()}
        members: dict[str, object] = {"ts": item.ts, "level": "info", "event": "decision", **fields}
    else:
        fields = {name: _member(value) for name, value in item.fields.items()}
        members = {"ts": timestamp(item.time), "level": item.level, "message": _one_line(item.message), **fields}
    return msgspec.json.encode(members).decode() + "\n"


def _member(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return [sanitise(str(item), VALUE_LIMIT) for item in value]
    return sanitise(str(value), VALUE_LIMIT)


def _one_line(text: str) -> str:
    """A message of ours, which may quote others: printable, one line, bounded."""
    cut = text[:LINE_LIMIT]
    return cut if cut.isprintable() else "".join([char if char.isprintable() else "_" for char in cut])
