"""Contract 3.1, 4.1, 4.8, 22: the command line, start-up binding and modes, as a shell sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.router import tier as t
from tests.router.conftest import ROOT, Running, config_toml, free_port, start_router, tier_toml

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
HI = {"role": "user", "content": "hi"}
ONE = tier_toml("only", "http://127.0.0.1:9/v1")


def anvil(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANVIL_")}
    return subprocess.run(
        [sys.executable, "-m", "anvil", *args],
        capture_output=True, text=True, timeout=30, cwd=ROOT, check=False, env=clean | (env or {}),
    )  # fmt: skip


def written(folder: Path, text: str, name: str = "router.toml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    "args", [("serve",), ("serve", "--config", " "), ("check",), ("serve", "--config", "x.toml", "--mode", "agentic")]
)
def test_missing_or_double_selectors_are_usage_errors_on_one_line(args: tuple[str, ...]) -> None:
    done = anvil(*args)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_all_problems_of_a_file_are_told_together_with_the_nearest_known_key(tmp_path: Path) -> None:
    text = config_toml(ONE, router="exhaustion_statuz = 503\nrelay_timeout = nan\npins = 1\nswap_idle_s = true\n")
    text += 'ghost = ["nobody"]\n[surprise]\nx = 1\n'
    done = anvil("check", "--config", written(tmp_path, text))
    assert done.returncode == 2
    for expected in (
        "exhaustion_statuz",
        "exhaustion_status",
        "relay_timeout",
        "pins",
        "swap_idle_s",
        "surprise",
        "nobody",
    ):
        assert expected in done.stderr, expected


def test_foreign_top_level_tables_are_left_to_their_owners(tmp_path: Path) -> None:
    foreign = 'claude_logs = "x"\nhf_extra_roots = []\nmodel_dirs = []\ngpu_index = 0\nserved_model_name = "m"\n'
    text = foreign + config_toml(ONE) + '[modes]\nactive_mode = "agentic"\n'
    assert anvil("check", "--config", written(tmp_path, text)).returncode == 0


def test_a_preset_name_among_metered_classes_gets_a_hint(tmp_path: Path) -> None:
    done = anvil("check", "--config", written(tmp_path, config_toml(ONE, router='metered_cloud = ["quick-edit"]')))
    assert done.returncode == 2
    assert "bounded-edit" in done.stderr


def test_check_tells_the_table_and_writes_the_profile_in_force(tmp_path: Path) -> None:
    config = written(tmp_path, config_toml(tier_toml("heavy-local", "http://127.0.0.1:9/v1")))
    out = tmp_path / "profile.json"
    done = anvil("check", "--config", config, "--json", "--profile-out", str(out))
    found = json.loads(done.stdout)
    assert found["unservable"] == ["planning"]
    assert found["presets"]["planning"] == [{"tier": "heavy-local", "verdict": "deny", "gate": "denied"}]
    profile = json.loads(out.read_text())
    assert profile["schema"] == "anvil-serving.router.profile_bootstrap/v2"
    assert len(profile["entries"]) == 6
    assert all(len(row["fingerprint"]) == 64 for row in profile["entries"])
    assert out.read_text().endswith("}\n")
    again = written(tmp_path, config_toml(
        tier_toml("heavy-local", "http://127.0.0.1:9/v1"), router=f'profile_path = "{out}"'), "again.toml",
    )  # fmt: skip
    assert json.loads(anvil("check", "--config", again, "--json").stdout)["presets"] == found["presets"]


@pytest.mark.parametrize(("rows", "says"), [([], "0 models"), (["a", "b"], "a, b")])
def test_a_local_tier_must_serve_exactly_one_model_at_start(
    tier: Tiers, tmp_path: Path, rows: list[str], says: str
) -> None:
    listed = json.dumps({"data": [{"id": name} for name in rows]}).encode()
    up = tier(lambda _: t.response(200, listed))
    config = written(tmp_path, config_toml(tier_toml("only", up.url, model="")))
    done = anvil("serve", "--config", config, "--port", str(free_port()))
    assert done.returncode == 2
    assert "only" in done.stderr
    assert says in done.stderr


def test_an_unreachable_tier_is_bound_without_a_model_and_found_later(tier: Tiers, router: Routers) -> None:
    port = free_port()
    other = tier()
    up = t.Tier(t.auto(), port=port)
    running = router(
        config_toml(tier_toml("late", f"http://127.0.0.1:{port}/v1", model=""), tier_toml("other", other.url))
    )
    row = running.client.get("/readyz").json()["tiers"][0]
    assert (row["bound"], row["model"], row["model_known"]) == (True, None, False)
    answer = running.client.post("/v1/chat/completions", json={"model": "chat", "messages": [HI]})
    assert answer.headers["x-anvil-tier"] == "other"
    first = running.last()["attempts"][0]
    assert (first["outcome"], first["failure_class"]) == ("model-unknown", None)
    assert answer.headers["x-anvil-attempts"] == "1"
    up.start()
    try:
        late = None
        for _ in range(70):
            time.sleep(0.1)
            late = running.client.post("/v1/chat/completions", json={"model": "late", "messages": [HI]})
            if late.status_code == 200:
                break
        assert late is not None
        assert late.headers["x-anvil-model"] == "upstream-model"
        assert "authorization" not in up.seen[0].headers
    finally:
        up.stop()


def test_a_local_key_is_sent_only_when_it_is_set_and_a_missing_cloud_key_skips_the_tier(
    tier: Tiers, router: Routers
) -> None:
    up = tier()
    tiers = (tier_toml("keyed", up.url, auth_env="KEYED"), tier_toml("bare", up.url, auth_env="BARE"))
    paid = tier_toml("paid", "https://api.example.com", privacy="cloud", auth_env="UNSET_CLOUD_KEY")
    running = router(config_toml(*tiers, paid), {"KEYED": " padded ", "BARE": "  "})
    for name, expected in (("keyed", "Bearer padded"), ("bare", None)):
        running.client.post("/v1/chat/completions", json={"model": name, "messages": [HI]},
                            headers={"authorization": "Bearer callers-own", "x-api-key": "callers-own"})  # fmt: skip
        assert up.seen[-1].headers.get("authorization") == expected
        assert "callers-own" not in json.dumps(up.seen[-1].headers)
    assert "paid" in running.logged()
    assert "UNSET_CLOUD_KEY" in running.logged()


@pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-“quoted”", "sk-\x07"])
def test_a_key_that_no_header_carries_is_a_start_up_error_naming_its_variable(tmp_path: Path, key: str) -> None:
    for command in ("serve", "check"):
        done = anvil(command, "--config", written(tmp_path, config_toml(ONE)), env={"TEST_KEY": key})
        assert done.returncode == 2
        assert "TEST_KEY" in done.stderr
        assert "sk-" not in done.stderr
        assert "Traceback" not in done.stderr


def test_nothing_bound_is_a_start_up_error(tmp_path: Path) -> None:
    paid = tier_toml("paid", "https://api.example.com", privacy="cloud", auth_env="UNSET_CLOUD_KEY")
    done = anvil("serve", "--config", written(tmp_path, config_toml(paid)))
    assert done.returncode == 2
    assert "UNSET_CLOUD_KEY" in done.stderr


MODES: list[tuple[list[str], dict[str, str], str | None]] = [
    (["--mode", "agentic"], {}, "agentic"),
    (["--mode", "flexibility"], {"ANVIL_MODE": "agentic"}, "flexibility"),
    ([], {"ANVIL_MODE": "flexibility"}, "flexibility"),
    ([], {"ANVIL_MODE": " ", "ANVIL_MODES_CONFIG": "modes.toml"}, "flexibility"),
]


@pytest.mark.parametrize(("args", "env", "mode"), MODES)
def test_the_active_mode(tmp_path: Path, args: list[str], env: dict[str, str], mode: str) -> None:
    written(tmp_path, '[modes]\nactive_mode = "flexibility"\nflexibility = "own.toml"\n', "modes.toml")
    written(tmp_path, config_toml(ONE), "own.toml")
    if "ANVIL_MODES_CONFIG" in env:
        env = env | {"ANVIL_MODES_CONFIG": str(tmp_path / "modes.toml")}
    found = json.loads(anvil("check", "--json", *args, env=env).stdout)
    assert found["mode"] == mode
    assert [row["id"] for row in found["tiers"]] == (
        ["only"]
        if "ANVIL_MODES_CONFIG" in env
        else ["specialist-vllm"]
        if mode == "flexibility"
        else ["fast-local", "heavy-local"]
    )


@pytest.mark.parametrize("env", [{"ANVIL_MODE": "turbo"}, {"ANVIL_MODES_CONFIG": "/no/such/file.toml"}])
def test_unknown_modes_and_manifests_are_named(env: dict[str, str]) -> None:
    done = anvil("check", env=env)
    assert done.returncode == 2
    assert next(iter(env)) in done.stderr
    assert "turbo" in done.stderr or "/no/such/file.toml" in done.stderr


def test_the_mode_is_stamped_on_health_and_records_and_config_bypasses_it(tier: Tiers, tmp_path: Path) -> None:
    up = tier()
    folder = tmp_path / "r"
    folder.mkdir()
    running = start_router(folder, config_toml(tier_toml("only", up.url)), {"ANVIL_MODE": "flexibility"})
    try:
        assert running.client.get("/healthz").json()["mode"] is None
        assert 'mode=""' in next(
            row for row in running.client.get("/metrics").text.splitlines() if "anvil_config_info{" in row
        )
    finally:
        running.stop(expect=None)


def test_probe_speaks_by_exit_code(tier: Tiers, router: Routers) -> None:
    running = router(
        config_toml(tier_toml("only", tier().url), server='auth_env = ["A_TOK", "B_TOK"]'), {"A_TOK": "a", "B_TOK": "b"}
    )
    told: Any = anvil("probe", "--models", "--url", running.url, env={"ANVIL_ROUTER_TOKEN": "b"})
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["object"] == "list"
    assert anvil("probe", "--models", "--url", running.url).returncode == 1
    assert json.loads(anvil("probe", "--url", running.url).stdout)["status"] == "ok"
    assert anvil("probe", "--url", f"http://127.0.0.1:{free_port()}").returncode == 3


def test_echo_repeats_in_every_dialect_and_advises_nothing(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "anvil", "serve", "--echo", "--port", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for _ in range(100):
                try:
                    client.get("/healthz")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            chat = client.post("/v1/chat/completions", json={"messages": [HI]}).json()
            assert chat["choices"][0]["message"]["content"] == "You said: hi"
            assert chat["model"] == "chat"
            told = client.post(
                "/v1/messages", json={"max_tokens": 5, "messages": [{"role": "user", "content": " "}]}
            ).json()
            assert told["content"][0]["text"] == "You said: (no user message)"
            assert told["model"] == "claude"
            own = client.post("/v1/responses", json={"input": "hi"}).json()
            assert own["output"][0]["content"][0]["text"] == "You said: hi"
            assert client.post("/v1/route", json={}).status_code == 503
            assert client.get("/v1/models").json() == {"object": "list", "data": []}
            counted = client.post("/v1/messages/count_tokens", json={"messages": [HI]})
            assert counted.status_code == 200
    finally:
        process.terminate()
        process.wait(10)
