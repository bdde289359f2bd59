"""Grades a share of real answers in the background, into a candidate file; never the running profile (router 21.3)."""

from __future__ import annotations

import math
import os
import queue
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct, structs

from anvil.lab.calibrate.candidate import LIVE, over
from anvil.lab.evaluation import profile_file
from anvil.lab.judge import Judge, Sample, family
from anvil.lab.judge.choose import choose
from anvil.lab.judge.prompt import CLIP
from anvil.lab.writing import check_target, write_whole
from anvil.router import config as configuration
from anvil.router import dialects
from anvil.router.config import RouterConfig, TierConfig
from anvil.router.decisions.record import Decision
from anvil.router.loading import load_profile
from anvil.router.profile import EVAL_MAX, Profile, Row, read
from anvil.router.redact import Scrubber, redact
from anvil.router.taxonomy import Verdict
from anvil.router.turn import Text, Turn

# Jobs accepted and not finished; more are dropped and counted. A judge takes seconds, a request must not wait for it.
PENDING = 64
WORKERS = 2


class Grade(Struct, frozen=True):
    """What a grader may answer; a plain number or a mapping with ``score`` will do too. ``score`` is 0 to 1."""

    score: float
    decision: Verdict | None = None
    notes: str = ""


Grader = Callable[[Sample, TierConfig], object]


def judged(judge: Judge) -> Grader:
    """A grader that asks ``judge``, unless it is of the tier's family: score = total / 25, no decision (21.5)."""

    def grade(sample: Sample, tier: TierConfig) -> Grade:
        family.check(judge, family.of_tier(tier), tier.id)
        opinion = judge.opinion(sample)
        return Grade(opinion.scores.total / EVAL_MAX, None, opinion.notes)

    return grade


class Sampler:
    """``observe`` returns at once; two daemon threads redact, grade and write. Counts what it lost; never raises."""

    def __init__(
        self,
        config: RouterConfig,
        grader: Grader,
        candidate: Path,
        *,
        live: Iterable[Row] = (),
        mode: str | None = None,
        rate: float = 1.0,
        scrubber: Scrubber | None = None,
        drop: Iterable[str] = (),
        draw: Callable[[], float] = random.random,
    ) -> None:
        """live: rows of the running profile, kept for pairs without a grade. An existing candidate is gone on with.

        rate: share of answers graded. drop: names of fields left out of every sample. Raises ConfigError, OSError.
        """
        self._grader = grader
        self._candidate = candidate
        self._live = list(live)
        earlier = read(candidate.read_bytes(), str(candidate))[1] if candidate.is_file() else []
        self._graded = {row.key: row for row in earlier if LIVE in row.source_evals}
        self._profile = Profile(config, over(self._live, self._graded.values()), mode=mode)
        self._rate, self._draw = rate, draw
        self._scrubber = scrubber or Scrubber()
        self._drop = frozenset(drop)
        self.dropped = 0
        self.errors: Counter[str] = Counter()
        self._pending = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="sampler", daemon=True) for _ in range(WORKERS)]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """Answers accepted and not graded yet."""
        return self._pending

    def observe(self, request: object, response: object, work_class: str | None, tier: TierConfig) -> None:
        """Maybe grade an answer later. ``request`` and ``response``: text or JSON-like data."""
        if self._draw() >= self._rate:
            return
        with self._changed:
            if self._pending >= PENDING:
                self.dropped += 1
                return
            self._pending += 1
        # what runs now, not what runs when the judge is done
        self._jobs.put(_Job(request, response, work_class, tier, self._profile.fingerprint(tier.id)))

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is pending, for at most ``timeout`` seconds; whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending == 0, timeout)

    def close(self, timeout: float = 1.0) -> None:
        """End the threads after what is queued; a judge that takes longer is left behind, and its grade with it: the
        candidate may by then be another sampler's."""
        for _ in self._threads:
            self._jobs.put(None)
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._writing:
            self._closed = True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            try:
                self._grade(job)
            except Exception as error:  # of a grader nothing is certain; its words could hold a prompt
                with self._changed:
                    self.errors[type(error).__name__] += 1
            finally:
                with self._changed:
                    self._pending -= 1
                    self._changed.notify_all()

    def _grade(self, job: _Job) -> None:
        texts = redact(without(job.texts, self._drop), self._scrubber, calibration=True)
        assert isinstance(texts, dict)  # a mapping stays one
        sample = Sample(job.work_class, as_text(texts.get("request")), as_text(texts.get("response")))
        grade = checked(self._grader(sample, job.tier))
        with self._writing:
            if self._closed:
                return
            row = self._profile.record_grade(
                job.tier,
                job.work_class,
                grade.score,
                grade.decision,
                datetime.now(UTC).date().isoformat(),
                submitted_fingerprint=job.fingerprint,
            )
            self._graded[row.key] = structs.replace(
                row, source_evals=[LIVE], eval_total_avg=round(row.quality_score * EVAL_MAX, 3)
            )
            data = profile_file.encode(over(self._live, self._graded.values()), "live")
            write_whole(self._candidate, data, force=True)


class _Job(Struct, frozen=True):
    request: object
    response: object
    work_class: str | None
    tier: TierConfig
    fingerprint: str | None

    @property
    def texts(self) -> dict[str, object]:
        return {"request": self.request, "response": self.response}


def checked(found: object) -> Grade:
    """A grader's answer as a Grade, its score brought into 0 to 1. Raises TypeError, ValueError for anything else."""
    if isinstance(found, Grade):
        given: Mapping[str, object] = structs.asdict(found)
    elif isinstance(found, Mapping):
        given = found
    else:
        given = {"score": found}
    score, decision, notes = given.get("score"), given.get("decision"), given.get("notes", "")
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise TypeError("a grade needs a score that is a number")
    if not math.isfinite(score):
        raise ValueError("a score must be finite")
    if decision is not None and decision not in get_args(Verdict):
        raise ValueError("a decision must be allow, allow-with-verify or deny")
    verdict: Verdict | None = msgspec.convert(decision, Verdict | None)
    return Grade(min(1.0, max(0.0, float(score))), verdict, notes if isinstance(notes, str) else "")


def without(value: object, names: frozenset[str]) -> object:
    """A copy of JSON-like data without the fields of these names, at any depth."""
    if isinstance(value, Mapping):
        return {key: without(inner, names) for key, inner in value.items() if key not in names}
    if isinstance(value, list | tuple):
        return [without(inner, names) for inner in value]
    return value


def as_text(value: object) -> str:
    """Text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


# ------------------------------------------------------------------------------------------- as an observer

CANDIDATE = "ANVIL_SAMPLER_CANDIDATE"
ROUTER_CONFIG = "ANVIL_SAMPLER_CONFIG"
RATE = "ANVIL_SAMPLER_RATE"
DROP = "ANVIL_SAMPLER_DROP"
JUDGE = "ANVIL_SAMPLER_JUDGE"
JUDGE_MODEL = "ANVIL_SAMPLER_JUDGE_MODEL"
JUDGE_KEY_ENV = "ANVIL_SAMPLER_JUDGE_KEY_ENV"


class SamplerOff(Exception):
    """The sampler is configured, but cannot run; the sentence names the variable or file."""


class SamplingObserver:
    """``observer = "anvil.lab.sampler:observe"``: grades served answers of local tiers, off unless configured.

    ANVIL_SAMPLER_CANDIDATE: file to write; without it nothing is done. ANVIL_SAMPLER_CONFIG: the router.toml in force.
    _RATE (1.0), _DROP (names of fields, commas), _JUDGE (claude or a URL), _JUDGE_MODEL, _JUDGE_KEY_ENV.
    """

    wants_texts = True

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._sampler: Sampler | None = None
        self._tiers: dict[str, TierConfig] = {}
        self._told = ""

    def __call__(self, decision: Decision, turn: Turn | None, answer: str | None) -> None:
        """Raises when it cannot be set up: the router counts such calls as dropped."""
        if not self._environ.get(CANDIDATE, "").strip():
            return
        if turn is None or not answer or decision.outcome != "served" or decision.served_tier_privacy != "local":
            return
        if self._sampler is None:
            try:
                self._sampler = self._start(decision)
            except Exception as error:
                self._tell(error)
                raise
        tier = self._tiers.get(decision.served_tier or "")
        if tier is not None:
            self._sampler.observe(request_of(turn), answer, decision.work_class, tier)

    def close(self) -> None:
        """Called at the router's end and between two configurations; what waits for a judge is left behind."""
        if self._sampler is not None:
            self._sampler.close(0.0)
            self._sampler = None

    def _tell(self, error: Exception) -> None:
        """Why nothing is graded, once per reason: the router's counter names no reason."""
        text = f"anvil: sampler off: {error}".replace("\n", "; ")
        if text != self._told:
            self._told = text
            sys.stderr.write(text + "\n")

    def _start(self, decision: Decision) -> Sampler:
        environ = self._environ
        path = Path(environ.get(ROUTER_CONFIG, "")).expanduser()
        if not path.is_file():
            raise SamplerOff(f"{ROUTER_CONFIG}: {path}: name the router.toml that runs")
        candidate = Path(environ[CANDIDATE]).expanduser()
        check_target(candidate, force=True)  # a thread that cannot write its grades tells nobody
        config = configuration.load(path, environ=environ)
        _, digest, _ = load_profile(config, decision.mode, path.resolve().parent)
        if configuration.config_hash(config, digest) != decision.config_hash:
            raise SamplerOff(f"{path}: is not the configuration that runs; reload the router")
        judge = choose(
            environ.get(JUDGE, "claude"), environ.get(JUDGE_MODEL), environ.get(JUDGE_KEY_ENV), environ, config
        )
        self._tiers = {tier.id: tier for tier in config.tiers}
        names = [*config.server.auth_env, *(tier.auth_env for tier in config.tiers), environ.get(JUDGE_KEY_ENV, "")]
        return Sampler(
            config,
            judged(judge),
            candidate,
            live=_live(config, path),
            mode=decision.mode,
            rate=float(environ.get(RATE, "1.0")),
            scrubber=Scrubber([environ.get(name, "") for name in names]),
            drop=filter(None, environ.get(DROP, "").split(",")),
        )


def _live(config: RouterConfig, path: Path) -> list[Row]:
    if config.profile_path is None:
        return []
    file = path.resolve().parent / Path(config.profile_path).expanduser()
    return read(file.read_bytes(), str(file))[1]


def request_of(turn: Turn) -> dict[str, object]:
    """System text and the newest messages of a request, as far as a judge would read them."""
    conversation = dialects.caller(turn.dialect).conversation(turn)
    messages: list[dict[str, str]] = []
    room = CLIP
    for message in reversed(conversation.messages):
        text = "\n".join([block.text for block in message.blocks if isinstance(block, Text)])[-room:]
        messages.insert(0, {"role": message.role, "content": text})
        room -= len(text)
        if room <= 0:
            break
    return {"system": "\n".join(conversation.system)[:CLIP], "messages": messages}


observe = SamplingObserver()
