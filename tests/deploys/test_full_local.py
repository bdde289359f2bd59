"""The whole house on @local by the commands a user types: pyinfra, supervisord, two engines and the real router."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
TOKEN = "canary-5b1d-token-of-some-length"
WHAT_NOW = "  anvil harness apply claude-code --mkdir "
ENGINE = """#!{python}
import http.server, json, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"data": [{{"id": sys.argv[sys.argv.index("-a") + 1]}}], "argv": sys.argv}}).encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        choice = {{"index": 0, "message": {{"role": "assistant", "content": "ready"}}, "finish_reason": "stop"}}
        usage = {{"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}
        body = {{"id": "c", "object": "chat.completion", "created": 1, "model": "m"}}
        body = {{**body, "choices": [choice], "usage": usage}}
        self.send_response(200); self.send_header("content-type", "application/json"); self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def log_message(self, *a): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), H).serve_forever()
"""
TOPOLOGY = """
schema = "anvil.topology/v1"
deployment = "try"
mapping_version = "1"
[machines.here]
platform = "linux"
runtime = "process"
root = "{root}"
owner = ""
sudo = false
[serves.fast]
machine = "here"
engine = "llamacpp"
binary = "{engine}"
model_file = "/dev/null"
served_model = "tiny-fast"
port = {fast}
context = {context}
start_timeout_s = 20
preflight = "off"
[serves.heavy]
machine = "here"
engine = "llamacpp"
binary = "{engine}"
model_file = "/dev/null"
served_model = "tiny-heavy"
port = {heavy}
context = 8192
start_timeout_s = 20
preflight = "off"
[tiers.fast-local]
serve = "fast"
[tiers.heavy-local]
serve = "heavy"
[presets]
chat = {chat}
planning = ["heavy-local"]
[router]
machine = "here"
port = {router}
settle_s = 1
[gateways.mini]
machine = "here"
router_url = "http://127.0.0.1:{router}/v1"
"""
# What a release prints; the model list follows the document, as a gateway that applies edits by itself does.
OPENCLAW = """#!{python}
import json, os, sys
home = os.environ["HOME"]
asked = " ".join(sys.argv[1:])
if asked == "--version":
    print("OpenClaw 2026.9.3 (abc)")
elif asked == "config schema":
    defaults = {{"properties": {{"modelPolicy": {{}}}}}}
    print(json.dumps({{"properties": {{"agents": {{"properties": {{"defaults": defaults}}}}}}}}))
elif asked == "config validate --json":
    json.load(open(os.environ["OPENCLAW_CONFIG_PATH"]))
    print("chatter\\n" + json.dumps({{"valid": True, "issues": []}}))
elif asked.startswith("models list"):
    rows = json.load(open(home + "/.openclaw/openclaw.json"))["models"]["providers"]["anvil"]["models"]
    listed = [{{"key": "anvil/" + row["id"], "contextWindow": row["contextWindow"]}} for row in rows]
    print(json.dumps({{"models": listed}}))
elif asked == "gateway status --json":
    print(json.dumps({{"rpc": {{"ok": True}}, "service": {{"loaded": True}}}}, indent=2))
elif asked == "gateway restart":
    open(home + "/restarts", "a").write("restarted\\n")
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class House:
    """A temporary machine root, its topology, and pyinfra as a child process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.engine, self.topology = folder / "llama-server", folder / "topology.toml"
        self.engine.write_text(ENGINE.format(python=sys.executable))
        self.engine.chmod(0o755)
        self.document = folder / ".openclaw" / "openclaw.json"
        self.document.parent.mkdir()
        self.document.write_text(json.dumps({"gateway": {"port": 18789}}))
        (folder / ".profile").write_text(f"PATH={folder}:$PATH\n")
        (folder / "openclaw").write_text(OPENCLAW.format(python=sys.executable))
        (folder / "openclaw").chmod(0o755)
        self.fast, self.heavy, self.router = free_ports(3)
        self.said = ""
        self.write()

    def write(self, context: int = 4096, chat: str = '["fast-local", "heavy-local"]') -> None:
        text = TOPOLOGY.format(
            root=self.root, engine=self.engine, fast=self.fast, heavy=self.heavy, router=self.router, context=context,
            chat=chat,
        )  # fmt: skip
        self.topology.write_text(text)

    def pyinfra(self, deploy: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit code and the JSON report ({} when there is none)."""
        argv = [
            f"{Path(sys.executable).parent}/pyinfra",
            "inventory/local.py",
            f"deploy/{deploy}.py",
            "--json",
            *arguments,
        ]
        environment = {
            **os.environ,
            "ANVIL_TOPOLOGY": str(self.topology),
            "ANVIL_ROUTER_TOKEN": TOKEN,
            "NEXT": TOKEN[::-1],
            "HOME": str(self.folder),
        }
        done = subprocess.run(
            argv, cwd=REPO, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
        self.said += done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}

    def totals(self, deploy: str, *arguments: str) -> dict[str, int]:
        code, report = self.pyinfra(deploy, *arguments)
        assert code == 0, self.said[-3000:]
        return dict(report["results"]["totals"])

    def healthz(self) -> dict[str, Any]:
        return dict(json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.router}/healthz", timeout=5)))

    def starts(self, name: str) -> str:
        return (self.root / "supervisor" / "run" / name).read_text().split()[2]

    def evidence(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "router" / "promotions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    try:
        yield made
    finally:
        if (made.root / "supervisor").is_dir():
            made.totals("teardown", "-y", "--data", "confirm=try")
            assert not (made.root / "supervisor" / "sock").exists()
            assert "left: ~/.openclaw/openclaw.json of gateway mini names the router" in made.said


def test_an_empty_machine_by_dry_run(house: House) -> None:
    code, report = house.pyinfra("full", "--dry", "--diff")
    assert code == 0
    assert report["results"] is None
    names = [row["name"] for row in report["plan"]]
    assert any(name.startswith("Router | Live") for name in names)
    assert not [name for name in names if "(" in name]
    assert not house.root.exists()
    assert '+model = "tiny-fast"' in house.said
    assert WHAT_NOW not in house.said  # a dry run has made nothing that could be tried


@pytest.mark.timeout(120)
def test_from_nothing_to_a_live_router_and_back(house: House) -> None:
    assert house.totals("full", "-y", "-vvv")["success"] > 10
    assert house.said.count(WHAT_NOW) == 1
    first = house.healthz()["release"]
    assert house.evidence()[-1]["outcome"] == "DONE"
    document = json.loads(house.document.read_text())
    assert document["gateway"] == {"port": 18789}
    assert document["models"]["providers"]["anvil"]["apiKey"] == "${ANVIL_ROUTER_TOKEN}"

    totals = house.totals("full", "-y")
    assert (totals["success"], totals["error"]) == (0, 0)
    assert totals["hosts"] > 0

    heavy, fast, router = house.starts("heavy"), house.starts("fast"), house.starts("router")
    house.write(context=2048, chat='["heavy-local"]')
    house.totals("full", "-y")
    second = house.healthz()["release"]
    assert second != first
    assert (house.starts("heavy"), house.starts("router")) == (heavy, router)
    assert int(house.starts("fast")) == int(fast) + 1
    assert ": -c 4096 -> 2048\n" in house.said
    assert (house.evidence()[-1]["outcome"], house.evidence()[-1]["path"]) == ("DONE", "hup")

    house.totals("rollback", "-y")
    assert house.healthz()["release"] == first


@pytest.mark.timeout(120)
def test_a_candidate_profile_is_judged_before_it_is_live(house: House) -> None:
    candidate, schema = house.folder / "candidate.json", "anvil-serving.router.profile_bootstrap/v2"
    row = {"tier_id": "heavy-local", "work_class": "planning", "decision": "allow", "quality_score": 0.9}
    candidate.write_text(json.dumps({"schema": schema, "mode": "live", "eval_max": 25.0, "entries": [row]}))
    live = house.healthz()["release"]
    house.totals("promote", "-y", "--data", f"profile={candidate}")
    assert house.healthz()["release"] != live
    assert "+ heavy-local/planning: allow 0.9" in house.said
    told = f"it is live; make it the inventory's: cp {candidate} {house.folder}/profile.json, and router.profile"
    assert house.said.count(told) == 1

    row["decision"] = "perhaps"  # the first profile is live now: only the staged one is wrong
    candidate.write_text(json.dumps({"schema": schema, "mode": "live", "eval_max": 25.0, "entries": [row]}))
    staged = house.healthz()["release"]
    code, _ = house.pyinfra("promote", "-y", "--data", f"profile={candidate}")
    assert code == 1
    assert "REJECTED" in house.said
    assert house.healthz()["release"] == staged

    house.write(context=3072)  # the inventory's by now, so nothing of the candidate is lost
    row["decision"] = "allow"
    document = {"schema": schema, "mode": "live", "eval_max": 25.0, "entries": [row]}
    house.topology.with_name("profile.json").write_text(json.dumps(document))
    text = house.topology.read_text()
    house.topology.write_text(text.replace("settle_s = 1", 'settle_s = 1\nprofile = "profile.json"'))
    house.totals("full", "-y")
    assert house.evidence()[-1]["source"] == "inventory"

    staged = house.healthz()["release"]
    house.write()
    house.totals("full", "-y")
    assert house.healthz()["release"] != staged


@pytest.mark.timeout(120)
def test_the_engines_are_asked_by_the_gate_and_for_a_calibration(house: House) -> None:
    live, answers = house.healthz()["release"], house.folder / "answers"
    code, _ = house.pyinfra("serves", "-y", "--data", "preflight=required", "--data", "only=fast")
    assert code == 1
    assert "fast: preflight failed: smoke (wrong_answer)" in house.said
    assert house.healthz()["release"] == live
    (report,) = (house.root / "evidence" / "preflight").iterdir()
    assert json.loads(report.read_text())["base_url"] == f"http://127.0.0.1:{house.fast}/v1"

    measured = ("--data", "tiers=heavy-local", "--data", "classes=chat")
    house.totals("calibrate", "-y", "--data", f"out={answers}", *measured)
    assert any(path.is_file() and "ready" in path.read_text() for path in answers.rglob("*"))
    assert not (house.root / "evidence" / "calibrate").exists()


@pytest.mark.timeout(120)
def test_a_dropped_token_leaves_the_host_when_a_release_without_it_is_live(house: House) -> None:
    """Not before: a promotion that fails goes back to a release that would not start without it."""
    two, file = 'token = ["NEXT", "ANVIL_ROUTER_TOKEN"]', house.root / "secrets.env"
    text = house.topology.read_text()
    house.topology.write_text(text.replace("settle_s = 1", f"settle_s = 1\n{two}"))
    house.totals("router", "-y")
    house.topology.write_text(text.replace("settle_s = 1", 'settle_s = 1\ntoken = ["NEXT"]'))
    house.totals("serves", "-y")
    assert "ANVIL_ROUTER_TOKEN" in file.read_text()  # the router that runs still needs it
    code, report = house.pyinfra("router", "-y")
    named = [row["name"] for row in report["results"]["operations"]]
    place = named.index("Router | Tokens of the release before leave")
    assert (code, named[place - 1].startswith("Router | Live")) == (0, True)
    assert "ANVIL_ROUTER_TOKEN" not in file.read_text()
    assert house.totals("router", "-y")["success"] == 0
    house.write()
    house.totals("router", "-y")


def test_a_secret_that_only_the_host_still_holds_is_dropped_by_its_name(house: House) -> None:
    file = house.root / "secrets.env"
    file.write_text(f"{file.read_text()}LEFT_OVER='value-of-old'\n")
    code, _ = house.pyinfra("router", "--dry", "--data", "drop_secret=LEFT_OVR")
    assert code == 1
    assert "drop_secret=LEFT_OVR: no machine has such a secret; there are: ANVIL_FAST_LOCAL_KEY, " in house.said
    assert "ANVIL_ROUTER_TOKEN, LEFT_OVER" in house.said
    house.totals("router", "-y", "--data", "drop_secret=LEFT_OVER")
    assert "LEFT_OVER" not in file.read_text()
    assert "value-of-old" not in house.said


def test_no_output_and_no_file_but_one_holds_the_token(house: House) -> None:
    forms = [
        TOKEN,
        base64.b64encode(TOKEN.encode()).decode().rstrip("="),
        TOKEN[:8],
        sha256(TOKEN.encode()).hexdigest(),
    ]
    files = {path: path.read_bytes() for path in house.root.rglob("*") if path.is_file() and path.name != "secrets.env"}
    for form in forms:
        assert form not in house.said
        assert not [path for path, content in files.items() if form.encode() in content]
    assert (house.root / "secrets.env").stat().st_mode & 0o777 == 0o600
