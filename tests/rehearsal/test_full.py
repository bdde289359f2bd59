"""`deploy/full.py` on real hosts: real SSH, systemd, Docker, Compose, real engines, the real router image."""

from __future__ import annotations

import json

import pytest

from tests.rehearsal.lab import TOKEN, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

GAMING = "GPU-66666666-7777-8888-9999-aaaaaaaaaaaa"
PRO = "GPU-11111111-2222-3333-4444-555555555555"


def test_a_dry_run_changes_nothing(dry: tuple[Run, dict[str, object], dict[str, object]]) -> None:
    run, before, after = dry
    assert run.code == 0, run.story
    assert after == before
    assert '+      "ANVIL_ROUTER_TOKEN": "${ANVIL_ROUTER_TOKEN:?}"' in run.story  # the diff was shown


def test_the_first_run_builds_everything(first: Run) -> None:
    assert first.code == 0, first.story
    assert first.totals["error"] == 0
    assert {"Serves | Up fast", "Serves | Up heavy"} <= set(first.changed)


def test_the_second_run_changes_nothing(second: Run) -> None:
    assert second.code == 0, second.story
    assert second.changed == []
    assert second.totals["hosts"] > 0


def test_serves_and_router_run_as_declared(lab: Lab, second: Run) -> None:
    for container in ("llamacpp-fast", "llamacpp-heavy", "anvil-router"):
        found = lab.inspect(container)
        assert (found["State"]["Status"], found["RestartCount"]) == ("running", 0)
    router = lab.inspect("anvil-router")
    assert router["Config"]["User"] == "10001:10001"
    assert router["HostConfig"]["ReadonlyRootfs"]
    assert router["HostConfig"]["CapDrop"] == ["ALL"]


@pytest.mark.parametrize(("container", "card"), [("llamacpp-fast", GAMING), ("llamacpp-heavy", PRO)])
def test_each_serve_sees_its_own_card(lab: Lab, second: Run, container: str, card: str) -> None:
    found = lab.inspect(container)
    assert [request["DeviceIDs"] for request in found["HostConfig"]["DeviceRequests"]] == [[card]]
    assert f"CUDA_VISIBLE_DEVICES={card}" in found["Config"]["Env"]


def test_another_machine_gets_an_answer_through_the_router(lab: Lab, second: Run) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 16}
    status, text = lab.ask("/v1/chat/completions", body)
    assert status == 200, text
    answer = json.loads(text)
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0


def test_an_answer_cut_short_is_asked_again_of_the_larger_tier(lab: Lab, second: Run) -> None:
    """Without a cap of the caller's: with one, the engine goes by that and not by its own limit."""
    body = {
        "model": "chat",
        "messages": [{"role": "user", "content": "Why is the sky blue? Answer in two sentences."}],
        "temperature": 0,
    }
    status, text = lab.ask("/v1/chat/completions", body)
    assert status == 200, text
    answer = json.loads(text)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] > 24  # as much as `fast` writes before it is cut


def test_strangers_are_refused(lab: Lab, second: Run) -> None:
    status, _ = lab.ask("/v1/models", token="wrong-token-of-the-right-length-")
    assert status == 401


def test_the_health_answer_names_the_release_on_disk(lab: Lab, second: Run) -> None:
    status, text = lab.ask("/healthz")
    assert status == 200
    assert lab.ssh("forge", "sudo readlink /srv/anvil/router/current").strip().endswith(json.loads(text)["release"])


def test_the_token_is_in_no_file_but_the_secrets(lab: Lab, second: Run) -> None:
    look = f"printf %s {TOKEN} | sudo grep -rlF -f - /srv/anvil /etc /tmp /var/log /home || true"  # sudo logs words
    found = lab.ssh("forge", look)
    assert found.split() == ["/srv/anvil/secrets.env"]
    assert lab.ssh("forge", "sudo stat -c '%a %U' /srv/anvil/secrets.env").strip() == "600 root"


def test_the_image_has_no_deploy_code_and_no_compiler(lab: Lab, second: Run) -> None:
    look = (
        "import importlib.util as u, shutil; "
        "print([m for m in ('pyinfra', 'paramiko', 'gevent', 'jinja2', 'pip') if u.find_spec(m)], "
        "[c for c in ('gcc', 'cc', 'g++', 'git') if shutil.which(c)])"
    )
    start = "docker run --rm --network none --read-only --entrypoint /opt/anvil/bin/python3 anvil-router:rehearsal"
    assert lab.ssh("forge", f'{start} -c "{look}"').strip() == "[] []"


def test_drift_is_repaired_and_nothing_else_touched(lab: Lab, second: Run) -> None:
    heavy = lab.inspect("llamacpp-heavy")["State"]["StartedAt"]
    lab.ssh("forge", "docker kill llamacpp-fast; sudo chmod 644 /srv/anvil/secrets.env")
    lab.ssh("forge", "echo '# by hand' | sudo tee -a /srv/anvil/compose.yaml")
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story
    waited = {"Serves | Ready fast"}
    assert set(run.changed) - waited == {"Machine | Compose file", "Machine | Secrets", "Serves | Up fast"}
    assert lab.inspect("llamacpp-heavy")["State"]["StartedAt"] == heavy
    assert lab.deploy("full.py", "-y").changed == []
