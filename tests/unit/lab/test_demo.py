"""The demo's own judgement: what it writes, what it refuses, what it takes for an answer, a fall and a failure."""

from __future__ import annotations

import json
import re
import shutil
import socket
import stat
import tomllib
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from rich.console import Console

from anvil.lab import demo, demo_clients, demo_house, demo_show
from anvil.lab.demo_house import Failed, House
from anvil.lab.demo_show import Show
from anvil.lab.engine import Engine
from anvil.router.decisions.record import Attempt, Decision, encode
from anvil.topology import check, load

ENGINE = Engine(Path("/opt/llama-server"), "a test")
LIBRARIES = Engine(Path("/opt/llama-server"), "a test", Path("/opt/libraries"))
TOTAL = "    Grand total                  23      {}         -       {}          "


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def written(house: House, engine: Engine = ENGINE, heavy: Path | None = None) -> dict[str, Any]:
    house.write(engine, Path("/opt/tiny.gguf"), heavy)
    return tomllib.loads(house.topology.read_text())


# ------------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("heavy", [None, Path("/opt/heavy.gguf")])
def test_the_topology_is_one_that_deploys_accept(tmp_path: Path, heavy: Path | None) -> None:
    written(House(tmp_path, 8071, 30111), LIBRARIES, heavy)
    topology = load.load(tmp_path / "demo.toml", {})
    assert [finding for finding in check.check(topology) if finding.level == "error"] == []
    assert (topology.router.port, topology.serves["fast"].port, topology.serves["heavy"].port) == (8071, 30111, 30112)


def test_it_names_this_machines_paths_and_no_variable(tmp_path: Path) -> None:
    document = written(House(tmp_path, 8071, 30111))
    assert "${" not in (tmp_path / "demo.toml").read_text()
    assert document["machines"]["here"]["root"] == str(tmp_path)
    assert {serve["binary"] for serve in document["serves"].values()} == {"/opt/llama-server"}
    assert all("env" not in serve for serve in document["serves"].values())


def test_a_compiled_library_goes_first_on_the_library_path(tmp_path: Path) -> None:
    document = written(House(tmp_path, 8071, 30111), LIBRARIES)
    assert all(serve["env"] == {"LD_LIBRARY_PATH": "/opt/libraries"} for serve in document["serves"].values())


def test_heavy_weights_replace_those_of_heavy_alone(tmp_path: Path) -> None:
    serves = written(House(tmp_path, 8071, 30111), heavy=Path("/opt/heavy.gguf"))["serves"]
    assert [serves[name]["model_file"] for name in ("fast", "heavy")] == ["/opt/tiny.gguf", "/opt/heavy.gguf"]
    assert Path(serves["heavy"]["chat_template_file"]).is_file()
    assert "chat_template_file" not in serves["fast"]


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    house = House(tmp_path / "new", 8071, 30111)
    token = house.write(ENGINE, Path("/opt/tiny.gguf"), None)
    assert len(token) >= 43
    assert House(house.root, 8072, 30111).write(ENGINE, Path("/opt/tiny.gguf"), None) == token
    assert stat.S_IMODE(house.variables.stat().st_mode) == 0o600
    assert f"export ANVIL_ROUTER_TOKEN={token}\n" in house.variables.read_text()
    assert "export ANVIL_ROUTER_URL=http://127.0.0.1:8072\n" in house.variables.read_text()
    assert token not in house.topology.read_text()


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(("place", "option"), [(0, "--port"), (1, "--engine-port"), (2, "--engine-port")])
def test_a_port_of_someone_else_is_named(tmp_path: Path, place: int, option: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        house = House(tmp_path, taken if place == 0 else free_port(), taken - max(0, place - 1) if place else 1)
        with pytest.raises(Failed, match=rf"port {taken} on 127.0.0.1 is in use .*choose another with {option}$"):
            house.require_ports()


def test_the_router_cannot_have_an_engines_port(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="--port 30112 is also an engine's"):
        House(tmp_path, 30112, 30111).require_ports()


def test_its_own_ports_are_no_obstacle_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(house := House(tmp_path, 8071, 30111))
    monkeypatch.setattr(demo_house, "_taken", lambda port: True)
    monkeypatch.setattr(House, "running", lambda _: True)
    house.require_ports()
    with pytest.raises(Failed, match="port 8072"):
        House(tmp_path, 8072, 30111).require_ports()


def test_a_full_disk_is_named_and_nothing_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(5_000_000) if path == tmp_path else None)
    with pytest.raises(Failed, match=r"new/root has 5 MB free, the demo needs 200 MB"):
        House(tmp_path / "new" / "root", 8071, 30111).require_space()
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match=r"file/root: .*ANVIL_ROOT"):
        House(tmp_path / "file" / "root", 8071, 30111).write(ENGINE, Path("/opt/tiny.gguf"), None)


@pytest.mark.parametrize("words", [["--once", "--down"], ["--port", "0"], ["--prot", "3"]])
def test_wrong_words_are_a_usage_error(words: list[str]) -> None:
    assert CliRunner().invoke(demo.main, words).exit_code == 2


def test_down_without_a_house_is_well(tmp_path: Path) -> None:
    told = CliRunner().invoke(demo.main, ["--down"], env={"ANVIL_ROOT": str(tmp_path / "none")})
    assert told.exit_code == 0
    assert "nothing runs under" in told.output


def test_a_house_brought_up_by_a_run_that_fails_goes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    down: list[Path] = []
    monkeypatch.setattr(House, "down", lambda self: down.append(self.root))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    house, console = House(tmp_path, 8071, 30111), Console(quiet=True)
    for stood, ends_well, once, expected in (
        (False, False, False, 1),
        (False, True, False, 0),
        (False, True, True, 1),
        (True, False, False, 0),
    ):
        down.clear()
        monkeypatch.setattr(House, "running", lambda _, stood=stood: stood)
        try:
            with demo._standing(house, console, once):
                if not ends_well:
                    raise demo.Interrupted(2)
        except demo.Interrupted:
            assert not ends_well
        assert len(down) == expected, (stood, ends_well, once)


# ------------------------------------------------------------------------------------------------ pyinfra's output


def test_changes_are_read_from_the_grand_total() -> None:
    assert demo_house.changes(f"--> Results:\n{TOTAL.format(7, 16)}\n") == 7
    assert demo_house.changes(TOTAL.format("-", 23)) == 0
    with pytest.raises(Failed, match="no grand total"):
        demo_house.changes("nothing of the kind")


def test_the_closing_table_is_found() -> None:
    output = (
        "--> Starting operation: Report | What stands \n    [@local] service  state\n    [@local] fast     running\n"
        "    [@local] No changes\n\n--> Results:\n"
    )
    assert demo_house.standing(output) == ["service  state", "fast     running"]


# ------------------------------------------------------------------------------------------------------- answers


def test_the_text_of_a_whole_answer_in_each_dialect() -> None:
    assert demo_show.content({"choices": [{"message": {"content": "Hi"}}]}) == ("Hi", [])
    assert demo_show.content({"content": [{"type": "text", "text": "Hi"}]}) == ("Hi", [])
    output = [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "Hi"}]}]
    assert demo_show.content({"error": None, "output": output}) == ("Hi", [])
    assert demo_show.content({"error": {"type": "x", "message": "no"}}) == ("no", [])
    call = {"function": {"name": "get", "arguments": '{"a":1}'}}
    assert demo_show.content({"choices": [{"message": {"content": None, "tool_calls": [call]}}]}) == (
        "",
        ['get({"a":1})'],
    )


STREAMS = {
    "chat": [
        '{"choices":[{"delta":{"role":"assistant"}}]}',
        '{"choices":[{"delta":{"content":"Hi"}}]}',
        '{"choices":[],"usage":{}}',
        "[DONE]",
    ],
    "messages": [
        '{"type":"message_start","message":{}}',
        '{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}',
    ],
    "responses": ['{"type":"response.created","response":{}}', '{"type":"response.output_text.delta","delta":"Hi"}'],
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_text_of_a_stream_in_each_dialect(name: str) -> None:
    assert "".join(demo_show.deltas(iter(["event: x", "", *(f"data: {line}" for line in STREAMS[name])]))) == "Hi"


@pytest.mark.parametrize("event", ['{"error":{"message":"m"}}', '{"type":"error"}', '{"type":"response.failed"}'])
def test_an_error_inside_a_stream_is_a_failure(event: str) -> None:
    with pytest.raises(Failed, match="the stream broke"):
        list(demo_show.deltas(iter([f"data: {event}"])))


def decision(*attempts: Attempt, status: int = 200, **more: Any) -> Decision:
    outcome = "served" if status == 200 else "gated"
    return Decision(
        id="dec_" + "0" * 24,
        ts="2026-11-24T00:00:00.000Z",
        endpoint="chat",
        dialect="openai",
        outcome=outcome,  # type: ignore[arg-type]  # one of the literal's words
        status=status,
        attempts=attempts,
        **more,
    )


CUT = Attempt(tier_id="fast-local", outcome="fallback", verifier_passed=False, verify_reason="not_truncated")
SERVED = Attempt(tier_id="heavy-local", outcome="served", verify_reason="passed")
RESTS = Attempt(tier_id="fast-local", outcome="skipped-circuit")


def shown(tmp_path: Path, record: Decision, tier: str, text: str = "Hi") -> tuple[Show, Callable[[], str]]:
    """A Show whose router gives one answer and one record to everything, and what it printed."""
    body = {"choices": [{"message": {"content": text}}]} if record.status == 200 else {"error": {"message": "no"}}
    headers = {"x-anvil-decision": record.id, "x-anvil-tier": tier}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=encode(record))
        if json.loads(request.content)["stream"]:
            return httpx.Response(200, text=f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n")
        return httpx.Response(record.status, json=body, headers=headers)

    out = tmp_path / "out"
    console = Console(file=out.open("w"), width=200)
    show = Show("http://127.0.0.1:1", "t", console)
    show.client = httpx.Client(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(answer))

    def printed() -> str:
        console.file.close()
        show.client.close()
        return out.read_text()

    return show, printed


def test_a_fall_from_fast_to_heavy_is_told(tmp_path: Path) -> None:
    show, printed = shown(tmp_path, decision(CUT, SERVED, served_tier="heavy-local"), "heavy-local")
    show.fallback()
    show.table()
    told = printed()
    assert "failed check not_truncated" in told
    assert "fast-local failed not_truncated -> heavy-local served" in told


def test_an_answer_of_fast_is_no_fall(tmp_path: Path) -> None:
    show, printed = shown(tmp_path, decision(SERVED, served_tier="fast-local"), "fast-local")
    with pytest.raises(Failed, match="no answer of fast failed"):
        show.fallback()
    assert printed().count("a longer question") == len(demo_show.LONG_QUESTIONS)


def test_an_open_breaker_is_not_passed_off_as_a_fall(tmp_path: Path) -> None:
    show, printed = shown(tmp_path, decision(RESTS, SERVED, served_tier="heavy-local"), "heavy-local")
    with pytest.raises(Failed, match="breaker is open: try again in a minute"):
        show.fallback()
    printed()


def test_an_empty_answer_is_a_failure(tmp_path: Path) -> None:
    show, printed = shown(tmp_path, decision(SERVED), "fast-local", text=" ")
    with pytest.raises(Failed, match="answered 200: no text"):
        show.dialects()
    printed()


def test_planning_must_end_in_503(tmp_path: Path) -> None:
    show, printed = shown(tmp_path, decision(status=503), "")
    show.refused()
    assert "503" in printed()
    show, printed = shown(tmp_path, decision(SERVED), "heavy-local")
    with pytest.raises(Failed, match="planning answered 200, not 503"):
        show.refused()
    printed()


def test_a_tool_must_really_be_called(tmp_path: Path) -> None:
    show, printed = shown(tmp_path, decision(CUT, SERVED, served_tier="heavy-local"), "heavy-local")
    with pytest.raises(Failed, match="no tool call came back"):
        show.tool_call()
    printed()


# ------------------------------------------------------------------------------------------------------- clients


def test_claude_gets_the_token_by_name_only() -> None:
    line = demo_clients.claude({"ANTHROPIC_BASE_URL": "http://127.0.0.1:8000", "A": "two words", "T": "${NAME}"})
    assert line == "ANTHROPIC_BASE_URL=http://127.0.0.1:8000 A='two words' T=\"${NAME}\" claude"


def test_each_client_gets_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def document(self: Show, client: str) -> dict[str, Any]:
        path = {"codex": "~/.codex/config.toml", "openclaw": "~/.openclaw/openclaw.json"}.get(client, "~/x")
        files = [{"path": path, "text": f"text for {client}"}]
        return {"env": {"A": "b"}, "files": files, "models": [{"context_window": 8192}]}

    monkeypatch.setattr(Show, "document", document)
    house = House(tmp_path, 8071, 30111)
    console = Console(file=(tmp_path / "out").open("w"), width=80)
    show = Show(house.url, "secret-token", console)
    demo_clients.told(house, show, console, stays=True)
    console.file.close()
    show.client.close()
    told = (tmp_path / "out").read_text()
    assert (tmp_path / "clients/codex/config.toml").read_text() == "text for codex"
    assert re.search(r"^  CODEX_HOME=\S+/clients/codex codex$", told, re.MULTILINE)
    assert re.search(r"^  OPENCLAW_CONFIG_PATH=\S+/openclaw/openclaw\.json openclaw agent ", told, re.MULTILINE)
    assert "secret-token" not in told
