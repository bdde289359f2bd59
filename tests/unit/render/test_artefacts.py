"""The whole of a topology as artefacts: what each machine gets, equal bytes for equal input, telling hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from typing import Any

import msgspec
import pytest
import yaml

from anvil.render import artefacts, multiplexer, process, router
from anvil.render.artefacts import Artefacts, ReadBackError
from anvil.render.env import Secrets
from anvil.topology import derived
from tests.unit.topology.example import CLOUD, ENVIRON, GONE, LOCAL, ROOT, topology

SECRETS = Secrets.of({"ANVIL_ROUTER_TOKEN": "t" * 32, "HF_TOKEN": "h"})


def rendered(changes: dict[str, Any] | None = None, secrets: Secrets = SECRETS, **more: Any) -> Artefacts:
    return artefacts.render(topology(changes), secrets, **more)


def revisions(made: Artefacts) -> dict[str, str]:
    return {spec.name: spec.revision for spec in made.machines["forge"].services}


def texts(made: Artefacts) -> bytes:
    parts = [str(msgspec.to_builtins(machine)) for machine in made.machines.values()]
    return "".join(parts).encode()


def test_each_machine_gets_what_concerns_it() -> None:
    made = rendered()
    forge, mini = made.machines["forge"], made.machines["mini"]
    assert forge.compose_text is not None
    assert (mini.compose_text, mini.services, mini.release, mini.processes) == (None, (), None, ())
    assert forge.docker_volumes == ("vllm-hfcache",)
    assert made.release is forge.release
    assert set(made.release.files) == {"router.toml", "compose.yaml"}
    assert made.findings == ()


def test_a_service_spec_says_what_a_deploy_must_know() -> None:
    heavy, fast = rendered().machines["forge"].services
    assert (heavy.name, heavy.container, heavy.wanted, heavy.port) == ("heavy", "vllm-gptoss120", "up", 30002)
    assert heavy.health_url == "http://127.0.0.1:30002/health"
    assert heavy.models_url == "http://127.0.0.1:30002/v1/models"
    assert heavy.memory_need_gb == pytest.approx(84.48)
    assert fast.context == 32768
    assert fast.gpus == ("GPU-66666666-7777-8888-9999-aaaaaaaaaaaa",)
    assert fast.secret_env == ("HF_TOKEN",)
    assert fast.definition["labels"]["anvil.revision"] == fast.revision
    assert (heavy.preflight, heavy.needle_tokens, heavy.family) == ("required", 126976, "gpt-oss")


def test_what_is_wanted_follows_mode_state_and_swap_group() -> None:
    def wanted(changes: dict[str, Any]) -> dict[str, str]:
        return {spec.name: spec.wanted for spec in rendered(changes).machines["forge"].services}

    assert wanted({"mode": "agentic"}) == {"heavy": "up", "fast": "down"}
    assert wanted({"serves/fast/state": "down"}) == {"heavy": "up", "fast": "down"}
    swap = {"serves/fast/swap_group": "g", "multiplexer": {"machine": "forge", "port": 8100, "docker_socket": True}}
    assert wanted(swap) == {"heavy": "up", "fast": "created", "multiplexer": "up"}


def test_switching_modes_redefines_no_serve_but_another_release() -> None:
    flexible, agentic = rendered(), rendered({"mode": "agentic"})
    assert revisions(flexible) == revisions(agentic)
    assert flexible.machines["forge"].compose_text == agentic.machines["forge"].compose_text
    assert flexible.release.id != agentic.release.id
    assert rendered({"mode": "flexibility"}).release.id == flexible.release.id
    text = agentic.release.files["router.toml"].decode()
    assert text.splitlines()[0].startswith('# Routing configuration "2026-11-23.0", mode "agentic"')
    service = yaml.safe_load(agentic.release.files["compose.yaml"])["services"]["router"]
    assert service["labels"]["anvil.mode"] == "agentic"
    assert service["command"][:7] == ["serve", "--mode", "agentic", "--host", "0.0.0.0", "--port", "8000"]
    assert service["environment"]["ANVIL_CONFIG_AGENTIC"] == "/etc/anvil/current/router.toml"


def test_the_same_topology_gives_the_same_bytes() -> None:
    assert texts(rendered()) == texts(rendered())
    code = (
        "import hashlib; from tests.unit.render.test_artefacts import rendered, texts;"
        "print(hashlib.sha256(texts(rendered())).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"serves/fast/max_concurrent": 8}, {"fast"}),
        ({"serves/heavy/env": {"X": "1"}}, {"heavy"}),
        ({"serves/heavy/start_timeout_s": 901}, {"heavy"}),
        ({"presets/chat": ["heavy-local"]}, set()),
        ({"tiers/fast-local/timeout": 100}, set()),
        ({"serves/fast/preflight": "off"}, set()),
        ({"deployment": "other"}, {"fast", "heavy"}),
    ],
)
def test_a_revision_moves_only_with_its_own_definition(change: dict[str, Any], moved: set[str]) -> None:
    before, after = revisions(rendered()), revisions(rendered(change))
    assert {name for name in before if before[name] != after[name]} == moved


def test_rotating_a_secret_moves_digests_not_revisions() -> None:
    before, after = rendered(), rendered(secrets=Secrets.of({"ANVIL_ROUTER_TOKEN": "t" * 32, "HF_TOKEN": "other"}))
    assert revisions(before) == revisions(after)
    heavy = before.machines["forge"].services[0], after.machines["forge"].services[0]
    assert heavy[0].env_digest != heavy[1].env_digest
    assert before.release.id == after.release.id
    token = rendered(secrets=Secrets.of({"ANVIL_ROUTER_TOKEN": "n" * 32, "HF_TOKEN": "h"}))
    assert token.release.id != before.release.id
    assert token.release.service.revision == before.release.service.revision
    assert token.release.service.env_digest != before.release.service.env_digest


def test_the_release_id_is_the_documented_hash() -> None:
    made = rendered(profile=b'{"schema":"v2"}').release
    assert set(made.files) == {"router.toml", "profile.json", "compose.yaml"}
    text = b"".join(f"{name}\0{len(content)}\0".encode() + content for name, content in sorted(made.files.items()))
    assert made.id == hashlib.sha256(text).hexdigest()[:16]
    assert made.config.profile_path == "/etc/anvil/current/profile.json"
    assert rendered().release.config.profile_path is None


def test_the_revision_is_the_documented_hash() -> None:
    spec = rendered().machines["forge"].services[0]
    plain = json.loads(json.dumps(spec.definition))
    labels = {key: value for key, value in plain["labels"].items() if key not in ("anvil.revision", "anvil.env")}
    assert spec.revision == derived.short_hash(derived.canonical({**plain, "labels": labels}))


def test_the_routers_own_reading_matches_the_topology() -> None:
    made = rendered({"tiers/cloud": CLOUD, "presets/planning": ["heavy-local", "cloud"], "router/settings/metered_cloud": ["planning"], "router/token": ["ANVIL_ROUTER_TOKEN", "NEXT"]})  # fmt: skip
    config = made.release.config
    assert [tier.id for tier in config.tiers] == ["fast-local", "heavy-local", "cloud"]
    assert config.tiers[0].base_url == "http://fast:30003/v1"
    assert config.tiers[2].privacy == "cloud"
    assert config.server.auth_env == ("ANVIL_ROUTER_TOKEN", "NEXT")
    assert config.decisions.store_path == "/var/lib/anvil/decisions.sqlite"
    assert config.presets["planning"] == ("heavy-local", "cloud")
    assert config.relay_timeout == 20
    service = yaml.safe_load(made.release.files["compose.yaml"])["services"]["router"]
    assert service["environment"]["ANVIL_CLOUD_KEY"] == "${ANVIL_CLOUD_KEY:?}"
    assert service["environment"]["NEXT"] == "${NEXT:?}"


def test_router_tables_come_in_the_documented_order() -> None:
    made = rendered(
        {
            "router/settings": {
                "limits": {"max_attempts": 2},
                "verify_local_min": False,
                "metered_cloud": ["chat"],
                "preset_classes": {"nightly": "chat"},
                "decisions": {"ring_size": 5, "store_path": ""},
            },
            "router/server": {"drain_timeout_s": 10, "dashboard": False},
            "presets/nightly": ["fast-local"],
        }
    )
    text = made.release.files["router.toml"].decode()
    assert [line for line in text.splitlines() if line.startswith("[")] == [
        "[server]", "[router]", "[router.preset_classes]", "[router.limits]", "[router.decisions]",
        "[[router.tiers]]", "[[router.tiers]]", "[router.presets]",
    ]  # fmt: skip
    assert list(tomllib.loads(text)["server"]) == ["auth_env", "drain_timeout_s", "dashboard"]
    assert made.release.config.decisions.store_path == ""
    assert yaml.safe_load(made.release.files["compose.yaml"])["services"]["router"]["stop_grace_period"] == "15s"


def test_a_tier_table_has_the_documented_order() -> None:
    changes = {"role": "fast", "timeout": 9, "max_concurrency": 3, "params": {"a": 1}, "extra_body": {"b": 1}, "extra_body_defaults": {"c": 1}, "vision": True}  # fmt: skip
    made = topology({"tiers/fast-local": {"serve": "fast", **changes}})
    assert list(router.tier(made, "fast-local")) == [
        "id", "base_url", "model", "dialect", "context_limit", "privacy", "tool_support", "auth_env", "role", "engine",
        "quantization", "params", "timeout", "max_concurrency", "vision", "extra_body_defaults", "extra_body",
    ]  # fmt: skip


def test_the_router_project_is_the_contracts() -> None:
    """Section 5.3, with the example's names."""
    document = yaml.safe_load(rendered({"mode": GONE, "modes": GONE}).release.files["compose.yaml"])
    made = document.pop("services")
    service = made["router"]
    assert list(made) == ["router"]
    assert document == {
        "name": "home-router",
        "networks": {"default": {"name": "anvil", "external": True}},
        "volumes": {"anvil-router-state": {"name": "anvil-router-state", "external": True}},
    }
    labels = service.pop("labels")
    assert {"anvil.role": "router", "anvil.name": "router", "anvil.deployment": "home"}.items() <= labels.items()
    assert "anvil.mode" not in labels
    assert service == {
        "image": "anvil-router:1.0.0@sha256:" + "2" * 64,
        "container_name": "anvil-router",
        "pull_policy": "missing",
        "user": "10001:10001",
        "read_only": True,
        "tmpfs": ["/run/anvil"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": "35s",
        "entrypoint": ["anvil"],
        "command": [
            *("serve", "--config", "/etc/anvil/current/router.toml", "--host", "0.0.0.0", "--port", "8000"),
        ],
        "environment": {
            "ANVIL_FAST_LOCAL_KEY": "${ANVIL_FAST_LOCAL_KEY:-}",
            "ANVIL_HEAVY_LOCAL_KEY": "${ANVIL_HEAVY_LOCAL_KEY:-}",
            "ANVIL_ROUTER_TOKEN": "${ANVIL_ROUTER_TOKEN:?}",
            "TMPDIR": "/run/anvil",
        },
        "ports": ["100.64.0.10:8000:8000"],
        "volumes": ["/srv/anvil/router:/etc/anvil:ro", "anvil-router-state:/var/lib/anvil"],
        "healthcheck": {
            "test": ["CMD", "anvil", "probe", "--healthz"],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "10s",
        },
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "3"}},
    }


def test_with_handover_another_router_can_take_the_callers() -> None:
    made = yaml.safe_load(rendered({"router/handover": True}).release.files["compose.yaml"])["services"]
    assert list(made) == ["router", "socket", "next"]
    service, following = made["router"], made["next"]
    assert service["command"][-2:] == ["--holder", "/var/lib/anvil/router.sock"]
    assert "ports" not in service
    assert (service.pop("labels")["anvil.name"], following.pop("labels")["anvil.name"]) == ("router", "next")
    assert following == {
        **service,
        "container_name": "anvil-router-next",
        "restart": "no",
        "profiles": ["handover"],
    }


def test_the_published_port_is_held_by_a_service_that_outlives_a_new_image() -> None:
    def held(image: str, **change: Any) -> Any:
        made = rendered(
            {
                "router/handover": True,
                "router/image": image,
                **{f"router/{key}": value for key, value in change.items()},
            }
        )
        return yaml.safe_load(made.release.files["compose.yaml"])["services"]["socket"]

    one, two = held("anvil-router:1.0.0"), held("anvil-router:1.1.0")
    assert one["labels"] == two["labels"]
    assert (one["image"], two["image"]) == ("anvil-router:1.0.0", "anvil-router:1.1.0")
    assert (
        one["labels"]["anvil.revision"] != held("anvil-router:1.0.0", publish="100.64.0.11")["labels"]["anvil.revision"]
    )
    for key in ("user", "read_only", "cap_drop", "security_opt", "restart"):
        assert key in one
    assert one["ports"] == ["100.64.0.10:8000:8000"]
    assert one["volumes"] == ["anvil-router-state:/var/lib/anvil"]  # no configuration, and no token
    assert "environment" not in one


def test_an_ipv6_address_is_written_in_brackets() -> None:
    made = rendered({"router/publish": "fd00::1", "gateways": {}})
    service = yaml.safe_load(made.release.files["compose.yaml"])["services"]["router"]
    assert service["ports"] == ["[fd00::1]:8000:8000"]
    assert made.release.service.health_url == "http://[fd00::1]:8000/healthz"


def test_an_open_router_has_no_token_anywhere() -> None:
    made = rendered({"router/token": [], "router/publish": "127.0.0.1", "gateways": {}})
    assert made.release.config.server.auth_env == ()
    assert b"TOKEN" not in made.release.files["router.toml"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"router/settings/exhaustion_statsu": 503}, "exhaustion_status"),
        ({"router/settings/exhaustion_status": 700}, "exhaustion_status"),
        ({"router/server": {"max_body": 1}}, "max_body"),
        ({"tiers/x": {"base_url": "nonsense", "model": "m", "context_limit": 5}}, "base_url"),
    ],
)
def test_what_the_router_would_refuse_is_refused_here(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ReadBackError, match=word) as caught:
        rendered(change)
    assert {finding.code for finding in caught.value.findings} == {"R1"}


def test_unknown_engine_flags_are_warnings() -> None:
    made = rendered(
        {
            "serves/fast/extra_args": [
                "--max-modle-len-x=1",
                "--compilation-config.level",
                "3",
                "--enable_prefix_caching",
                "--",
                "x",
            ]
        }
    )
    assert [(each.code, each.level, each.table) for each in made.findings] == [("R3", "warn", "serves.fast")]
    assert "--max-modle-len-x " in made.findings[0].sentence
    local = artefacts.render(topology({"serves/fast/extra_args": ["--no-such", "--mlock"]}, LOCAL), SECRETS)
    assert [each.sentence.split()[0] for each in local.findings] == ["--no-such"]


def test_the_shipped_examples_use_only_known_flags() -> None:
    assert rendered().findings == artefacts.render(topology(file=LOCAL), SECRETS).findings == ()


def test_a_process_reads_the_profile_beside_its_configuration() -> None:
    made = artefacts.render(topology(file=LOCAL), SECRETS, profile=b'{"schema":"v2"}')
    assert made.release.config.profile_path == "profile.json"  # so a staged release is judged by the staged profile
    assert "profile.json" in made.release.files


def test_a_process_machine_gets_definitions_and_a_run_script() -> None:
    made = artefacts.render(topology(file=LOCAL), SECRETS)
    here = made.machines["here"]
    assert here.compose_text is None
    assert [definition.name for definition in here.processes] == ["fast", "heavy"]
    fast, heavy = here.processes
    assert fast.argv == (
        "llama-server", "-m", "/weights/tiny.gguf", "--host", "127.0.0.1", "--port", "30101", "-a", "tiny-fast",
        "-c", "2048", "-np", "1", "-t", "1", "-n", "48", "--jinja", "--metrics", "--offline", "-cram", "0",
    )  # fmt: skip
    assert heavy.argv[heavy.argv.index("-c") + 1] == "16384"
    assert fast.health_url == "http://127.0.0.1:30101/health"
    assert fast.cwd == "/home/someone/.local/share/anvil"
    assert here.services[0].revision == fast.revision != heavy.revision
    release = made.release
    assert set(release.files) == {"router.toml", "run.sh"}
    assert release.launcher is not None
    assert release.launcher.argv == ("/bin/sh", f"{here.root}/router/current/run.sh")
    assert release.config.tiers[0].base_url == "http://127.0.0.1:30101/v1"
    assert release.config.decisions.store_path == f"{here.root}/state/decisions.sqlite"


def test_the_launcher_is_the_same_for_every_release() -> None:
    one = artefacts.render(topology(file=LOCAL), SECRETS).release
    two = artefacts.render(
        topology({"presets/chat": ["heavy-local"], "router/token": ["OTHER"]}, LOCAL), SECRETS
    ).release
    assert one.id != two.id
    assert one.launcher == two.launcher


def test_a_vllm_process_names_its_cards_and_listens_on_loopback() -> None:
    gpu = {"uuid": "GPU-11111111-2222-3333-4444-555555555555", "model": "x", "vram_gb": 96, "compute": "12.0"}
    serve = {
        "machine": "here", "engine": "vllm", "gpu": "a", "repo": "openai/gpt-oss-20b", "served_model": "oss",
        "port": 30103, "context": 4096, "env": {"B": "2"},
    }  # fmt: skip
    made = topology({"machines/here/gpus": {"a": gpu}, "serves/oss": serve}, LOCAL)
    definition = process.serve(made, "oss", SECRETS)
    assert definition.argv[:3] == ("vllm", "serve", "openai/gpt-oss-20b")
    assert definition.argv[-4:] == ("--host", "127.0.0.1", "--port", "30103")
    assert definition.env["CUDA_VISIBLE_DEVICES"] == gpu["uuid"]
    assert list(definition.env) == sorted(definition.env)
    assert definition.secret_env == ("HF_TOKEN",)
    rotated = process.serve(made, "oss", Secrets.of({"HF_TOKEN": "other"}))
    assert rotated.revision == definition.revision
    assert rotated.env_digest != definition.env_digest


def test_the_run_script_exports_named_secrets_only(tmp_path: Any) -> None:
    root = tmp_path / "root"
    (root / "router").mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nenv; printf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (root / "secrets.env").write_text("ANVIL_ROUTER_TOKEN='it is $x'\nFOREIGN='no'\n")
    made = topology({"machines/here/root": str(root), "router/python": str(python)}, LOCAL)
    script = root / "run.sh"
    script.write_bytes(artefacts.render(made, SECRETS).release.files["run.sh"])
    ran = subprocess.run(["sh", str(script)], env={"PATH": ENVIRON.get("PATH", "/usr/bin:/bin")}, capture_output=True, text=True, check=True)  # fmt: skip
    assert "ANVIL_ROUTER_TOKEN=it is $x" in ran.stdout
    assert "FOREIGN" not in ran.stdout
    assert ran.stdout.endswith("-m\nanvil\nserve\n--config\n" + f"{root}/router/current/router.toml\n--host\n127.0.0.1\n--port\n8000\n")  # fmt: skip
    mark = (root / "router" / "started").read_text().strip()
    assert f"# anvil.mark {mark}\n" in script.read_text()


def test_the_multiplexer_is_one_more_service_with_a_registry() -> None:
    swap = {
        "serves/heavy/swap_group": "big",
        "serves/heavy/secret_env": [],
        "multiplexer": {"machine": "forge", "port": 8100, "docker_socket": True, "ram_cap_gb": 60},
    }
    made = rendered(swap).machines["forge"]
    assert made.multiplexer_toml is not None
    assert tomllib.loads(made.multiplexer_toml) == {
        "listen": "0.0.0.0:8100",
        "auth_env": ["ANVIL_ROUTER_TOKEN"],
        "ram_cap_gb": 60.0,
        "drain_timeout_s": 30,
        "min_resident_s": 20,
        "gpu": "GPU-11111111-2222-3333-4444-555555555555",
        "registry": [
            {
                "name": "gpt-oss-120b",
                "container": "vllm-gptoss120",
                "port": 30002,
                "vram_gb": pytest.approx(84.48),
                "start_timeout_s": 900,
            }
        ],
    }
    service = yaml.safe_load(str(made.compose_text))["services"]["multiplexer"]
    assert service["ports"] == ["127.0.0.1:8100:8100"]
    assert service["entrypoint"] + service["command"] == [
        "anvil",
        "multiplexer",
        "--config",
        "/etc/anvil/multiplexer.toml",
    ]
    assert "/var/run/docker.sock:/var/run/docker.sock" in service["volumes"]
    spec = next(each for each in made.services if each.role == "multiplexer")
    wider = rendered({**swap, "serves/heavy/context": 65536, "multiplexer/drain_timeout_s": 31}).machines["forge"]
    assert spec.revision != next(each for each in wider.services if each.name == multiplexer.NAME).revision
    config = rendered(swap).release.config
    assert (config.tiers[1].base_url, config.tiers[1].swap_group) == ("http://anvil-multiplexer:8100/v1", "big")
    assert config.tiers[1].auth_env == "ANVIL_ROUTER_TOKEN"
