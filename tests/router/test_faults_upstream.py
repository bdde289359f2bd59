"""Tiers that refuse, lie, hang and flap, one by one: what the caller gets, what the record calls it (contract 15)."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, free_port, tier_toml
from tests.router.faults import BACKUP, DIALECTS, PATHS, Lab, Told, lab

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
HI = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("upstream")) as made:
        yield made


def ask(running: Running, **body: Any) -> Any:
    return running.client.post("/v1/chat/completions", json={"model": "chat", "messages": [HI]} | body)


def falls_back(bench: Lab, dialect: str, script: t.Script, failure: str) -> None:
    """Streaming or not the backup answers; without one the caller gets an honest status and not one word of the tier."""
    bench.play(dialect, script)
    for stream in (False, True):
        told = bench.ask(PATHS[0], dialect, stream=stream)
        assert (told.status, told.tier) == (200, "backup"), told.body
        assert BACKUP.encode() in told.body
        record = bench.running.last()
        assert record["attempts"][0]["failure_class"] == failure
        time.sleep(0.002)  # an open breaker of PATIENT is half-open again
        told = bench.ask(PATHS[1], f"{dialect}-alone", stream=stream)
        assert told.status == (413 if failure == "over_context" else 503), told.body
        assert told.json["type"] == "error"
        assert b"secret-of-the-tier" not in told.body
        time.sleep(0.002)


def error(message: str = "secret-of-the-tier", **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": "x", **fields}}).encode()


# ----------------------------------------------------------------------------------------------- statuses

CLASSES = {
    "tier_misconfigured": [300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 406, 410, 415, 421, 426, 431, 451],
    "rate_limited": [429, 529],
    "unavailable": [204, 205, 402 + 6, 409, 411, 418, 425, 499, 500, 501, 502, 503, 504, 507, 520, 599],
    "over_context": [413],
}  # fmt: skip


@pytest.mark.parametrize(("failure", "status"), [(name, status) for name, all_ in CLASSES.items() for status in all_])
def test_every_status_has_its_class(bench: Lab, failure: str, status: int) -> None:
    seen = len(bench.backup.seen)
    headers = {"location": f"{bench.backup.url}/followed"} if 300 <= status < 400 else {}
    body = b"" if status in (204, 205, 304) else error()
    falls_back(bench, DIALECTS[status % 2], t.response(status, body, **headers), failure)
    assert not [request for request in bench.backup.seen[seen:] if "followed" in request.path]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_callers_mistake_stops_the_walk(bench: Lab, dialect: str, status: int) -> None:
    bench.play(dialect, t.response(status, error("top_p must be at most 1", type="invalid_request_error")))
    seen = len(bench.backup.seen)
    for path in PATHS:
        for stream in (False, True):
            told = bench.ask(path, dialect, stream=stream)
            assert (told.status, told.json["error"]["message"]) == (status, "top_p must be at most 1")
            assert told.headers["x-anvil-tier"] == f"one-{dialect}"
    assert len(bench.backup.seen) == seen


@pytest.mark.parametrize(
    "body",
    [
        error("The model `upstream-model` does not exist.", type="NotFoundError", code=404),
        error("x", code="model_not_found"),
        error("model 'upstream-model' not found, try pulling it first"),
        error("The requested model is not available"),
    ],
)
@pytest.mark.parametrize("status", [400, 404])
def test_an_unknown_model_is_never_the_callers_fault(bench: Lab, status: int, body: bytes) -> None:
    falls_back(bench, "openai", t.response(status, body), "tier_misconfigured")


@pytest.mark.parametrize("status", [200, 201, 202, 206])
def test_any_2xx_with_a_valid_body_counts(bench: Lab, status: int) -> None:
    for dialect in DIALECTS:
        body = (t.chat if dialect == "openai" else t.messages)("fine").steps[0]
        assert isinstance(body, bytes)
        bench.play(dialect, t.Script([body.replace(b" 200 ", b" %d " % status)]))
        assert b"fine" in bench.ask(PATHS[2], dialect).body


OVER = {
    "vllm": error(
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, "
        "1000 in the completion). Please reduce the length of the messages or completion.",
        type="BadRequestError",
        code=400,
    ),
    "vllm-2": error("The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    "vllm-3": error("'max_tokens' is too large: 9. This model's max_model_len is 8", code=400),
    "sglang": b'{"object":"error","message":"The input (9 tokens) is longer than the model\'s context length (8)",'
    b'"type":"BadRequestError","param":null,"code":400}',
    "llama.cpp": error(
        "request (33 tokens) exceeds the available context size (32 tokens), try increasing it",
        type="exceed_context_size_error",
        code=400,
    ),
    "llama.cpp old": error(
        "the request exceeds the available context size. try increasing the context size or enable context shift",
        type="invalid_request_error",
        code=400,
    ),
    "openai": error("too long", type="invalid_request_error", code="context_length_exceeded"),
    "anthropic": b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8 maximum"}}',
    "anthropic cap": b'{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` '
    b'exceed context limit: 199211 + 20000 > 200000, decrease input length or `max_tokens` and try again"}}',
    "text": b"Input is too long for requested model.",
}


@pytest.mark.parametrize("body", OVER.values(), ids=OVER.keys())
def test_over_context_in_every_engines_words(bench: Lab, body: bytes) -> None:
    for dialect, status in (("openai", 400), ("anthropic", 422)):
        falls_back(bench, dialect, t.response(status, body), "over_context")
    bench.play("openai", t.response(400, body))
    told = bench.ask(PATHS[0], "openai-alone")
    assert told.json["error"]["code"] == "context_length_exceeded"
    assert "maximum context length is 32768 tokens" in told.json["error"]["message"]
    assert "prompt is too long" in bench.ask(PATHS[1], "openai-alone").json["error"]["message"]
    assert bench.ask(PATHS[2], "openai-alone").json["error"]["code"] == "context_length_exceeded"


def test_size_decides_413_however_smaller_tiers_failed(tier: Tiers, router: Routers) -> None:
    """Small fails, large says too long: nothing larger is left, so the caller must shorten. The other way round not."""
    long = t.response(400, OVER["openai"])
    small, large = tier(lambda _: t.response(500, b"x")), tier(lambda _: long)
    tables = (tier_toml("small", small.url, context_limit=4096), tier_toml("large", large.url, context_limit=8192))
    patient = "[router.breaker]\nthreshold = 1000"
    running = router(config_toml(*tables, presets={"p": ["small", "large"]}, router=patient))
    assert ask(running, model="p").status_code == 413
    small.behaviour, large.behaviour = (lambda _: long), (lambda _: t.response(500, b"x"))
    assert ask(running, model="p").status_code == 503
    # the larger one that says so first spares the smaller one the call
    running = router(config_toml(*tables, presets={"p": ["large", "small"]}, router=patient))
    large.behaviour = lambda _: long
    calls = len(small.seen)
    assert ask(running, model="p").status_code == 413
    assert len(small.seen) == calls


# ------------------------------------------------------------------------------------------ rest and return


RESTS = {
    "seconds": (429, "7", 6, 7),
    "overloaded": (529, "7", 6, 7),
    "unavailable": (503, "7", 6, 7),
    "capped": (429, "9999", 58, 60),
    "words": (429, "in a while", 3, 5),
    "absent": (429, None, 3, 5),
    "date": (429, formatdate(time.time() + 40, usegmt=True), 5, 40),
    "past": (429, formatdate(time.time() - 20, usegmt=True), 3, 5),
}


def test_a_tier_that_asks_for_time_rests(tier: Tiers, router: Routers) -> None:
    tables, tiers = [], {}
    for name, (status, value, _, _) in RESTS.items():
        script = t.response(status, error(), **({} if value is None else {"retry_after": value}))
        tiers[name] = tier(lambda _, script=script: script)
        tables.append(tier_toml(name, tiers[name].url))
    running = router(config_toml(*tables, presets={name: [name] for name in RESTS}))
    for name, (_, _, least, most) in RESTS.items():
        for _ in range(2):  # the one that met it, and the one that finds the tier resting
            answer = ask(running, model=name)
            assert answer.status_code == 503
            assert least <= int(answer.headers["retry-after"]) <= most, name
        assert len(tiers[name].seen) == 1
        assert running.last()["attempts"][0]["outcome"] == "resting"
    for row in running.client.get("/readyz").json()["tiers"]:
        assert row["breaker"] == "resting"
        assert 0 < row["resting_s"] <= RESTS[row["id"]][3]


def test_a_503_without_retry_after_is_a_failure_not_a_rest(tier: Tiers, router: Routers) -> None:
    one = tier(lambda _: t.response(503, error()))
    running = router(config_toml(tier_toml("fast-local", one.url)))
    answer = ask(running)
    assert "retry-after" not in answer.headers
    assert running.last()["attempts"][0]["failure_class"] == "unavailable"
    assert running.client.get("/readyz").json()["tiers"][0]["breaker"] == "closed"


def test_rate_limits_do_not_open_a_breaker_and_misconfiguration_does_at_once(tier: Tiers, router: Routers) -> None:
    one = tier(lambda _: t.response(401, error()))
    running = router(config_toml(tier_toml("fast-local", one.url)))
    answer = ask(running)
    assert 59 <= int(answer.headers.get("retry-after", 60)) <= 60
    assert running.client.get("/readyz").json()["tiers"][0]["breaker"] == "open"
    ask(running)
    assert len(one.seen) == 1
    time.sleep(0.2)  # the log is written in batches
    assert "tier is misconfigured" in running.logged()


# ------------------------------------------------------------------------------------- answers that are none


def raw(text: bytes, *, close: bool = True) -> t.Script:
    return t.Script([text], close=close)


OK = b"HTTP/1.1 200 OK\r\n"
GOOD = json.dumps({"choices": [{"message": {"content": "nope"}, "finish_reason": "stop"}]}).encode()
SICK = {
    "html": t.response(200, b"<!doctype html><h1>secret-of-the-tier</h1>", "text/html"),
    "html as json": t.response(200, b"<!doctype html>"),
    "empty": t.response(200, b""),
    "empty object": t.response(200, b"{}"),
    "list": t.response(200, b"[]"),
    "null": t.response(200, b"null"),
    "string": t.response(200, b'"hello"'),
    "error": t.response(200, error()),
    "error text": t.response(200, b'{"error":"secret-of-the-tier"}'),
    "cut json": t.response(200, GOOD[:-9]),
    "trailing json": t.response(200, GOOD + b"}"),
    "bad utf-8": t.response(200, GOOD.replace(b"nope", b"\xff")),
    "deep": t.response(200, b'{"choices":' + b"[" * 100_000),
    "no choices": t.response(200, b'{"choices":null,"content":7}'),
    "odd choices": t.response(200, b'{"choices":[7],"content":{"a":1}}'),
    "no message": t.response(200, b'{"choices":[{"text":"a"}],"content":"text"}'),
    "gzip": t.response(200, b"\x1f\x8b\x08nonsense", content_encoding="gzip"),
    "brotli": t.response(200, GOOD, content_encoding="br"),
    "200 KB header": t.response(200, GOOD, x_long="a" * 200_000),
    "2000 headers": t.response(200, GOOD, **{f"x_{n}": "a" * 90 for n in range(2000)}),
    "endless header": raw(OK + b"x-long: " + b"a" * 3_000_000),
    "short": raw(OK + b"content-length: 900\r\n\r\n" + GOOD),
    "cut chunk": raw(OK + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s" % (len(GOOD) + 9, GOOD)),
    "no last chunk": raw(OK + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(GOOD), GOOD)),
    "bad chunk": raw(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + GOOD),
    "two lengths": raw(OK + b"content-length: 5\r\ncontent-length: 7\r\n\r\n" + GOOD),
    "bad length": raw(OK + b"content-length: -1\r\n\r\n" + GOOD),
    "not http": raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "http/0.9": raw(GOOD),
    "head only": raw(OK),
    "nothing": raw(b""),
    "reset": t.Script([], reset=True),
    "reset in head": t.Script([OK], reset=True),
    "reset in body": t.Script([OK + b"content-length: 900\r\n\r\n{"], reset=True),
    "websocket": raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nxx"),
    "endless 1xx": raw(b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
}


@pytest.mark.parametrize("name", SICK)
def test_what_is_no_answer_is_never_served(bench: Lab, name: str) -> None:
    for dialect in DIALECTS:
        falls_back(bench, dialect, SICK[name], "unavailable")


def test_errors_under_200_are_classified_like_any(bench: Lab) -> None:
    for kind, failure in (("overloaded_error", "rate_limited"), ("api_error", "unavailable")):
        falls_back(bench, "anthropic", t.response(200, error(type=kind)), failure)
    falls_back(bench, "openai", t.response(200, error(code="context_length_exceeded")), "over_context")
    falls_back(bench, "openai", t.response(200, error("no model", code=429)), "rate_limited")


@pytest.mark.parametrize("interim", [100, 102, 103])
def test_interim_answers_are_passed_over(bench: Lab, interim: int) -> None:
    first = b"HTTP/1.1 %d X\r\nlink: </a>\r\ncontent-encoding: gzip\r\n\r\n" % interim
    for dialect in DIALECTS:
        step = (t.chat if dialect == "openai" else t.messages)("fine").steps[0]
        assert isinstance(step, bytes)
        scripts: list[list[t.Step]] = [[first + step], [first * 3, 0.02, step]]
        for steps in scripts:
            bench.play(dialect, t.Script(steps))
            told = bench.ask(PATHS[0], dialect)
            assert (told.tier, told.json["choices"][0]["message"]["content"]) == (f"one-{dialect}", "fine")


def test_a_stream_request_answered_with_plain_json_is_streamed_to_the_caller(bench: Lab) -> None:
    for content_type in ("application/json", "text/plain", "text/html"):
        for dialect, make in (("openai", t.chat), ("anthropic", t.messages)):
            step = make("fine").steps[0]
            assert isinstance(step, bytes)
            bench.play(dialect, t.Script([step.replace(b"application/json", content_type.encode())]))
            for path in PATHS:
                told = bench.ask(path, dialect, stream=True)
                assert (told.tier, told.text, told.ends) == (f"one-{dialect}", "fine", 1)


# ------------------------------------------------------------------------------------------- no connection


def test_a_tier_that_cannot_be_reached(tier: Tiers, router: Routers) -> None:
    """Refused, unknown name, plain HTTP where TLS was promised, and a black hole: each within the connect limit."""
    backup, plain = tier(t.auto(BACKUP)), tier()
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # the accept queue is full from here on: what follows is never answered
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        targets = {
            "refused": f"http://127.0.0.1:{free_port()}/v1",
            "unknown": "http://no-such-host.invalid/v1",
            "tls": plain.url.replace("http:", "https:"),
            "hole": f"http://127.0.0.1:{full.getsockname()[1]}/v1",
        }
        tables = [tier_toml(name, url, timeout=2) for name, url in targets.items()]
        text = config_toml(
            *tables,
            tier_toml("backup", backup.url),
            presets={name: [name, "backup"] for name in targets},
            router="[router.limits]\nconnect_timeout_s = 0.5",
        )
        running = router(text)
        for name in targets:
            started = time.monotonic()
            answer = ask(running, model=name)
            assert answer.json()["choices"][0]["message"]["content"] == BACKUP
            assert time.monotonic() - started < 2
            assert running.last()["attempts"][0]["failure_class"] == "unavailable"


# --------------------------------------------------------------------------------------------------- limits


def walk_of(tier: Tiers, router: Routers, behaviours: list[t.Behaviour], limits: str) -> tuple[Running, list[t.Tier]]:
    made = [tier(behaviour) for behaviour in behaviours]
    tables = [tier_toml(f"t{n}", one.url) for n, one in enumerate(made)]
    presets = {"p": [f"t{n}" for n in range(len(made))]}
    text = config_toml(
        *tables, presets=presets, router=f"[router.limits]\n{limits}\n[router.breaker]\nthreshold = 1000"
    )
    return router(text), made


def test_max_attempts_ends_the_walk(tier: Tiers, router: Routers) -> None:
    bad: t.Behaviour = lambda _: t.response(500, b"x")  # noqa: E731
    running, made = walk_of(tier, router, [bad, bad, t.auto("never asked")], "max_attempts = 2")
    assert ask(running, model="p").status_code == 503
    assert [len(one.seen) for one in made] == [1, 1, 0]


def test_token_ceiling_ends_the_walk_and_is_recorded(tier: Tiers, router: Routers) -> None:
    bad: t.Behaviour = lambda _: t.response(500, b"x")  # noqa: E731
    running, made = walk_of(tier, router, [bad, t.auto("never asked")], "token_ceiling = 15")
    ten = [{"role": "user", "content": "one two three four five six seven eight nine ten"}]
    assert ask(running, model="p", messages=ten).status_code == 503
    assert [len(one.seen) for one in made] == [1, 0]
    assert [attempt["outcome"] for attempt in running.last()["attempts"]] == ["error", "budget-stop"]
    assert ask(running, model="p").status_code == 200


def drip(data: bytes, pause: float, before: bytes = b"") -> t.Script:
    steps: list[t.Step] = [before] if before else []
    for n in range(len(data)):
        steps += [data[n : n + 1], pause]
    return t.Script(steps)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["silent", "head", "body"])
def test_the_request_deadline_holds_wherever_a_tier_dawdles(
    tier: Tiers, router: Routers, where: str, stream: bool
) -> None:
    head = OK + b"content-length: 5000\r\ncontent-type: application/json\r\n\r\n"
    scripts = {"silent": t.Script([9.0]), "head": drip(head, 0.1), "body": drip(b" " * 90, 0.1, head)}
    running, _ = walk_of(tier, router, [lambda _: scripts[where], t.auto("never")], "request_deadline_s = 0.8")
    started = time.monotonic()
    answer = ask(running, model="p", stream=stream)
    spent = time.monotonic() - started
    assert answer.status_code == 503
    assert 0.7 < spent < 1.6
    assert running.last()["outcome"] == "deadline"


def test_the_deadline_after_commit_is_one_error_event(tier: Tiers, router: Routers) -> None:
    running, _ = walk_of(
        tier, router, [lambda _: t.chat_stream(*"abcdefghijklmnop", pause=0.15)], "request_deadline_s = 0.8"
    )
    text = ask(running, model="p", stream=True).text
    assert text.count("upstream_error") == 1
    assert "[DONE]" not in text
    assert running.last()["outcome"] == "aborted_after_commit"


def test_a_head_that_drips_is_given_up_at_the_silence_limit_not_at_the_deadline(tier: Tiers, router: Routers) -> None:
    dripping = drip(OK + b"x-a: " + b"a" * 90, 0.1)
    slow, backup = tier(lambda _: dripping), tier(t.auto(BACKUP))
    tables = (tier_toml("slow", slow.url, timeout=0.6), tier_toml("backup", backup.url))
    running = router(config_toml(*tables, presets={"p": ["slow", "backup"]}))
    started = time.monotonic()
    assert ask(running, model="p").json()["choices"][0]["message"]["content"] == BACKUP
    assert time.monotonic() - started < 2


# -------------------------------------------------------------------------------------------- many failures


def test_all_breakers_open_is_answered_at_once_without_a_call(tier: Tiers, router: Routers) -> None:
    tiers = [tier(lambda _: t.response(500, b"secret-of-the-tier")) for _ in range(2)]
    running = router(
        config_toml(*[tier_toml(f"t{n}", one.url) for n, one in enumerate(tiers)], presets={"p": ["t0", "t1"]})
    )
    for _ in range(2):
        ask(running, model="p")
    spent = []
    for path in PATHS:
        for stream in (False, True):
            body = {"model": "p", "messages": [HI], "max_tokens": 5, "stream": stream}
            if path == PATHS[2]:
                body = {"model": "p", "input": "hi", "stream": stream}
            started = time.monotonic()
            answer = running.client.post(path, json=body)
            spent.append(time.monotonic() - started)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
            assert int(answer.headers["retry-after"]) >= 55
            assert set(answer.json()["error"]) == {"type", "message"}
    assert sorted(spent)[3] < 0.05
    assert [len(one.seen) for one in tiers] == [2, 2]


def test_a_flapping_tier_costs_few_attempts_and_no_request(tier: Tiers, router: Routers) -> None:
    chance = random.Random(7)
    good, bad = t.auto("fine"), t.response(500, b"x")
    flapping = tier(lambda request: good(request) if chance.random() < 0.5 else bad)
    running = router(
        config_toml(tier_toml("t0", flapping.url), tier_toml("t1", tier().url), presets={"p": ["t0", "t1"]})
    )
    answers = [ask(running, model="p").status_code for _ in range(150)]
    assert answers == [200] * 150
    attempts = [a for r in running.decisions(limit=150) for a in r["attempts"] if a["outcome"] != "skipped-circuit"]
    assert len(attempts) <= 1.2 * 150


def test_many_resets_leave_no_socket_open(bench: Lab) -> None:
    """Figure 11, in small: streams reset in the middle, eight at a time; nothing is open or in flight afterwards."""
    stream = t.sse(t.chunk({"content": "some text"}), end=False, reset=True)
    bench.play("openai", stream)

    def work() -> None:
        mine = Lab(bench.running, bench.tiers, bench.backup)
        for _ in range(25):
            told = mine.ask(PATHS[0], "openai", stream=True)
            assert told.errors + told.ends == 1  # a reset may overtake the text it follows
        mine.close()

    run_all([threading.Thread(target=work) for _ in range(8)])
    assert settled(bench, "openai")
    bench.play("openai", t.auto("fine"))
    assert b"fine" in bench.ask(PATHS[0], "openai").body


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def settled(bench: Lab, dialect: str, seconds: float = 2.0) -> bool:
    """Whether nothing is in flight and the faulty tier has no socket open, within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rows = bench.running.client.get("/readyz").json()["tiers"]
        if bench.tiers[dialect].open == 0 and not any(row["in_flight"] or row["waiting"] for row in rows):
            return True
        time.sleep(0.02)
    return False


def test_concurrent_good_and_bad_answers_are_never_mixed(bench: Lab) -> None:
    """Figure 31, in small: every caller gets its own words whatever happened to its neighbours."""

    def behave(request: t.Received) -> t.Script:
        word = request.json["messages"][-1]["content"]
        kind = int(word) % 4
        if kind == 0:
            return t.response(500, b"x")
        if kind == 1:
            return t.sse(t.chunk({"role": "assistant"}), end=False)
        return t.chat_stream(f"say {word}")

    bench.play("openai", behave)
    before = bench.backup.behaviour
    bench.backup.behaviour = lambda request: t.chat_stream(f"say {request.json['messages'][-1]['content']}")
    wrong: list[str] = []

    def work(start: int) -> None:
        mine = Lab(bench.running, bench.tiers, bench.backup)
        for n in range(start, start + 40):
            messages = [{"role": "user", "content": str(n)}]
            told: Told = mine.ask(PATHS[0], "openai", stream=True, messages=messages)
            if (told.text, told.ends) != (f"say {n}", 1):
                wrong.append(told.text)
        mine.close()

    run_all([threading.Thread(target=work, args=(start * 100,)) for start in range(6)])
    bench.backup.behaviour = before
    assert wrong == []
